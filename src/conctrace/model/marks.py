"""Named stretches and moments: calls that start something, the program's own spans, ends and failures."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..events import kinds
from ..events.schema import NO_CORE
from .processes import signal_name
from .trace import Counter, End, Instant, Object, ObjectKey, Process, Span, Thread, ThreadKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .images import Image
    from .rows import Row

_STARTS = {
    kinds.PROCESS_FORK.number: "process",
    kinds.PROCESS_START.number: "process",
    kinds.THREAD_START.number: "thread",
}


def build_spans(image: Image, objects: Mapping[ObjectKey, Object]) -> list[Span]:
    """The image's spans, those of the user's own included."""
    starts = (row for number in _STARTS for row in image.rows.get(number, ()))
    shown = [_start(image, row, objects) for row in starts if row.outcome != kinds.INTERNAL.number]
    return shown + [_span(image, row) for row in image.of(kinds.SPAN)]


def _start(image: Image, row: Row, objects: Mapping[ObjectKey, Object]) -> Span:
    thing = objects.get((image.key, row.object))
    name = kinds.BY_NUMBER[row.kind].name
    failed = row.kind != kinds.THREAD_START.number and row.value < 0
    return Span(
        thread=(image.key, row.thread), start=row.time, end=row.end,
        name=image.define.text(row.object) if row.kind == kinds.PROCESS_FORK.number else f"{name} {thing.label}" if thing else name,
        category=_STARTS[row.kind], args={} if row.kind == kinds.THREAD_START.number else {"pid": str(row.value)},
        object=thing.key if thing else None, stack=image.define.stack(row.stack), core=_core(row),
        outcome="error" if failed else "",
    )  # fmt: skip


def _span(image: Image, row: Row) -> Span:
    return Span(
        thread=(image.key, row.thread), start=row.time, end=row.end, name=image.define.text(row.object),
        category="span", args=_args(image, row), stack=image.define.stack(row.stack), core=_core(row),
        outcome=kinds.OUTCOME_BY_NUMBER[row.outcome].name,
    )  # fmt: skip


def _core(row: Row) -> int | None:
    return None if row.core == NO_CORE else row.core


def _args(image: Image, row: Row) -> dict[str, str]:
    """Arguments stand as 'key=repr' lines."""
    lines = image.define.text(row.other).splitlines() if row.other else []
    return dict(line.partition("=")[::2] for line in lines)


def build_instants(
    image: Image, process: Process, threads: Mapping[ThreadKey, Thread], objects: Mapping[ObjectKey, Object]
) -> list[Instant]:
    """How the process ended, failed threads, signals sent, the program's own."""
    instants = [
        Instant((image.key, row.thread), row.time, image.define.text(row.object), "span", _args(image, row))
        for row in image.of(kinds.INSTANT)
    ]
    for row in image.of(kinds.PROCESS_SIGNAL):
        thing = objects.get((image.key, row.object))
        name = f"{signal_name(row.value)} to {thing.label if thing else row.other}"
        instants.append(
            Instant((image.key, row.thread), row.time, name, "process", {"pid": str(row.other)},
                    image.define.stack(row.stack))
        )  # fmt: skip
    for row in image.of(kinds.THREAD_ERROR):
        thread = threads[image.key, row.thread]
        instants.append(Instant(thread.key, row.time, thread.error or "exception", "thread", {}, thread.error_stack))
    if process.end.time is not None and process.end.how != "replaced":
        instants.append(Instant((image.key, 0), process.end.time, end_words(process.end), "process"))
    return instants


def end_words(end: End) -> str:
    """``exit 0``, ``killed by SIGTERM from MainProcess``, ``ended, status not seen``, ``still running``."""
    if end.how == "exited":
        return f"exit {end.status}"
    if end.how == "killed":
        sender = f" from {end.by}" if end.by else ""
        return f"killed by {signal_name(end.signal or 0)}{sender}"
    return {"ended": "ended, status not seen", "open": "still running", "replaced": "replaced by exec"}[end.how]


def build_counters(image: Image) -> list[Counter]:
    """Values that the program named."""
    return [
        Counter(image.key, row.time, image.define.text(row.object), _number(row)) for row in image.of(kinds.COUNTER)
    ]


def _number(row: Row) -> float:
    if row.outcome == kinds.FLOAT.number:
        value: float = struct.unpack("<d", struct.pack("<q", row.value))[0]
        return value
    return row.value
