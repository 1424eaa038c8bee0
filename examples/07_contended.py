"""One thread sleeps for 50 ms with a lock in its hands, while three others want it.

What conctrace should find: three waits ``Lock.acquire lock`` of 50 ms. When they began, ``holder`` held the lock, and had taken it
in ``hold``. The first of them was ended by the release in ``hold``, the others each by the one that had it before: an arrow
``release`` leads from each release to the wait that it ended.
"""

import threading
import time

lock = threading.Lock()
taken = threading.Event()


def hold():
    with lock:
        taken.set()
        time.sleep(0.05)


def want():
    taken.wait()
    with lock:
        print(f"{threading.current_thread().name} has the lock")


threads = [threading.Thread(target=want, name=f"waiter-{number}") for number in (1, 2, 3)]
threads.append(threading.Thread(target=hold, name="holder"))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
