"""Parts of a run: the blocks of `conctrace.trace` inside of it, and a trace of one of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..events import kinds
from .functions import clip_functions
from .trace import Counter, End, Loss, Process, ProcessKey, Range, Span, Thread, ThreadKey, Trace, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .images import Image


def build_ranges(image: Image) -> Iterator[Range]:
    """The ranges that began in one image."""
    ends = {row.value: row.time for row in image.of(kinds.RANGE_END)}
    for row in image.of(kinds.RANGE_BEGIN):
        asked = _asked(image.define.text(row.other))
        if asked:
            yield Range(
                (image.key, row.thread), row.time, ends.get(row.value), image.define.text(row.object),
                tuple(map(str, asked["files"])), tuple(map(str, asked["include"])),
            )  # fmt: skip


def range_span(part: Range) -> Span:
    """How it is drawn in the trace that it is a part of."""
    files = ", ".join(file.rpartition("/")[2] for file in part.files)
    return Span(part.thread, part.start, part.end, f"trace {part.name}", "span", {"files": files})


def _asked(text: str) -> dict[str, Any]:
    """Nothing when it is not whole: a killed process's last words."""
    try:
        asked = json.loads(text)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) and {"files", "include"} <= asked.keys() else {}


def clip(trace: Trace, start: int, end: int, name: str) -> Trace:
    """What of the run lies between these moments. What began before begins there, and is marked; what ended later is open."""
    return _Clip(trace, start, end).trace(name)


class _Clip:
    def __init__(self, trace: Trace, start: int, end: int) -> None:
        self.whole = trace
        self.start = start
        self.end = end

    def trace(self, name: str) -> Trace:
        whole = self.whole
        processes = self.processes()
        threads = self.threads(processes)
        return whole._replace(
            facts=whole.facts._replace(
                started_wall_ns=whole.facts.started_wall_ns + self.start - whole.facts.start, start=self.start, end=self.end,
                part=name,
            ),
            processes=processes, threads=threads,
            waits=[self.wait(wait, threads) for wait in self.inside(whole.waits, threads)],
            holds=[self.cut(hold) for hold in self.inside(whole.holds, threads)],
            spans=[self.cut(span) for span in self.inside(whole.spans, threads)],
            instants=[mark for mark in whole.instants if mark.thread in threads and self.has(mark.time)],
            counters=self.counters(processes),
            arrows=[
                arrow for arrow in whole.arrows
                if arrow.source in threads and arrow.target in threads
                and self.has(arrow.source_time) and self.has(arrow.target_time)
            ],
            totals=[], losses=[*self.losses(name), *whole.losses], ranges=(),
            functions=clip_functions(whole.functions, threads, self.start, self.end),
        )  # fmt: skip

    def has(self, time: int) -> bool:
        return self.start <= time <= self.end

    def inside(self, pieces: list[Any], threads: Mapping[ThreadKey, Thread]) -> Iterator[Any]:
        """Waits, holds or spans that have a part in it."""
        for piece in pieces:
            if piece.thread in threads and piece.start <= self.end and (piece.end is None or piece.end >= self.start):
                yield piece

    def cut(self, piece: Any) -> Any:
        """The part of it that lies inside."""
        if piece.start < self.start:
            piece = piece._replace(start=self.start, clipped=True)
        return piece._replace(end=None) if piece.end is not None and piece.end > self.end else piece

    def wait(self, wait: Wait, threads: Mapping[ThreadKey, Thread]) -> Wait:
        piece: Wait = self.cut(wait)
        if piece.end is None and wait.end is not None:
            piece = piece._replace(outcome="", cause=None, gil_wait_ns=0)
        if piece.cause is not None and (piece.cause.thread not in threads or piece.cause.time < self.start):
            piece = piece._replace(cause=None)
        return piece._replace(holder=None, holder_site=None) if piece.holder not in threads else piece

    def processes(self) -> dict[ProcessKey, Process]:
        living = {
            key: process for key, process in self.whole.processes.items()
            if process.start <= self.end and (process.end.time is None or process.end.time >= self.start)
        }  # fmt: skip
        return {
            key: process._replace(
                start=max(process.start, self.start),
                parent=process.parent if process.parent in living else None,
                end=process.end if self.is_over(process.end.time) else End("open", None),
            )
            for key, process in living.items()
        }

    def threads(self, processes: Mapping[ProcessKey, Process]) -> dict[ThreadKey, Thread]:
        return {
            key: thread._replace(
                start=max(thread.start, self.start),
                end=thread.end if self.is_over(thread.end) else None,
                from_start=thread.from_start and thread.start >= self.start,
            )
            for key, thread in self.whole.threads.items()
            if key[0] in processes
            and thread.start <= self.end
            and (key[1] == 0 or thread.end is None or thread.end >= self.start)
        }

    def is_over(self, time: int | None) -> bool:
        return time is not None and time <= self.end

    def counters(self, processes: Mapping[ProcessKey, Process]) -> list[Counter]:
        """Those inside, and what each stood at when it began."""
        before: dict[tuple[ProcessKey, str], Counter] = {}
        found = []
        for value in self.whole.counters:
            if value.process in processes and value.time < self.start:
                before[value.process, value.name] = value._replace(time=self.start)
            elif value.process in processes and value.time <= self.end:
                found.append(value)
        return [*before.values(), *found]

    def losses(self, name: str) -> Iterator[Loss]:
        totals = " The exact totals are those of the whole run, and are not shown here." if self.whole.totals else ""
        yield Loss("part", 1, f"This is a part of the run only: {name}.{totals}", "unseen")
