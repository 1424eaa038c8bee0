"""Starts and joins threads that do nothing, one after the other: ``threads.py COUNT``."""

from __future__ import annotations

import sys
import threading
import time


def nothing() -> None:
    """What each thread does."""


count = int(sys.argv[1])
began = time.monotonic_ns()
for _ in range(count):
    thread = threading.Thread(target=nothing)
    thread.start()
    thread.join()
print(f"operations={count} ns={time.monotonic_ns() - began}")
