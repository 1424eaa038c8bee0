"""``python -m conctrace``: the same as the ``conctrace`` command."""

from __future__ import annotations

from conctrace.cli import command

if __name__ == "__main__":
    command()
