"""What the summary and the page both tell: who waited longest and what ended it, which locks cost most, who began whom.

Pure functions of a Trace. Processes of the standard library's own (`Process.hidden`) are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import words

#: A wait for the GIL is told from so many ns on.
GIL_WAIT_TOLD_NS = 1_000_000
#: Files of the standard library, wherever Python is installed.

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model.trace import Object, ObjectKey, Process, Span, Thread, ThreadKey, Trace, Wait
    from .places import Places


def end_of_process(trace: Trace, process: Process) -> int:
    """When a process ended, or the trace did."""
    return process.end.time if process.end.time is not None else max(trace.facts.end, process.start)


def end_of_thread(trace: Trace, key: ThreadKey) -> int:
    """When a thread ended, or its process, or the trace."""
    thread = trace.threads.get(key)
    if thread is not None and thread.end is not None:
        return thread.end
    return max(end_of_process(trace, trace.processes[key[0]]), thread.start if thread else 0)


def wait_end(trace: Trace, wait: Wait) -> int:
    """When a wait was over; an open one lasts as long as its thread."""
    return max(end_of_thread(trace, wait.thread), wait.start) if wait.end is None else wait.end


def span_end(trace: Trace, span: Span) -> int:
    """When a span was left; an open one lasts as long as its thread, one drawn apart as its process."""
    if span.end is not None:
        return max(span.end, span.start)
    process = trace.processes[span.thread[0]]
    return max(end_of_process(trace, process) if span.apart else end_of_thread(trace, span.thread), span.start)


def wait_length(trace: Trace, wait: Wait) -> int:
    """How long a wait took."""
    return wait_end(trace, wait) - wait.start


def shown_processes(trace: Trace) -> list[Process]:
    """The processes of the program, by start."""
    shown = [process for process in trace.processes.values() if not process.hidden]
    return sorted(shown, key=lambda process: (process.start, process.pid))


def shown_threads(trace: Trace) -> list[Thread]:
    """The threads of those processes: process by process, the main thread first, the others by start."""
    place = {process.key: number for number, process in enumerate(shown_processes(trace))}
    shown = [thread for thread in trace.threads.values() if thread.key[0] in place]
    return sorted(shown, key=lambda thread: (place[thread.key[0]], not thread.is_main, thread.start, thread.key[1]))


def tree(trace: Trace) -> Iterator[tuple[int, Process]]:
    """The processes as a tree, each with its depth; one whose parent is not shown stands at the top."""
    shown = shown_processes(trace)
    keys = {process.key for process in shown}
    children: dict[object, list[Process]] = {}
    for process in shown:
        children.setdefault(process.parent if process.parent in keys else None, []).append(process)
    # Not recursive: chains of forks can be deeper than Python's stack.
    pending = [(0, process) for process in reversed(children.get(None, []))]
    while pending:
        depth, process = pending.pop()
        yield depth, process
        pending.extend((depth + 1, child) for child in reversed(children.get(process.key, [])))


def longest_waits(trace: Trace, count: int) -> list[Wait]:
    """The longest waits, the longest first; an ``acquire(False)`` that found the lock taken did not wait."""
    import heapq

    hidden = {process.key for process in trace.processes.values() if process.hidden}
    waits = (wait for wait in trace.waits if wait.thread[0] not in hidden and wait.end != wait.start)
    return heapq.nlargest(count, waits, key=lambda wait: wait_length(trace, wait))


def worth_telling(trace: Trace, count: int) -> list[Wait]:
    """The longest waits without those that are nothing beside the longest."""
    waits = longest_waits(trace, count)
    return [wait for wait in waits if wait_length(trace, wait) * 100 >= wait_length(trace, waits[0])]


def who(trace: Trace, key: ThreadKey) -> str:
    """A thread by its name; with its process where there are several, and a process's only thread as the process."""
    shown = [process.key for process in trace.processes.values() if not process.hidden]
    process = trace.processes.get(key[0])
    if len(shown) < 2 or process is None:
        return words.thread_name(trace, key)
    thread = trace.threads.get(key)
    alone = sum(1 for other in trace.threads if other[0] == key[0]) == 1
    return (
        words.process_label(process)
        if alone and thread is not None and thread.is_main
        else words.thread_label(trace, key)
    )


def wait_holder(trace: Trace, wait: Wait, places: Places) -> str:
    """``Thread-1 held it, from race.py:8``; nothing when that is not known."""
    if wait.holder is None:
        return ""
    since = f", from {places.line(wait.holder_site)}" if wait.holder_site else ""
    who = "it" if wait.holder == wait.thread else words.thread_name(trace, wait.holder, wait.thread)
    return f"{who} held it itself{since}" if who == "it" else f"{who} held it{since}"


def wait_ending(trace: Trace, wait: Wait, places: Places) -> str:
    """What ended a wait, as a clause: ``Thread-1 released it at race.py:10``."""
    if wait.cause is not None:
        who = words.thread_name(trace, wait.cause.thread, wait.thread)
        at = f" at {places.line(wait.cause.site)}" if wait.cause.site else ""
        if wait.cause.kind == "release":
            return f"{who} released it{at}"
        if wait.cause.kind == "end":
            return f"{_ended(trace, wait)} ended"
        return f"{who}: {wait.cause.kind}{at}"
    if wait.end is None:
        return _open_ending(trace, wait)
    gave_up = {"timeout": "it gave up (timeout)", "error": "an exception ended it", "killed": "it was killed"}
    return gave_up.get(wait.outcome, "what ended it was not seen")


def wait_for_gil(wait: Wait) -> str:
    """``then waited 12.0 ms for the GIL``; nothing for what nobody would notice."""
    return f"then waited {words.duration(wait.gil_wait_ns)} for the GIL" if wait.gil_wait_ns > GIL_WAIT_TOLD_NS else ""


def _ended(trace: Trace, wait: Wait) -> str:
    """Who ended: the process when its main thread did and another process waited for it."""
    assert wait.cause is not None
    key = wait.cause.thread
    thread, process = trace.threads.get(key), trace.processes.get(key[0])
    if thread is not None and thread.is_main and process is not None and key[0] != wait.thread[0]:
        return words.process_label(process)
    return words.thread_name(trace, key, wait.thread)


def _open_ending(trace: Trace, wait: Wait) -> str:
    end = trace.processes[wait.thread[0]].end
    if end.how == "open":
        return "still waiting when the trace ended"
    return f"it never got it: {words.ending(end)}"


class LockTotals:
    """All that was counted about one lock, over threads and call sites."""

    def __init__(self, thing: Object) -> None:
        self.thing = thing
        self.holds = self.hold_ns = self.hold_max_ns = 0
        self.waits = self.wait_ns = self.wait_max_ns = 0
        self.recorded = self.failed = 0


def locks(trace: Trace) -> list[LockTotals]:
    """Every lock that was used, by time waited for it, then by time held."""
    found: dict[ObjectKey, LockTotals] = {}
    for part in trace.totals:
        thing = trace.objects.get(part.object)
        if thing is None:
            continue
        total = found.setdefault(part.object, LockTotals(thing))
        for name in ("holds", "hold_ns", "waits", "wait_ns", "recorded", "failed"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.hold_max_ns = max(total.hold_max_ns, part.hold_max_ns)
        total.wait_max_ns = max(total.wait_max_ns, part.wait_max_ns)
    return sorted(found.values(), key=lambda total: (-total.wait_ns, -total.hold_ns, total.thing.label))
