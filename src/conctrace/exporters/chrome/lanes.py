"""Which pid and tid each process image and thread gets in the file.

Perfetto knows a process by its pid and a thread by its tid, both for the whole file; a trace knows images and
their threads. Two images can share a pid (``exec`` keeps it, the kernel gives it out again), and a thread's
native id can be that of another process's main thread, or the same in two pid namespaces. So the first owner of
a number keeps it, and the others get numbers above any that Linux gives out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .format import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...model.trace import Process, ProcessKey, Thread, ThreadKey, Trace

#: Linux's largest pid is 2**22; tids share its space.
FIRST_SYNTHETIC = (1 << 22) + 1


class Numbers:
    """Gives out numbers, each once."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._next = FIRST_SYNTHETIC

    def take(self, wanted: int) -> int:
        """`wanted` if it is a possible id that nobody has, else a synthetic number."""
        if not 0 < wanted < FIRST_SYNTHETIC or wanted in self._taken:
            wanted, self._next = self._next, self._next + 1
        self._taken.add(wanted)
        return wanted


class Lanes:
    """The lanes of the processes that are shown; lookups of others give None."""

    def __init__(self, trace: Trace, internals: bool) -> None:
        shown = (process for process in trace.processes.values() if internals or not process.hidden)
        self.processes: list[Process] = sorted(shown, key=lambda process: (process.start, process.pid))
        keys = {process.key for process in self.processes}
        self.threads: list[Thread] = sorted(
            (thread for thread in trace.threads.values() if thread.key[0] in keys),
            key=lambda thread: (not thread.is_main, thread.start, thread.key[1]),
        )
        numbers = Numbers()
        self.pids: dict[ProcessKey, int] = {process.key: numbers.take(process.pid) for process in self.processes}
        self._lanes: dict[ThreadKey, Lane] = {}
        for thread in self.threads:
            self._lanes[thread.key] = self._lane(thread, numbers)

    def _lane(self, thread: Thread, numbers: Numbers) -> Lane:
        pid = self.pids[thread.key[0]]
        if thread.is_main and Lane(pid, pid) not in self._lanes.values():
            return Lane(pid, pid)
        return Lane(pid, numbers.take(thread.native_id))

    def of_thread(self, key: ThreadKey) -> Lane | None:
        """The lane of a thread, or None when it is not shown."""
        return self._lanes.get(key)

    def of_process(self, key: ProcessKey) -> Lane | None:
        """The lane for what belongs to a whole process, or None when it is not shown."""
        pid = self.pids.get(key)
        return None if pid is None else Lane(pid, pid)

    def threads_by_process(self) -> Iterable[tuple[Process, list[Thread]]]:
        """Processes by start; of each the main thread first, the others by start."""
        grouped: dict[ProcessKey, list[Thread]] = {process.key: [] for process in self.processes}
        for thread in self.threads:
            grouped[thread.key[0]].append(thread)
        for process in self.processes:
            yield process, grouped[process.key]
