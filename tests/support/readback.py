"""Traces of real programs read back, beside what the programs themselves say that they did.

`record` runs a program under conctrace and gives a `Recorded`: the `Trace`, which must have passed `model.validate`
(every trace that a test reads comes through `read_trace`), Perfetto's view of the JSON, and the program's own log.

A program gets a module `truth` for that log, which lies in its folder. It writes one line a fact at once, by ``os.write``,
so that nothing is lost when a process is killed, and no lock is used that conctrace could see:

    with told("Thread.join worker", outcome="acquired"):
        worker.join()
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conctrace.model.builder import build
from conctrace.model.validate import problems
from conctrace.tracefile.reader import read
from tests.support.perfetto import TraceProcessor

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from conctrace.model.trace import Trace
    from tests.support.perfetto import Row
    from tests.support.run import Result, Runner

TRUTH_MODULE = '''
"""What this program does, by its own clock; one JSON line a fact in the file "truth"."""

import contextlib
import json
import os
import threading
import time

now = time.monotonic_ns
_file = os.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "truth"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def log(what, before, after, thread=None, **facts):
    """`what` began at or after `before` and ended at or before `after`, in this thread."""
    fact = {"what": what, "pid": os.getpid(), "before": before, "after": after, "facts": facts}
    fact["thread"] = threading.current_thread().name if thread is None else thread
    os.write(_file, json.dumps(fact).encode() + b"\\n")


@contextlib.contextmanager
def told(what, thread=None, **facts):
    """Logs the block with its stamps."""
    before = now()
    try:
        yield facts
    finally:
        log(what, before, now(), thread, **facts)


def say(what, thread):
    """Logs a moment."""
    log(what, now(), now(), thread)


def until_blocked(thread):
    """Returns when the thread, which was just started, has gone to sleep in the kernel and stays there.

    While this thread sleeps, the GIL is free; so what the other waits for is what the program made it wait for.
    """
    still = 0
    while still < 5:
        time.sleep(0.001)
        with open(f"/proc/self/task/{thread.native_id}/stat", "rb") as file:
            still = still + 1 if file.read().rpartition(b")")[2].split()[0] == b"S" else 0
'''


@dataclass(frozen=True)
class Fact:
    """One line of a program's log."""

    what: str
    pid: int
    thread: str
    before: int
    after: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A slice as Perfetto has it; times are those of the program's clock."""

    id: int
    name: str
    category: str
    start: int
    end: int
    pid: int
    process: str
    thread: str
    args: dict[str, str]

    @property
    def where(self) -> tuple[int, str, str]:
        """What tells it from others: process, thread, name."""
        return self.pid, self.thread, self.name


@dataclass(frozen=True)
class Flow:
    """An arrow between two slices.

    Perfetto lets every arrow leave the slice that began first. Where that would be the wait that it ends, the exporter
    puts a tiny slice (``woken by …``) at the end of the wait for the arrow to reach; `target` is the wait even so.
    """

    name: str
    source: Drawn
    target: Drawn


