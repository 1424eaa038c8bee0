"""The first thousand holds of each of some locks, which conctrace records one by one: ``lock_budget.py LOCKS``."""

from __future__ import annotations

import sys
import threading
import time

FIRST = 1000


def loop(lock: threading.Lock) -> int:
    began = time.monotonic_ns()
    for _ in range(FIRST):
        with lock:
            pass
    return time.monotonic_ns() - began


locks = [threading.Lock() for _ in range(int(sys.argv[1]))]
spent = sum(loop(lock) for lock in locks)
print(f"operations={2 * FIRST * len(locks)} ns={spent}")
