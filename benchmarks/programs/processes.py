"""Starts and joins processes that do nothing, by fork, one after the other: ``processes.py COUNT``."""

from __future__ import annotations

import multiprocessing
import sys
import time


def nothing() -> None:
    """What each process does."""


if __name__ == "__main__":
    count = int(sys.argv[1])
    context = multiprocessing.get_context("fork")
    began = time.monotonic_ns()
    for _ in range(count):
        process = context.Process(target=nothing)
        process.start()
        process.join()
    print(f"operations={count} ns={time.monotonic_ns() - began}")
