"""What must be true of every `Trace`, whatever program it is of. Each end-to-end test asks.

A trace that breaks one of these is wrong itself: conctrace misread the program or recorded it badly. Nothing here judges
the program.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .trace import Hold, ObjectKey, ThreadKey, Trace


def problems(trace: Trace) -> list[str]:
    """One sentence for each broken invariant; empty for a good trace."""
    return [problem for check in CHECKS for problem in check(trace)]


def processes_are_a_tree(trace: Trace) -> Iterator[str]:
    """Parents exist, were born first, and nobody is his own ancestor."""
    for process in trace.processes.values():
        parent = trace.processes.get(process.parent) if process.parent is not None else None
        if process.parent is not None and parent is None:
            yield f"{process.name}: its parent is not in the trace"
        elif parent is not None and parent.start > process.start:
            yield f"{process.name}: began before its parent {parent.name}"


def processes_end_after_they_begin(trace: Trace) -> Iterator[str]:
    """An end has a time, unless the process is open, and it is not before the start."""
    for process in trace.processes.values():
        end = process.end
        if (end.time is None) != (end.how == "open"):
            yield f"{process.name}: {end.how}, at {end.time}"
        if end.time is not None and end.time < process.start:
            yield f"{process.name}: ended before it began"
        if (end.how == "exited") != (end.status is not None) or (end.how == "killed") != (end.signal is not None):
            yield f"{process.name}: {end.how} with status {end.status} and signal {end.signal}"


def threads_live_within_their_process(trace: Trace) -> Iterator[str]:
    """A thread begins and ends while its process lives, and each process has a main thread."""
    for key, process in trace.processes.items():
        if (key, 0) not in trace.threads:
            yield f"{process.name}: has no main thread"
    for thread in trace.threads.values():
        process = trace.processes[thread.key[0]]
        last = process.end.time
        if thread.start < process.start:
            yield f"{thread.name} of {process.name}: began before its process"
        if thread.end is not None and (thread.end < thread.start or (last is not None and thread.end > last)):
            yield f"{thread.name} of {process.name}: {thread.start} to {thread.end}, in a process that ended at {last}"


def slices_lie_within_their_thread(trace: Trace) -> Iterator[str]:
    """Waits and spans belong to a known thread and lie inside its life; what is drawn apart may outlive the thread."""
    for wait in trace.waits:
        yield from _outside(trace, wait.thread, wait.start, wait.end, wait.label)
    for span in trace.spans:
        yield from _outside(trace, span.thread, span.start, None if span.apart else span.end, span.name)


def _outside(trace: Trace, key: ThreadKey, start: int, end: int | None, name: str) -> Iterator[str]:
    thread = trace.threads.get(key)
    if thread is None:
        yield f"{name}: of a thread that is not in the trace"
    elif start < thread.start or (end is not None and end < start):
        yield f"{name}: {start} to {end}, in {thread.name}, which began at {thread.start}"
    elif end is not None and thread.end is not None and end > thread.end:
        yield f"{name}: ends at {end}, after {thread.name}, which ended at {thread.end}"


def calls_are_in_order(trace: Trace) -> Iterator[str]:
    """Calls of functions are of a known thread, by start, and of a known function; none ends before it begins."""
    for key, lane in trace.functions.calls.items():
        if key not in trace.threads:
            yield "calls of a thread that is not in the trace"
        if any(one > other for one, other in pairwise(lane.start)):
            yield f"{trace.threads[key].name}: calls out of order"
        if any(start > end for start, end in zip(lane.start, lane.end, strict=True)):
            yield f"{trace.threads[key].name}: a call ends before it begins"
        if max(lane.function, default=0) >= len(trace.functions.functions):
            yield f"{trace.threads[key].name}: calls of a function that is not in the trace"


def slices_of_a_thread_nest(trace: Trace) -> Iterator[str]:
    """Two slices of one thread are apart, or one lies inside the other."""
    by_thread: dict[ThreadKey, list[tuple[int, int]]] = defaultdict(list)
    for wait in trace.waits:
        if wait.end is not None:
            by_thread[wait.thread].append((wait.start, -wait.end))
    for span in trace.spans:
        if span.end is not None and not span.apart:
            by_thread[span.thread].append((span.start, -span.end))
    for key, pieces in by_thread.items():
        yield from _crossings(trace.threads[key].name, pieces)


def _crossings(name: str, pieces: list[tuple[int, int]]) -> Iterator[str]:
    around: list[int] = []
    for start, negative_end in sorted(pieces):
        end = -negative_end
        while around and around[-1] <= start:
            around.pop()
        if around and end > around[-1]:
            yield f"{name}: a slice from {start} to {end} crosses the end of another at {around[-1]}"
        around.append(end)


def holds_of_a_lock_exclude_each_other(trace: Trace) -> Iterator[str]:
    """Nobody gets a lock before the one before him has let it go."""
    by_object: dict[ObjectKey, list[Hold]] = defaultdict(list)
    for hold in trace.holds:
        by_object[hold.object].append(hold)
    for key, holds in by_object.items():
        for before, after in pairwise(sorted(holds, key=lambda hold: hold.start)):
            if before.end is None or before.end > after.start:
                label = trace.objects[key].label
                yield f"{label}: held from {after.start} on, while another held it until {before.end}"


def things_are_known(trace: Trace) -> Iterator[str]:
    """What waits, holds and totals are about is in the trace."""
    for wait in trace.waits:
        if wait.object is not None and wait.object not in trace.objects:
            yield f"{wait.label}: for an object that is not in the trace"
    pairs = {(hold.object, hold.thread) for hold in trace.holds} | {(row.object, row.thread) for row in trace.totals}
    for thing, thread in pairs:
        if thing not in trace.objects or thread not in trace.threads:
            yield f"object {thing[1]} or thread {thread[1]} of a hold or total is not in the trace"


def causes_come_before_effects(trace: Trace) -> Iterator[str]:
    """What ended a wait happened by the wait's end; a release that ended one came after its beginning."""
    for wait in trace.waits:
        cause = wait.cause
        if cause is None:
            continue
        if wait.end is None or cause.time > wait.end or cause.thread not in trace.threads:
            yield f"{wait.label}: ended at {wait.end} by something at {cause.time}"
        if cause.kind == "release" and cause.time < wait.start:
            yield f"{wait.label}: began at {wait.start}, after the release at {cause.time} that is said to have ended it"
        if wait.outcome != "acquired":
            yield f"{wait.label}: has a cause, and the outcome {wait.outcome!r}"


