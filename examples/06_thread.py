"""A thread that works, one that fails, and a timer; the main thread waits for all of them.

What conctrace should find: four threads, each with an arrow ``start`` from the ``Thread.start`` that began it, and an
arrow ``end`` to the ``Thread.join`` that waited for it. ``LoopThread`` lives for 0.3 s, and the main thread waits as
long. ``failing`` ended with ``ZeroDivisionError``, of which the main thread, which only joins, hears nothing.
"""

import threading
import time


def loop():
    for step in range(3):
        print(f"{threading.current_thread().name} >>> {step + 1}")
        time.sleep(0.1)


def fail():
    return 1 / 0


worker = threading.Thread(target=loop, name="LoopThread")
failing = threading.Thread(target=fail, name="failing")
timer = threading.Timer(0.05, print, args=["the timer rang"])
timer.name = "timer"

for thread in (worker, failing, timer):
    thread.start()
for thread in (worker, failing, timer):
    thread.join()
print("all threads have ended")
