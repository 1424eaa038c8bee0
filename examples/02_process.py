"""Three ways in which a ``multiprocessing.Process`` ends: it is done, it exits with a status, it is terminated.

What conctrace should find: ``MainProcess`` and its children ``reader`` (``exit 0``), ``writer`` (``exit 3``) and ``sleeper``
(``killed by SIGTERM from MainProcess``). An arrow ``start`` leads to each child, an arrow ``end`` back to the ``Process.join``
that waited for it. The first ``Process.join reader`` gave up after 20 ms: its outcome is ``timeout``.
"""

import sys
import time
from multiprocessing import Pipe, Process


def read(words):
    words.recv()


def write():
    sys.exit(3)


def sleep():
    time.sleep(60)


if __name__ == "__main__":
    to_reader, words = Pipe()
    reader = Process(target=read, args=(words,), name="reader")
    writer = Process(target=write, name="writer")
    sleeper = Process(target=sleep, name="sleeper")
    for process in (reader, writer, sleeper):
        process.start()

    reader.join(timeout=0.02)
    to_reader.send("go on")
    reader.join()
    writer.join()
    sleeper.terminate()
    sleeper.join()
    print(f"exit codes: {reader.exitcode}, {writer.exitcode}, {sleeper.exitcode}")
