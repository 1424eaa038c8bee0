"""Names stretches of time with `conctrace.span`: ``spans.py COUNT``."""

from __future__ import annotations

import sys
import time

from conctrace import span


def loop(count: int) -> int:
    began = time.monotonic_ns()
    for _ in range(count):
        with span("step"):
            pass
    return time.monotonic_ns() - began


count = int(sys.argv[1])
print(f"operations={count} ns={loop(count)}")
