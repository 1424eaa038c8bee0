"""What `span` and `traced` add while nothing is traced: ``python -m benchmarks.marks``.

CPU time of loops, with and without, in turn; the least of the rounds counts, since all that can happen to a loop makes it slower.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from conctrace import span, traced

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 200_000
ROUNDS = 25


def nothing() -> None: ...


traced_nothing = traced(nothing)


def _bare() -> None:
    for _ in range(COUNT):
        nothing()


def _in_spans() -> None:
    for _ in range(COUNT):
        with span("step"):
            nothing()


def _traced() -> None:
    for _ in range(COUNT):
        traced_nothing()


def _spent(loop: Callable[[], None]) -> int:
    began = time.process_time_ns()
    loop()
    return time.process_time_ns() - began


def main() -> int:
    """Print both; 1 where one adds more than it may."""
    least = dict.fromkeys((_bare, _in_spans, _traced), sys.maxsize)
    for _ in range(ROUNDS):
        for loop in least:
            least[loop] = min(least[loop], _spent(loop))
    status = 0
    for name, loop, limit in (("span", _in_spans, 300), ("traced", _traced, 200)):
        adds = (least[loop] - least[_bare]) / COUNT
        status |= adds > limit
        print(f"{name}: adds {adds:.0f} ns; it may add {limit}")
    return status


if __name__ == "__main__":
    sys.exit(main())