class Perfetto:
    """One exported trace, loaded by Perfetto's own engine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with open(path, encoding="utf-8") as file:
            self.origin: int = json.load(file)["otherData"]["origin_ns"]
        self._engine = TraceProcessor(path)
        self.query = self._engine.query
        assert self._engine.stats_problems() == []

    @functools.cached_property
    def slices(self) -> list[Drawn]:
        """The slices of all threads, instants among them."""
        return [
            self._drawn(row) for row in self.query(
                "select s.id, s.name, s.category, s.ts, s.dur, s.arg_set_id, p.pid, p.name process, t.name thread "
                "from slice s join thread_track on s.track_id = thread_track.id join thread t using (utid) "
                "join process p using (upid) where upid > 0 order by s.ts, s.id"
            )
        ]  # fmt: skip

    @functools.cached_property
    def holds(self) -> list[Drawn]:
        """The holds; `thread` is the name of their track."""
        return [
            self._drawn(row) for row in self.query(
                "select s.id, s.name, s.category, s.ts, s.dur, s.arg_set_id, p.pid, p.name process, t.name thread "
                "from slice s join process_track t on s.track_id = t.id join process p using (upid) "
                "where s.category = 'hold' and s.depth = 1 order by s.ts, s.id"
            )
        ]  # fmt: skip

    @functools.cached_property
    def flows(self) -> list[Flow]:
        """The arrows, each between the slices that Perfetto binds it to."""
        by_id = {drawn.id: drawn for drawn in self.slices}
        parents = {_int(row["id"]): row["parent_id"] for row in self.query("select id, parent_id from slice")}
        rows = self.query("select slice_out, slice_in, extract_arg(arg_set_id, 'name') name from flow order by id")
        found = []
        for row in rows:
            target = by_id[_int(row["slice_in"])]
            if target.category == "flow":
                assert target.end - target.start == 1
                target = by_id[_int(parents[target.id])]
            found.append(Flow(str(row["name"]), by_id[_int(row["slice_out"])], target))
        return found

    @property
    def processes(self) -> dict[int, str]:
        """Names by pid."""
        rows = self.query("select pid, name from process where upid > 0")
        return {_int(row["pid"]): str(row["name"]) for row in rows}

    @property
    def threads(self) -> list[tuple[int, str]]:
        """(pid, name) of every thread, sorted."""
        rows = self.query("select pid, t.name from thread t join process using (upid) where upid > 0")
        return sorted((_int(row["pid"]), str(row["name"])) for row in rows)

    def of(self, category: str) -> list[Drawn]:
        """The slices of one category."""
        return [drawn for drawn in self.slices if drawn.category == category]

    @functools.cached_property
    def _args(self) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = defaultdict(dict)
        for row in self.query("select arg_set_id, key, display_value from args"):
            found[_int(row["arg_set_id"])][str(row["key"]).removeprefix("args.")] = str(row["display_value"])
        return found

    def _drawn(self, row: Row) -> Drawn:
        start = self.origin + _int(row["ts"])
        args = self._args.get(_int(row["arg_set_id"]), {}) if row["arg_set_id"] is not None else {}
        return Drawn(
            _int(row["id"]), str(row["name"]), str(row["category"]), start, start + _int(row["dur"]),
            _int(row["pid"]), str(row["process"]), str(row["thread"]), args,
        )  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """One recorded run."""

    result: Result
    runner: Runner
    name: str

    @functools.cached_property
    def trace(self) -> Trace:
        """What the trace file says."""
        return read_trace(self.runner.folder / f"{self.name}.ctrace")

    @functools.cached_property
    def perfetto(self) -> Perfetto:
        """What Perfetto makes of the JSON; it has nothing against it."""
        return Perfetto(self.runner.folder / f"{self.name}.json")

    @property
    def truth(self) -> list[Fact]:
        """What the program says that it did, in the order in which it said it."""
        return read_truth(self.runner)


def record(
    runner: Runner, program: str, *arguments: str, name: str = "t", json: bool = True, options: Sequence[str] = ()
) -> Recorded:
    """Runs the program's source under conctrace; the outputs are called `name`."""
    (runner.folder / "program.py").write_text(program)
    (runner.folder / "truth.py").write_text(TRUTH_MODULE)
    (runner.folder / "truth").unlink(missing_ok=True)
    outputs = ["-o", f"{name}.ctrace", *(["-o", f"{name}.json"] if json else [])]
    return Recorded(runner.traced("program.py", *arguments, options=[*outputs, *options]), runner, name)


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """The trace in a file, which must be free of contradictions."""
    trace = build(read(str(path)))
    assert problems(trace) == []
    return trace


def read_truth(runner: Runner) -> list[Fact]:
    """The log of the program that ran last in the runner's folder."""
    with open(runner.folder / "truth", encoding="utf-8") as file:
        return [Fact(**json.loads(line)) for line in file]


def differences(told: Iterable[Fact], drawn: Iterable[Drawn]) -> list[str]:
    """How slices differ from what the program told: by process, thread and name, in number, by their times."""
    expected: dict[tuple[int, str, str], list[Fact]] = defaultdict(list)
    for fact in sorted(told, key=lambda fact: fact.before):
        expected[fact.pid, fact.thread, fact.what].append(fact)
    found: dict[tuple[int, str, str], list[Drawn]] = defaultdict(list)
    for piece in sorted(drawn, key=lambda piece: piece.start):
        found[piece.where].append(piece)
    wrong = []
    for where in sorted(expected.keys() | found.keys()):
        facts, pieces = expected[where], found[where]
        if len(facts) != len(pieces):
            wrong.append(f"{where}: told {len(facts)} times, drawn {len(pieces)} times")
        for fact, piece in zip(facts, pieces, strict=False):
            wrong += [f"{where}: {problem}" for problem in _mismatch(fact, piece)]
    return wrong


def _mismatch(fact: Fact, piece: Drawn) -> Iterable[str]:
    if piece.start < fact.before or piece.end > fact.after:
        yield f"{piece.start} to {piece.end} is not within {fact.before} to {fact.after}"
    for key, value in fact.facts.items():
        if piece.args.get(key, "") != value:
            yield f"{key} is {piece.args.get(key)!r}, told {value!r}"


def _int(cell: object) -> int:
    assert isinstance(cell, int)
    return cell
