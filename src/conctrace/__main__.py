"""``python -m conctrace``: the same as the ``conctrace`` command."""

from __future__ import annotations

import sys

from conctrace.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
