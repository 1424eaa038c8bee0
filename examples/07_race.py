"""Ten threads add to a global without a lock, so now and then one overwrites what another has just stored.

What conctrace should find: ten threads ``adder-1`` to ``adder-10``, each with its arrows ``start`` and ``end``, and not a single
wait for a lock: nothing keeps these threads apart. (That additions get lost is not found; ``07_locked.py`` is the cure.)
"""

import threading
import time

total = 0


def add():
    global total
    for _ in range(100):
        before = total
        time.sleep(0.0001)  # another thread runs, as it may at any place where the interpreter lets it
        total = before + 1


threads = [threading.Thread(target=add, name=f"adder-{number + 1}") for number in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{total} of 1000")
