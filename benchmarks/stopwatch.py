"""Runs one command and measures it from outside: ``python -I -S stopwatch.py OUTPUT ERRORS COMMAND…``.

Prints its exit status (minus the signal's number), wall time in ns, CPU time in ns of it and all the children
it waited for, and the peak memory in KiB of the largest of them.

A program of its own because of that last figure. What a process was before its `exec` counts as its peak memory
too (``ru_maxrss``, getrusage(2)), so whoever starts a command has to be smaller than anything that is measured: a
Python without `site` is, the rest of the benchmark is not.
"""

from __future__ import annotations

import os
import sys
import time


def main(output: str, errors: str, command: list[str]) -> None:
    """Run the command with its output and errors in these files."""
    to_file = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, to_file, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, errors, to_file, 0o600),
    )
    began = time.monotonic_ns()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic_ns() - began
    cpu = int((usage.ru_utime + usage.ru_stime) * 1e9)
    print(os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
