"""The workloads, in one table: which program, how often, what a trace of it must hold, and what it may cost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .tools import VALGRIND

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")


@dataclass(frozen=True)
class Target:
    """A ceiling for one figure of a workload."""

    #: name in `table.FIGURES`
    figure: str
    limit: float
    #: the recorder it was set for; "" for both
    recorder: str = "native"


@dataclass(frozen=True)
class Workload:
    """One program with its arguments."""

    name: str
    program: str
    #: what the program does, with {size} in it
    says: str
    #: what its loop time is divided by; "" for a program that has no loop
    operation: str
    size: int = 0
    arguments: tuple[str, ...] = ()
    #: what a trace must hold: name in `counts` → how many for each of `size`
    holds: dict[str, int] = field(default_factory=dict)
    #: … and how many besides, whatever the size
    besides: dict[str, int] = field(default_factory=dict)
    #: what a trace must hold at least: name in `counts` → how many for each of `size`
    least: dict[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    #: extensions of what conctrace is asked to write
    outputs: tuple[str, ...] = (".ctrace", ".json")
    #: instructions are counted instead of time taken, in runs of this size and of four times this size
    counted: bool = False
    #: whether viztracer can be asked the same
    compared: bool = True
    #: run only when it is asked for by name
    optional: bool = False

    @property
    def sums_holds(self) -> bool:
        """Whether all holds together fit into the program's loop."""
        return "holds" in self.holds

    def scaled(self, scale: float) -> int:
        """The size of a run that is smaller or larger than usual."""
        return max(1, round(self.size * scale)) if self.size else 0

    def command(self, size: int) -> list[str]:
        """The program and its arguments."""
        return [os.path.join(PROGRAMS, self.program), *self.arguments, *([str(size)] if self.size else [])]

    def expected(self, size: int) -> dict[str, int]:
        """What a trace of a run of this size must hold."""
        return {name: each * size + self.besides.get(name, 0) for name, each in self.holds.items()}


def _lock(name: str, way: str, says: str, limit: float, size: int = 1_000_000, *, optional: bool = False) -> Workload:
    """The same so often on one lock that the trace and the memory say whether each time leaves something."""
    targets = (
        Target("ratio", limit), Target("adds", 1_500, "python"), Target("trace", 300_000, ""), Target("grown", 1_500_000, ""),
    )  # fmt: skip
    return Workload(
        name, "lock.py", "{size:,} times " + says + ", by one thread", "acquire or release", size, (way,),
        {"holds": 1, "timed_holds": 0}, {"holds": 200, "timed_holds": 200}, targets=targets,
        compared=not optional, optional=optional,
    )  # fmt: skip


WORKLOADS: tuple[Workload, ...] = (
    _lock("lock", "with", "`with lock: pass`", 0.9),
    _lock("lock_calls", "calls", "`lock.acquire()`, `lock.release()`", 1.0),
    _lock("rlock", "rlock", "`with rlock: pass`", 1.0),
    _lock("rlock_calls", "rlock_calls", "`rlock.acquire()`, `rlock.release()`", 1.0),
    _lock("lock_billion", "with", "`with lock: pass`", 0.9, 1_000_000_000, optional=True),
    Workload(
        "lock_budget", "lock_budget.py", "the first 1,000 `with lock: pass` of each of {size:,} locks, recorded one by one",
        "acquire or release", 50, (), {"holds": 1_000, "recorded": 1_000},
    ),
    Workload(
        "contended", "contended.py", "four threads, each {size:,} times `with lock: total += sum(range(20))`",
        "acquire or release", 50_000, ("sum",), {"holds": 4},
    ),
    Workload(
        "contended_count", "contended.py", "four threads, each {size:,} times and four times that `with lock: total += 1`, every "
        "500th time with a sleep; counted are instructions", "acquire or release", 2_000, ("add",), {"holds": 4}, least={"waits": 1e-3}, targets=(Target("ratio", 1.1),),
        outputs=(".ctrace",), counted=True, compared=False,
    ),
    Workload(
        "threads", "threads.py", "{size:,} times `Thread`, `start`, `join`", "thread",
        2_000, (), {"threads": 1}, targets=(Target("ratio", 1.1),),
    ),
    Workload(
        "forks", "forks.py", "{size:,} times `os.fork` and `waitpid` of a child that calls `os._exit`", "child",
        500, (), {"processes": 1}, targets=(Target("ratio", 1.1),),
    ),
    Workload(
        "processes", "processes.py", "{size:,} times `multiprocessing.Process`, `start`, `join`, by fork", "process",
        20, (), {"processes": 1},
    ),
    Workload(
        "python", "children.py", "{size:,} times `subprocess.run` of a Python that imports threading and multiprocessing",
        "child", 40, ("import threading, multiprocessing",), {"processes": 1}, targets=(Target("adds", 8e6),),
    ),
    Workload(
        "python_pass", "children.py", "{size:,} times `subprocess.run` of a Python that imports nothing", "child",
        40, ("pass",), {"processes": 1}, targets=(Target("adds", 4e6),),
    ),
    Workload(
        "emit", "emit.py", "{size:,} records stored from Python; bare: as many calls of `operator.index`", "record",
        200_000, (), {"instants": 1}, targets=(Target("adds", 80),), outputs=(".ctrace",), compared=False,
    ),
    Workload(
        "spans", "spans.py", "{size:,} times `with conctrace.span('step'): pass`", "span",
        100_000, (), {"spans": 1},
    ),
    Workload(
        "empty", "empty.py", "an empty script; written are a trace and JSON", "",
        holds={"processes": 0, "threads": 0}, targets=(Target("command", 120e6, ""),),
    ),
    Workload(
        "empty_report", "empty.py", "an empty script; written is the report's page, too", "",
        holds={"processes": 0, "threads": 0}, outputs=(".ctrace", ".json", ".html"),
    ),
)  # fmt: skip


def named(names: list[str]) -> tuple[Workload, ...]:
    """The workloads of these names; without one all that are not optional and that can be measured here."""
    if names:
        known = {workload.name: workload for workload in WORKLOADS}
        return tuple(known[name] for name in names)
    return tuple(each for each in WORKLOADS if not each.optional and (VALGRIND or not each.counted))
