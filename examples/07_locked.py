"""The threads of ``07_race.py`` with a lock around each addition: none is lost, and now the threads wait for each other.

What conctrace should find: one lock called ``lock``, held 1,000 times by ten threads ``adder-1`` to ``adder-10``, and waits
``Lock.acquire lock`` that name who held it. An arrow ``release`` leads to a wait from the one who let go of the lock.
"""

import threading
import time

total = 0
lock = threading.Lock()


def add():
    global total
    for _ in range(100):
        with lock:
            before = total
            time.sleep(0.0001)  # another thread runs, as it may at any place where the interpreter lets it
            total = before + 1


threads = [threading.Thread(target=add, name=f"adder-{number + 1}") for number in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{total} of 1000")
