"""Takes and lets go a lock that nobody else wants: ``lock.py with|calls|rlock|rlock_calls COUNT``.

Says how much its peak memory grew after the first tenth. And at the end it holds another lock a few times for about
a millisecond, and times that itself: a trace's sums are compared with what it says.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

TIMED_HOLDS = 200


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


def timed_holds(lock: Any) -> int:
    held = 0
    for _ in range(TIMED_HOLDS):
        with lock:
            began = time.monotonic_ns()
            time.sleep(0.001)
            held += time.monotonic_ns() - began
    return held


def peak_bytes() -> int:
    # Not getrusage: what the process was before its exec counts there, too.
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


WAYS = {
    "with": (threading.Lock, with_statement),
    "calls": (threading.Lock, two_calls),
    "rlock": (threading.RLock, with_statement),
    "rlock_calls": (threading.RLock, two_calls),
}

make, loop = WAYS[sys.argv[1]]
count = int(sys.argv[2])
lock = make()
spent = loop(lock, count // 10)
peak = peak_bytes()
spent += loop(lock, count - count // 10)
grown = peak_bytes() - peak
print(f"operations={2 * count} ns={spent} grown={grown} held={timed_holds(make())}")
