"""Arrows from cause to effect. An arrow is drawn where both ends are known, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import kinds
from .trace import Arrow, ObjectKey, Process, Thread, ThreadKey, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .images import Family, Image
    from .rows import Row


def start_arrows(
    family: Family, image: Image, processes: Mapping[int, Process], threads: Mapping[ThreadKey, Thread],
    thread_of: Mapping[ObjectKey, ThreadKey],
) -> Iterator[Arrow]:  # fmt: skip
    """From each call that started a process or a thread to the first moment of what it started."""
    for row in image.of(kinds.PROCESS_FORK):
        if row.outcome != kinds.INTERNAL.number:
            yield from _to_process("fork", family, image, row, processes)
    for row in image.of(kinds.PROCESS_START):
        yield from _to_process("start", family, image, row, processes)
    for row in image.of(kinds.THREAD_START):
        started = thread_of.get((image.key, row.object))
        if started is not None and threads[started].from_start:
            yield _arrow("start", image, row, started, threads[started].start)


def _to_process(name: str, family: Family, image: Image, row: Row, processes: Mapping[int, Process]) -> Iterator[Arrow]:
    child = family.first_after(row.value, row.time) if row.value > 0 else None
    # The pid may have been used again by the time a process with it is seen: then its parent is another.
    if child is not None and processes[child.key].parent == image.key:
        yield _arrow(name, image, row, (child.key, 0), child.born)


def _arrow(name: str, image: Image, row: Row, target: ThreadKey, time: int) -> Arrow:
    # What was started may run before the call that started it returns, or after: the arrow leaves the call in any case,
    # so not at its very end, when its slice is over.
    return Arrow(name, (image.key, row.thread), max(row.time, min(row.end - 1, time)), target, max(row.time, time))


def wait_arrows(waits: list[Wait]) -> Iterator[Arrow]:
    """From what ended a wait to the wait's end."""
    for wait in waits:
        if wait.cause is not None and wait.end is not None:
            yield Arrow(wait.cause.kind, wait.cause.thread, min(wait.cause.time, wait.end), wait.thread, wait.end)
