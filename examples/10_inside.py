"""A program traces a part of itself, and names what it does there: two downloads at a time, each in steps.

What conctrace should find: with ``conctrace run`` a span ``trace 10_inside`` in which two threads have spans ``download`` of
20 ms and, inside of each, ``check`` of 10 ms; a counter ``done`` that goes to 2. What comes before and after the block is in the
whole trace, and not in the part's own.
"""

import threading
import time

import conctrace

done = 0


@conctrace.traced
def check():
    time.sleep(0.01)


def download(name):
    global done
    with conctrace.span("download", name=name):
        time.sleep(0.01)
        check()
    done += 1
    conctrace.counter("done", done)


with conctrace.span("before"):
    pass

with conctrace.trace("part.json", "part.ctrace", name="10_inside"):
    threads = [threading.Thread(target=download, args=(name,), name=name) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

with conctrace.span("after"):
    pass
