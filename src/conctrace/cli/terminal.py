"""What conctrace says to people: on stderr, and never in the way of the program that was run."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def say(text: str) -> None:
    """A line (or several) on stderr. A stderr that is closed, full or gone is no reason to fail."""
    # Started with stderr closed, Python has None there, and print would take that for stdout.
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def end_when_nobody_reads() -> None:
    """Before output to stdout that may be long: a closed pipe ends the process, without a word, as it ends `cat`."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def is_terminal(descriptor: int = 2) -> bool:
    """Whether somebody may be watching."""
    return os.isatty(descriptor)


def colour(descriptor: int = 2) -> bool:
    """Whether what goes there may be coloured."""
    return is_terminal(descriptor) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width(descriptor: int = 2) -> int:
    """Columns of the terminal, 80 where there is none."""
    try:
        return max(40, os.get_terminal_size(descriptor).columns)
    except OSError:
        return 80


def show_line(text: str) -> None:
    """A line that the next one replaces; on a terminal only."""
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def erase_line() -> None:
    """Take back what `show_line` showed."""
    show_line("")
