"""What tracing costs: bare Python, conctrace and viztracer side by side, in turn, on small programs.

Every figure is the median of the rounds, with its 95 % interval in brackets; differences and ratios are taken round by
round. A run under conctrace only counts when its trace is whole and says exactly what the program did.
"""

from __future__ import annotations

import argparse
import os
import sys

from . import table
from .measure import BenchmarkError, measure, python
from .tools import RECORDERS
from .workloads import WORKLOADS, named

#: More than this and something else runs, which the figures would show.
QUIET = 0.5

EXAMPLES = """\
examples:
  python -m benchmarks                              everything, on this Python
  python -m benchmarks --pairs 3 --only empty --only lock
  python -m benchmarks --recorder both --viztracer 0
  python -m benchmarks --pairs 1 --only lock_billion
  python -m benchmarks --python a/bin/python --python b/bin/python --markdown docs/cost.md
  benchmarks/run --markdown docs/cost.md            on every Python that is here, in virtual environments of its own
"""


def main(arguments: list[str]) -> int:
    """Measure what is asked for; 1 when something failed, 2 for a request that makes no sense."""
    asked = _parser().parse_args(arguments)
    load = os.getloadavg()[0]
    print(f"benchmarks: load average {load:.2f}" + " — not a quiet machine" * (load > QUIET), file=sys.stderr)
    try:
        workloads = named(asked.only)
        pythons = [python(executable, asked.recorder) for executable in asked.python or [sys.executable]]
        series = [
            measure(each, workload, asked.pairs, asked.viztracer, asked.scale, _tell)
            for workload in workloads
            for each in pythons
        ]
    except BenchmarkError as error:
        _tell("")
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    _tell("")
    text = table.markdown(series, asked.pairs, asked.scale, load)
    print(text, end="")
    if asked.markdown:
        table.put_into(asked.markdown, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    says = [f"  {each.name:<17}{each.says.format(size=each.size)}" for each in WORKLOADS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="workloads:\n" + "\n".join(says) + "\n\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--python", metavar="EXE", action="append", default=[],
                        help="measure on this Python, which has conctrace installed, and viztracer to be compared "
                             "with; can be repeated (default: the one that runs this)")  # fmt: skip
    parser.add_argument("--pairs", metavar="N", type=_positive, default=30,
                        help="rounds of each workload: bare, conctrace, viztracer (default: %(default)s)")  # fmt: skip
    parser.add_argument("--viztracer", metavar="N", type=int, default=5,
                        help="take viztracer into so many of the rounds, the first ones; it takes longest "
                             "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--recorder", choices=[*RECORDERS, "both"],
                        help="conctrace's recorder (default: the one it chooses itself)")  # fmt: skip
    parser.add_argument("--only", metavar="NAME", action="append", default=[],
                        choices=[workload.name for workload in WORKLOADS],
                        help="this workload; can be repeated (default: all but lock_billion)")  # fmt: skip
    parser.add_argument("--scale", metavar="FACTOR", type=float, default=1.0,
                        help="multiply all counts by this: to try whether everything works, not to measure")  # fmt: skip
    parser.add_argument("--markdown", metavar="FILE",
                        help="write the tables there; of a file that has the marks of an earlier run, "
                             "only what is between them is replaced")  # fmt: skip
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise ValueError(word)
    return number


def _tell(line: str) -> None:
    """Where it is; on a terminal only, and gone at the end."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
