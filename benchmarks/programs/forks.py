"""Forks children that end at once, and waits for each: ``forks.py COUNT``."""

from __future__ import annotations

import os
import sys
import time

count = int(sys.argv[1])
began = time.monotonic_ns()
for _ in range(count):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
print(f"operations={count} ns={time.monotonic_ns() - began}")
