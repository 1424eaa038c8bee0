"""Runs Pythons, one after the other: ``children.py CODE COUNT``."""

from __future__ import annotations

import subprocess
import sys
import time

code, count = sys.argv[1], int(sys.argv[2])
began = time.monotonic_ns()
for _ in range(count):
    subprocess.run([sys.executable, "-c", code], check=True)
print(f"operations={count} ns={time.monotonic_ns() - began}")
