"""Four threads want one lock all the time, and do a little while they have it: ``contended.py COUNT``, for each."""

from __future__ import annotations

import sys
import threading
import time

THREADS = 4

count = int(sys.argv[1])
lock = threading.Lock()
total = 0


def work() -> None:
    global total
    for _ in range(count):
        with lock:
            total += sum(range(20))


threads = [threading.Thread(target=work) for _ in range(THREADS)]
began = time.monotonic_ns()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"operations={2 * count * THREADS} ns={time.monotonic_ns() - began}")
