"""Stores records as a patch does, one call each: ``emit.py COUNT``. Where nothing is recorded: calls an empty builtin."""

from __future__ import annotations

import operator
import sys
import time

from conctrace import recorder
from conctrace.events import kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conctrace.recorder.shared import Interface


def empty(count: int) -> int:
    call = operator.index
    began = time.monotonic_ns()
    for _ in range(count):
        call(0)
    return time.monotonic_ns() - began


def emit(running: Interface, count: int) -> int:
    call, kind, text = running.emit, kinds.INSTANT.number, running.text("step")
    began = time.monotonic_ns()
    for _ in range(count):
        call(kind, began, 0, text)
    return time.monotonic_ns() - began


count = int(sys.argv[1])
running = recorder.current
print(f"operations={count} ns={emit(running, count) if running else empty(count)}")