def arrows_go_forward(trace: Trace) -> Iterator[str]:
    """Arrows join known threads, forward in time, within their lives."""
    for arrow in trace.arrows:
        source, target = trace.threads.get(arrow.source), trace.threads.get(arrow.target)
        if source is None or target is None:
            yield f"{arrow.name} arrow: one of its threads is not in the trace"
        elif arrow.source_time > arrow.target_time:
            yield f"{arrow.name} arrow: from {arrow.source_time} back to {arrow.target_time}"
        elif arrow.source_time < source.start or arrow.target_time < target.start:
            yield f"{arrow.name} arrow: from {source.name} to {target.name}, before one of them began"


def totals_cover_what_is_recorded(trace: Trace) -> Iterator[str]:
    """A lock's totals count at least its individual records, and no sum is less than its largest part."""
    for row in trace.totals:
        if row.recorded > row.holds or row.hold_max_ns > row.hold_ns or row.wait_max_ns > row.wait_ns:
            yield f"totals of object {row.object[1]} contradict themselves: {row}"


def everything_lies_in_the_run(trace: Trace) -> Iterator[str]:
    """The run's first and last moment enclose all others."""
    first, last = trace.facts.start, trace.facts.end
    for name, times in (
        ("a process", _times((process.start, process.end.time) for process in trace.processes.values())),
        ("a wait", _times((wait.start, wait.end) for wait in trace.waits)),
        ("a span", _times((span.start, span.end) for span in trace.spans)),
        ("a hold", _times((hold.start, hold.end) for hold in trace.holds)),
    ):
        for time in times:
            if not first <= time <= last:
                yield f"{name} has a moment at {time}, outside of the run, {first} to {last}"


def _times(pairs: Iterable[tuple[int, int | None]]) -> Iterator[int]:
    for start, end in pairs:
        yield start
        if end is not None:
            yield end


CHECKS: tuple[Callable[[Trace], Iterator[str]], ...] = (
    processes_are_a_tree,
    processes_end_after_they_begin,
    threads_live_within_their_process,
    slices_lie_within_their_thread,
    calls_are_in_order,
    slices_of_a_thread_nest,
    holds_of_a_lock_exclude_each_other,
    things_are_known,
    causes_come_before_effects,
    arrows_go_forward,
    totals_cover_what_is_recorded,
    everything_lies_in_the_run,
)
