"""Who of the traced processes still lives: one pidfd each, which becomes readable the moment its process ends.

A pidfd needs no parenthood and is never reused, unlike the pid it was opened by. So the one race left is between
the moment a process wrote its pid down and the moment the pidfd is opened; the process's start time, which it
wrote down too, tells the two apart.
"""

from __future__ import annotations

import errno
import os
import select
from functools import cache


class Life:
    """Watches one process; `descriptor` is to be polled, or -1 when there is nothing left to wait for."""

    __slots__ = ("_start_ticks", "descriptor", "pid")

    def __init__(self, pid: int, start_ticks: int | None, namespace: int | None = None) -> None:
        """Finds the process by what it says of itself; a pid of another pid namespace is looked up first."""
        if namespace and namespace != _own_namespace():
            pid = _pid_here(pid, namespace, start_ticks)
        self.pid = pid
        self._start_ticks = start_ticks
        self.descriptor = _open(pid)
        if self.descriptor >= 0 and not self._is_the_one():
            self.close()

    def close(self) -> None:
        """Stops watching."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    @property
    def gone(self) -> bool:
        """True when there was nobody to watch in the first place, or nobody is watched any more."""
        return self.descriptor < 0

    def ended(self) -> bool:
        """Whether the process is dead, a zombie included."""
        if self.descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _is_the_one(self) -> bool:
        found = start_ticks(self.pid)
        return found is not None and self._start_ticks in (None, found)


def lives(pid: int) -> bool:
    """Whether there is a process of that number, and no zombie."""
    life = Life(pid, None)
    try:
        return not life.ended()
    finally:
        life.close()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name, in parentheses, may hold blanks and parentheses itself.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid) if pid > 0 else -1
    except OSError as error:
        # EINVAL: the number is a thread of some other process by now.
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return -1
        raise


@cache
def _own_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _pid_here(pid: int, namespace: int, ticks: int | None) -> int:
    """What a process that is number `pid` in another pid namespace is called in ours; 0 when it is not here."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or start_ticks(int(name)) != ticks:
            continue
        try:
            if os.stat(f"/proc/{name}/ns/pid").st_ino == namespace and _innermost_pid(name) == pid:
                return int(name)
        except OSError:
            continue
    return 0


def _innermost_pid(name: str) -> int:
    with open(f"/proc/{name}/status", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[-1]) for line in file if line.startswith("NSpid:")), 0)
