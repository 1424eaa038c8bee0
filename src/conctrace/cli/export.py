"""Writes a trace in other formats; each file's extension says which.

.ctrace is the trace as recorded, .json and .json.gz are for Perfetto (see
`conctrace view`), .html is a report for a browser.
"""

from __future__ import annotations

from .. import outputs
from . import parsing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from .parsing import Parser

EXAMPLES = """\
examples:
  conctrace export race.ctrace -o race.html
  conctrace export race.ctrace -o race.json.gz -o /tmp/race.html
  conctrace export race.ctrace -o race.html --include args,host
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments of `export`."""
    parser.add_argument("trace", metavar="TRACE", help="a .ctrace file")
    parser.add_argument("-o", metavar="FILE", dest="outputs", action="extend", nargs="+", required=True,
                        help="what to write; several files, or several -o")  # fmt: skip
    parsing.add_include(parser)


def run(args: Namespace) -> int:
    """Export; 2 when the trace is cut."""
    files = outputs.asked_for(args.outputs, inputs=(args.trace,))
    # Imported when it is known that there is something to do.
    from . import traces

    raw = traces.read(args.trace)
    traces.write_all(args.trace, traces.build(raw), files, frozenset(args.include))
    return traces.tell_cut(raw)
