"""The workloads, in one table: which program, how often, and what a trace of it must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")


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
    #: extensions of what conctrace is asked to write
    outputs: tuple[str, ...] = (".ctrace", ".json")
    #: ceiling that issue and design set for what conctrace adds, in ns: to an operation, or to the whole command
    target_ns: int | None = None

    @property
    def is_lock(self) -> bool:
        return "holds" in self.holds

    def scaled(self, scale: float) -> int:
        """The size of a run that is smaller or larger than usual."""
        return max(1, round(self.size * scale)) if self.size else 0

    def command(self, size: int) -> list[str]:
        """The program and its arguments."""
        return [os.path.join(PROGRAMS, self.program), *self.arguments, *([str(size)] if self.size else [])]

    def expected(self, size: int) -> dict[str, int]:
        """What a trace of a run of this size must hold."""
        return {name: each * size for name, each in self.holds.items()}


WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "lock", "lock.py", "{size:,} times `with lock: pass`, by one thread", "acquire or release",
        1_000_000, ("with",), {"holds": 1}, target_ns=1_500,
    ),
    Workload(
        "lock_calls", "lock.py", "{size:,} times `lock.acquire()`, `lock.release()`", "acquire or release",
        1_000_000, ("calls",), {"holds": 1}, target_ns=1_500,
    ),
    Workload(
        "rlock", "lock.py", "{size:,} times `with rlock: pass`", "acquire or release",
        1_000_000, ("rlock",), {"holds": 1}, target_ns=1_500,
    ),
    Workload(
        "lock_budget", "lock_budget.py", "the first 1,000 `with lock: pass` of each of {size:,} locks, recorded one by one",
        "acquire or release", 50, (), {"holds": 1_000, "recorded": 1_000},
    ),
    Workload(
        "contended", "contended.py", "four threads, each {size:,} times `with lock: total += sum(range(20))`",
        "acquire or release", 50_000, (), {"holds": 4},
    ),
    Workload(
        "threads", "threads.py", "{size:,} times `Thread`, `start`, `join`", "thread",
        2_000, (), {"threads": 1},
    ),
    Workload(
        "forks", "forks.py", "{size:,} times `os.fork` and `waitpid` of a child that calls `os._exit`", "child",
        500, (), {"processes": 1},
    ),
    Workload(
        "processes", "processes.py", "{size:,} times `multiprocessing.Process`, `start`, `join`, by fork", "process",
        20, (), {"processes": 1},
    ),
    Workload(
        "spans", "spans.py", "{size:,} times `with conctrace.span('step'): pass`", "span",
        100_000, (), {"spans": 1},
    ),
    Workload(
        "empty", "empty.py", "an empty script; written are a trace and JSON", "",
        holds={"processes": 0, "threads": 0}, target_ns=120_000_000,
    ),
    Workload(
        "empty_report", "empty.py", "an empty script; written is the report's page, too", "",
        holds={"processes": 0, "threads": 0}, outputs=(".ctrace", ".json", ".html"),
    ),
)  # fmt: skip


def named(names: list[str]) -> tuple[Workload, ...]:
    """The workloads of these names, all without one; KeyError for a name that is not there."""
    known = {workload.name: workload for workload in WORKLOADS}
    return tuple(known[name] for name in names) if names else WORKLOADS
