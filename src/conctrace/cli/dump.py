"""Prints a trace as text, one line a record, in the order of the file.

For looking closely, for bug reports and for grep; nothing is summed up.
"""

from __future__ import annotations

import sys

from . import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from .parsing import Parser

EXAMPLES = """\
examples:
  conctrace dump race.ctrace | less
  conctrace dump race.ctrace | grep Lock.acquire
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments of `dump`."""
    parser.add_argument("trace", metavar="TRACE", help="a .ctrace file")


def run(args: Namespace) -> int:
    """Print the records; 2 when the trace is cut."""
    from ..exporters.text.dump import lines
    from . import traces

    terminal.end_when_nobody_reads()
    raw = traces.read(args.trace)
    for line in lines(raw):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    return traces.tell_cut(raw)
