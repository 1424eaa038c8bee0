"""Says what a trace holds: what ran and how it ended, the longest waits, what is
missing.
"""

from __future__ import annotations

from . import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from .parsing import Parser

EXAMPLES = """\
examples:
  conctrace info race.ctrace
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments of `info`."""
    parser.add_argument("trace", metavar="TRACE", help="a .ctrace file")


def run(args: Namespace) -> int:
    """Print the summary; 2 when the trace is cut."""
    from ..exporters.summary import render, summary
    from . import traces

    terminal.end_when_nobody_reads()
    raw = traces.read(args.trace)
    shown = summary(traces.build(raw))
    print(render(shown, width=terminal.width(1), colour=terminal.colour(1)).rstrip("\n"))
    return traces.tell_cut(raw)
