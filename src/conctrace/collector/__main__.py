"""``python -m conctrace.collector FOLDER``: the collector of a program that traces itself (`detached` starts it)."""

from __future__ import annotations

import os
import sys

from ..events import layout
from .detached import COMMANDS, CONTROL, RESULTS
from .launch import become_collector


def main() -> None:
    """Collects the session in the folder that is named, to its end."""
    os.pwrite(CONTROL, os.getpid().to_bytes(4, "little"), layout.CONTROL_COLLECTOR_OFFSET)
    become_collector(sys.argv[1], CONTROL, COMMANDS, RESULTS)


if __name__ == "__main__":
    main()
