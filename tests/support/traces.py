"""Traces made by hand: the builder that unit tests tell a story to.

Times are given in microseconds from the trace's start, so that a story reads well; ``ORIGIN`` is where it starts.

    story = Story()
    main = story.process("MainProcess", 100, end=1000)
    lock = story.lock("lock", "race.py", 3)
    story.wait(main, 10, 20, "Lock.acquire lock", lock)
    trace = story.trace()
"""

from __future__ import annotations

from typing import Any

from conctrace.model.trace import (
    Arrow,
    Cause,
    Counter,
    End,
    Facts,
    Hold,
    Instant,
    Loss,
    Object,
    ObjectKey,
    Process,
    Site,
    Span,
    Stack,
    Thread,
    ThreadKey,
    Totals,
    Trace,
    Wait,
)

ORIGIN = 5_000_000_000_123


def moment(microseconds: float) -> int:
    """The moment that many microseconds after the trace's start."""
    return ORIGIN + round(microseconds * 1000)


def site(line: int, function: str = "work", file: str = "/home/ann/proj/race.py") -> Site:
    """A place in the program."""
    return Site(file, line, function)


class Story:
    """Collects what happened; `trace` gives it as a Trace."""

    def __init__(self, end: float = 1000) -> None:
        self.end = end
        self.processes: dict[int, Process] = {}
        self.threads: dict[ThreadKey, Thread] = {}
        self.objects: dict[ObjectKey, Object] = {}
        self.waits: list[Wait] = []
        self.holds: list[Hold] = []
        self.spans: list[Span] = []
        self.instants: list[Instant] = []
        self.counters: list[Counter] = []
        self.arrows: list[Arrow] = []
        self.totals: list[Totals] = []
        self.losses: list[Loss] = []

    def process(
        self, name: str, pid: int, start: float = 0, end: float | None = None, how: End | None = None, **facts: Any
    ) -> ThreadKey:
        """A process with its main thread, whose key it gives; `end` None: as long as the trace, and still open."""
        key = 0xC0FFEE0000000000 + len(self.processes)
        if how is None:
            how = End("open", None) if end is None else End("exited", moment(end), 0)
        values: dict[str, Any] = {
            "origin": "main" if not self.processes else "fork",
            "parent": None, "parent_pid": 1, "command": ("/home/ann/proj/race.py", "arg") if not self.processes else (),
            "hidden": False, "daemon": False, "target": "", "recorder": "python", "python": "3.11.7", "counters": {},
        }  # fmt: skip
        self.processes[key] = Process(key=key, pid=pid, name=name, start=moment(start), end=how, **{**values, **facts})
        return self._thread((key, 0), "MainThread", pid, start, end, is_main=True)

    def thread(
        self, process: ThreadKey, name: str, native_id: int, start: float, end: float | None, **facts: Any
    ) -> ThreadKey:
        """Another thread of the process that `process` is a thread of."""
        count = sum(1 for key in self.threads if key[0] == process[0])
        return self._thread((process[0], count), name, native_id, start, end, is_main=False, **facts)

    def _thread(
        self, key: ThreadKey, name: str, native_id: int, start: float, end: float | None, is_main: bool, **facts: Any
    ) -> ThreadKey:
        values: dict[str, Any] = {"daemon": False, "target": ""}
        self.threads[key] = Thread(
            key=key, name=name, native_id=native_id, start=moment(start), end=None if end is None else moment(end),
            is_main=is_main, **{**values, **facts},
        )  # fmt: skip
        return key

    def thing(self, owner: ThreadKey, kind: str, name: str, where: Site | None = None) -> ObjectKey:
        """An object that is waited for."""
        key = (owner[0], 1000 + len(self.objects))
        self.objects[key] = Object(key, kind, name, where)
        return key

    def wait(
        self, thread: ThreadKey, start: float, end: float | None, label: str, thing: ObjectKey | None = None,
        outcome: str = "acquired", stack: Stack = (), category: str = "lock", **facts: Any,
    ) -> Wait:  # fmt: skip
        """A wait; `end` None: it was never over."""
        wait = Wait(
            thread, moment(start), None if end is None else moment(end), label, category, thing,
            outcome if end is not None else "", stack, **facts,
        )  # fmt: skip
        self.waits.append(wait)
        return wait

    def woken(self, kind: str, thread: ThreadKey, time: float, where: Site | None = None) -> Cause:
        """What ended a wait."""
        return Cause(kind, thread, moment(time), where)

    def hold(
        self,
        thing: ObjectKey,
        thread: ThreadKey,
        start: float,
        end: float | None,
        where: Site | None = None,
        **facts: Any,
    ) -> None:
        """A lock was held."""
        self.holds.append(Hold(thing, thread, moment(start), None if end is None else moment(end), where, **facts))

    def span(
        self, thread: ThreadKey, start: float, end: float, name: str, category: str = "span", **facts: Any
    ) -> None:
        """A named stretch."""
        self.spans.append(Span(thread, moment(start), moment(end), name, category, **facts))

    def instant(self, thread: ThreadKey, time: float, name: str, category: str = "process", **facts: Any) -> None:
        """A named moment."""
        self.instants.append(Instant(thread, moment(time), name, category, **facts))

    def counter(self, thread: ThreadKey, time: float, name: str, value: float) -> None:
        """A value at a moment."""
        self.counters.append(Counter(thread[0], moment(time), name, value))

    def arrow(self, name: str, source: ThreadKey, source_time: float, target: ThreadKey, target_time: float) -> None:
        """Cause to effect."""
        self.arrows.append(Arrow(name, source, moment(source_time), target, moment(target_time)))

    def trace(self, **facts: Any) -> Trace:
        """All of it."""
        values: dict[str, Any] = {
            "command": ("race.py", "arg"), "cwd": "/home/ann/proj", "host": "box", "started_wall_ns": 1_785_000_000_000_000_000,
            "start": ORIGIN, "end": moment(self.end), "status": 0, "conctrace": "0.1.0", "schema": 1, "recorder": "python",
            "python": "3.11.7", "platform": "Linux-6.1-x86_64", "complete": True,
        }  # fmt: skip
        return Trace(
            Facts(**{**values, **facts}), self.processes, self.threads, self.objects,
            sorted(self.waits, key=lambda wait: wait.start), sorted(self.holds, key=lambda hold: hold.start),
            sorted(self.spans, key=lambda span: span.start), sorted(self.instants, key=lambda mark: mark.time),
            sorted(self.counters, key=lambda value: value.time), sorted(self.arrows, key=lambda arrow: arrow.source_time),
            self.totals, self.losses,
        )  # fmt: skip
