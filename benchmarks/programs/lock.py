"""Takes and lets go a lock that nobody else wants: ``lock.py with|calls|rlock COUNT``."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any


def with_statement(lock: Any, count: int) -> int:
    began = time.monotonic_ns()
    for _ in range(count):
        with lock:
            pass
    return time.monotonic_ns() - began


def two_calls(lock: Any, count: int) -> int:
    began = time.monotonic_ns()
    for _ in range(count):
        lock.acquire()
        lock.release()
    return time.monotonic_ns() - began


WAYS = {
    "with": (threading.Lock, with_statement),
    "calls": (threading.Lock, two_calls),
    "rlock": (threading.RLock, with_statement),
}

make, loop = WAYS[sys.argv[1]]
count = int(sys.argv[2])
print(f"operations={2 * count} ns={loop(make(), count)}")
