"""Named stretches and moments: calls that start something, the program's own spans, ends and failures."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from typing import TYPE_CHECKING

from ..events import kinds
from ..events.schema import NO_CORE
from .processes import signal_name
from .trace import Counter, End, Instant, Object, ObjectKey, Process, Span, Thread, ThreadKey, Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    return [*shown, *_spans(image), *_lives(image)]


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


def _spans(image: Image) -> Iterator[Span]:
    """Spans that were left, then those that were not."""
    begun = {(row.time, row.object): row for row in image.of(kinds.SPAN_BEGIN)}
    for row in image.of(kinds.SPAN):
        begin = begun.pop((row.time, row.object), row)
        # A generator may have entered it in one thread and left it in another.
        yield _span(image, begin, row.end, row.outcome, "crossing" if begin.thread != row.thread else "")
    for begin in begun.values():
        yield _span(image, begin, None, 0, "")


def _lives(image: Image) -> Iterator[Span]:
    """From the first step of a coroutine or generator to its end."""
    ends = {row.value: row for row in image.of(kinds.LIFE_END)}
    for row in image.of(kinds.LIFE_BEGIN):
        end = ends.get(row.value)
        yield _span(image, row, end.time if end else None, end.outcome if end else 0, "life")


def _span(image: Image, begin: Row, end: int | None, outcome: int, apart: str) -> Span:
    return Span(
        thread=(image.key, begin.thread), start=begin.time, end=end, name=image.define.text(begin.object),
        category="span", args=_args(image, begin), stack=image.define.stack(begin.stack), core=_core(begin),
        outcome=kinds.OUTCOME_BY_NUMBER[outcome].name, apart=apart,
    )  # fmt: skip


def set_apart(spans: Iterable[Span], waits: Iterable[Wait]) -> list[Span]:
    """The spans, those marked that begin inside another slice of their thread and end outside of it.

    What a thread does nests, since a call ends before its caller. A coroutine that is suspended inside a ``with`` leaves it
    in the middle of something else: of two that cross, it is the one that began later.
    """
    lanes: dict[ThreadKey, list[Span | Wait]] = defaultdict(list)
    found: list[Span] = []
    for span in spans:
        if span.apart:
            found.append(span)
        else:
            lanes[span.thread].append(span)
    for wait in waits:
        if wait.thread in lanes:
            lanes[wait.thread].append(wait)
    for pieces in lanes.values():
        found.extend(_crossings_marked(pieces))
    return found


def _crossings_marked(pieces: list[Span | Wait]) -> Iterator[Span]:
    around: list[float] = []
    for piece in sorted(pieces, key=lambda piece: (piece.start, -_end(piece))):
        while around and around[-1] <= piece.start:
            around.pop()
        crosses = bool(around) and around[-1] < _end(piece)
        if isinstance(piece, Span):
            crosses = crosses and piece.category == "span"
            yield piece._replace(apart="crossing") if crosses else piece
        if not crosses:
            around.append(_end(piece))


def _end(piece: Span | Wait) -> float:
    return math.inf if piece.end is None else piece.end


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
    return instants + end_of(process)


def end_of(process: Process) -> list[Instant]:
    """How a process ended, on its main thread's lane."""
    if process.end.time is None or process.end.how == "replaced":
        return []
    return [Instant((process.key, 0), process.end.time, end_words(process.end), "process")]


def end_words(end: End) -> str:
    """``exit 0``, ``killed by SIGTERM from MainProcess``, ``ended, status not seen``, …"""
    if end.how == "exited":
        return f"exit {end.status}"
    if end.how == "killed":
        sender = f" from {end.by}" if end.by else ""
        return f"killed by {signal_name(end.signal or 0)}{sender}"
    return {
        "ended": "ended, status not seen",
        "left": "left the trace",
        "open": "still running",
        "replaced": "replaced by exec",
    }[end.how]


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
