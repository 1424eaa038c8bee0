"""The threads of each image: what they are called, what they ran, who started them, what ended them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import kinds
from .programs import replacement
from .trace import Process, Thread, ThreadKey

if TYPE_CHECKING:
    from .images import Image
    from .rows import Row


def build_threads(image: Image, process: Process) -> dict[ThreadKey, Thread]:
    """All threads of one image that left any trace: records, or totals where there was no room for records."""
    begins = {row.thread: row for row in image.of(kinds.THREAD_BEGIN)}
    recorded = {row.thread for rows in image.rows.values() for row in rows}
    counted = {row["thread"] for row in image.data.totals} | {int(fields[1]) for fields in image.data.flushed_totals}
    shown = {entry["thread"] for entry in image.data.threads}
    indexes = sorted({0} | recorded | counted | shown)
    first: dict[int, int] = {}
    for rows in image.rows.values():
        for row in rows:
            first[row.thread] = min(row.time, first.get(row.thread, row.time))
    threads = (_thread(image, process, index, begins.get(index), first.get(index)) for index in indexes)
    return {thread.key: thread for thread in threads}


def _thread(image: Image, process: Process, index: int, begin: Row | None, first: int | None) -> Thread:
    fields = image.define.own(kinds.THREAD, index + 1)
    number = int(fields[3]) if fields else 0
    thing = image.define.fields(kinds.OBJECT, number) if number else ()
    starts = [row for row in image.of(kinds.THREAD_START) if number and row.object == number]
    start = starts[0] if starts else None
    stack = image.define.stack(start.stack) if start else ()
    error = next((row for row in image.of(kinds.THREAD_ERROR) if row.thread == index), None)
    return Thread(
        key=(image.key, index),
        name=(fields[0] if fields else "") or ("MainThread" if index == 0 else f"thread {index}"),
        # Linux: a main thread's id is its process's.
        native_id=int(fields[1]) if fields else 0 if index else image.pid,
        daemon=bool(fields) and fields[2] == "1",
        start=_start(image, begin, first),
        end=_end(image, process, index),
        is_main=index == 0,
        target=process.target if index == 0 else thing[3] if thing else "",
        from_start=index == 0 if begin is None else begin.outcome != kinds.NOT_FROM_START.number,
        started_by=(image.key, start.thread) if start else None,
        start_site=stack[0] if stack else None,
        error=image.define.text(error.other) if error else None,
        error_stack=image.define.stack(error.stack) if error else (),
    )


def _start(image: Image, begin: Row | None, first: int | None) -> int:
    """When it was first seen. One that nobody announced is met at its first record, which may tell of a moment before."""
    if begin is None:
        return image.born
    if begin.outcome != kinds.NOT_FROM_START.number or first is None:
        return begin.time
    return max(image.born, min(begin.time, first))


def _end(image: Image, process: Process, index: int) -> int | None:
    """Its last record, else the end of its process; None while that is open."""
    if index:
        ends = [row.time for row in image.of(kinds.THREAD_END) if row.thread == index]
        if ends:
            return ends[-1]
        became = replacement(image)
        if became is not None:  # a new program has only one
            return max(became.time, *(row.end for rows in image.rows.values() for row in rows if row.thread == index))
    return process.end.time
