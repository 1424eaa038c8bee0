"""Four threads want one lock all the time: ``contended.py sum|add COUNT``, for each.

With ``sum`` they do a little while they have it, so that others come and wait on any machine; with ``add`` next to nothing, so
that little but the lock is measured. An interpreter that changes threads only where a loop begins anew never does so while
the lock is held then, and nobody would ever wait: once in a while it is held for a moment's sleep.
"""

from __future__ import annotations

import sys
import threading
import time

THREADS = 4
#: With ``add``: how many times for each sleep, and how long that is: enough for the others to come, also under valgrind.
STRETCH, SLEEP_S = 500, 0.002

way, count = sys.argv[1], int(sys.argv[2])
lock = threading.Lock()
total = 0


def do_a_little() -> None:
    global total
    for _ in range(count):
        with lock:
            total += sum(range(20))


def add() -> None:
    global total
    for first in range(0, count, STRETCH):
        for _ in range(min(STRETCH, count - first) - 1):
            with lock:
                total += 1
        with lock:
            total += 1
            time.sleep(SLEEP_S)


threads = [threading.Thread(target={"sum": do_a_little, "add": add}[way]) for _ in range(THREADS)]
began = time.monotonic_ns()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"operations={2 * count * THREADS} ns={time.monotonic_ns() - began}")
