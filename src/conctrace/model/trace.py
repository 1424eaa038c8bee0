"""The `Trace`: what happened, as plain frozen data.

Everything that explains a run (exporters, the summary, later the findings) reads this and nothing below it.
All times are CLOCK_MONOTONIC in integer nanoseconds on one host; ``None`` for an end means "still open when the
trace ended". Lists are sorted by time.

Named tuples, not dataclasses: who runs an empty script waits for these classes to be made, 17 ms less.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..events.ids import Nanoseconds, Nonce, Number, ThreadIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_ARGS: Mapping[str, str] = MappingProxyType({})

ProcessKey: TypeAlias = Nonce
ThreadKey: TypeAlias = tuple[ProcessKey, ThreadIndex]
ObjectKey: TypeAlias = tuple[ProcessKey, Number]


class Site(NamedTuple):
    """A place in the source."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


#: Innermost first; empty when not known.
Stack: TypeAlias = tuple[Site, ...]

_STDLIB = re.compile(r"/lib/python3\.\d+t?/(?!site-packages/|dist-packages/)")


def own_frames(stack: Stack) -> Stack:
    """The frames of the program and its packages; if there are none, all."""
    own = tuple(site for site in stack if not _STDLIB.search(site.file) and not site.file.startswith("<frozen "))
    return own or stack


class End(NamedTuple):
    """How a process ended.

    `how` is one of ``exited`` (status known), ``killed`` (by `signal`), ``ended`` (gone, status not seen),
    ``replaced`` (by exec), ``left`` (it left the block of `conctrace.trace` and went on untraced), ``open`` (still
    running when the trace ended).
    """

    how: str
    time: Nanoseconds | None
    status: int | None = None
    signal: int | None = None
    #: name of the process that sent the signal, where one is known to have
    by: str | None = None
    #: what its threads were doing at that moment, one sentence each
    doing: tuple[str, ...] = ()


class Process(NamedTuple):
    """One process image, or a program that recorded nothing and was seen from outside."""

    key: ProcessKey
    pid: int
    name: str
    #: how it came to be: ``main``, ``fork``, ``Process`` (multiprocessing), ``program`` (another Python program),
    #: ``other`` (a program that is no Python), ``unrecorded`` (a Python that recorded nothing)
    origin: str
    start: Nanoseconds
    end: End
    parent: ProcessKey | None
    #: ppid as the process itself saw it when it was born
    parent_pid: int
    command: tuple[str, ...]
    #: the standard library's own helper (forkserver): hidden unless asked for
    hidden: bool
    daemon: bool
    #: qualified name of the target of a multiprocessing.Process
    target: str
    recorder: str
    python: str
    #: counters of its live page, by name (`events.layout.LIVE_COUNTERS`)
    counters: dict[str, int]
    off_reason: str = ""


class Thread(NamedTuple):
    """One thread of an image."""

    key: ThreadKey
    name: str
    native_id: int
    daemon: bool
    start: Nanoseconds
    end: Nanoseconds | None
    is_main: bool
    #: qualified name of what it runs, or ""
    target: str
    #: False when it ran before it was first seen
    from_start: bool = True
    #: the thread that started it, and from where
    started_by: ThreadKey | None = None
    start_site: Site | None = None
    #: "TypeError: …" when an exception ended it
    error: str | None = None
    error_stack: Stack = ()


class Object(NamedTuple):
    """A thing that is waited for: Lock, RLock, Thread, Process, Popen."""

    key: ObjectKey
    kind: str
    #: from the source (``lock``, ``self._lock``) or the program; "" when there is none
    name: str
    site: Site | None

    @property
    def label(self) -> str:
        """How to call it in one word: its name, else its kind and where it was made."""
        if self.name:
            return self.name
        return (
            f"{self.kind}@{self.site.file.rpartition('/')[2]}:{self.site.line}"
            if self.site
            else f"{self.kind}#{self.key[1]}"
        )


class Cause(NamedTuple):
    """What ended a wait: this thread, at this moment, from there."""

    #: ``release`` or ``end``
    kind: str
    thread: ThreadKey
    time: Nanoseconds
    site: Site | None


class Wait(NamedTuple):
    """A stretch in which a thread waited (or could have) for something."""

    thread: ThreadKey
    start: Nanoseconds
    #: when it got what it waited for; None: it never did
    end: Nanoseconds | None
    #: ``Lock.acquire lock``, ``Process.join worker-1``
    label: str
    #: ``lock``, ``thread``, ``process``, ``child``, ``program``
    category: str
    object: ObjectKey | None
    #: acquired, timeout, error, killed, or "" while open
    outcome: str
    stack: Stack
    cause: Cause | None = None
    #: who held it when the wait began, and where that thread had acquired it
    holder: ThreadKey | None = None
    holder_site: Site | None = None
    #: from getting a lock until Python ran on, which is: until the thread had the GIL; 0: not measured
    gil_wait_ns: Nanoseconds = 0
    cpu_ns: int | None = None
    runq_ns: int | None = None
    core: int | None = None
    #: True when it began before the part of the run that is shown
    clipped: bool = False
    #: of a program: its command, bytes to it and from it
    args: Mapping[str, str] = NO_ARGS


class Hold(NamedTuple):
    """A lock was held by one thread."""

    object: ObjectKey
    thread: ThreadKey
    start: Nanoseconds
    #: None: never released (its holder ended or the trace did)
    end: Nanoseconds | None
    site: Site | None
    release_site: Site | None = None
    #: who released it, where that is not the holder
    released_by: ThreadKey | None = None
    contended: bool = False
    core: int | None = None
    #: True when it began before the part of the run that is shown
    clipped: bool = False


class Span(NamedTuple):
    """A stretch of a thread that has a name: the program's own, or a call that starts something."""

    thread: ThreadKey
    start: Nanoseconds
    #: None: never left (its process ended or the trace did)
    end: Nanoseconds | None
    name: str
    #: ``span`` for the program's own, ``process`` for fork and start calls, ``thread`` for Thread.start
    category: str
    args: Mapping[str, str] = NO_ARGS
    object: ObjectKey | None = None
    stack: Stack = ()
    core: int | None = None
    #: error, cancelled, or ""
    outcome: str = ""
    #: True when it began before the part of the run that is shown
    clipped: bool = False
    #: "" when it nests with the rest of its thread. Else it is drawn apart: ``life`` (of a coroutine or generator,
    #: whose steps nest), ``crossing`` (a span in a coroutine that was suspended inside it)
    apart: str = ""


class Instant(NamedTuple):
    """A moment of a thread that has a name: ``exit 0``, ``killed by SIGKILL``, ``ValueError: …``."""

    thread: ThreadKey
    time: Nanoseconds
    name: str
    #: ``process``, ``thread`` or ``span`` (the program's own)
    category: str
    args: Mapping[str, str] = NO_ARGS
    stack: Stack = ()


class Counter(NamedTuple):
    """A value the program named, at one moment."""

    process: ProcessKey
    time: Nanoseconds
    name: str
    value: float


class Arrow(NamedTuple):
    """Cause to effect; `source_time` ≤ `target_time`, each inside a slice of its thread."""

    #: ``fork``, ``start``, ``end``, ``release``
    name: str
    source: ThreadKey
    source_time: Nanoseconds
    target: ThreadKey
    target_time: Nanoseconds


class LaneCalls(NamedTuple):
    """Calls of functions of one thread, as columns: there may be a million. By start; of two that start together the outer first."""

    start: Sequence[Nanoseconds]
    end: Sequence[Nanoseconds]
    #: places in `Functions.functions`
    function: Sequence[int]
    #: how far these times may be from all others of the trace
    error_ns: Nanoseconds


class Functions(NamedTuple):
    """What viztracer recorded, where it was asked for."""

    asked: bool = False
    functions: Sequence[Site] = ()
    calls: Mapping[ThreadKey, LaneCalls] = MappingProxyType({})

    @property
    def total(self) -> int:
        """Calls in all threads."""
        return sum(len(lane.start) for lane in self.calls.values())


class Totals(NamedTuple):
    """Exact totals of one lock, one thread, one call site; recorded or not."""

    object: ObjectKey
    thread: ThreadKey
    site: Site | None
    holds: int
    hold_ns: Nanoseconds
    hold_max_ns: Nanoseconds
    waits: int
    wait_ns: Nanoseconds
    wait_max_ns: Nanoseconds
    #: holds of these that have a record of their own
    recorded: int
    #: tries that gave up: acquire(False), time-outs
    failed: int


class Range(NamedTuple):
    """A part of the run that files of its own were asked for: a block of `conctrace.trace` inside of a trace."""

    thread: ThreadKey
    start: Nanoseconds
    #: None: never left
    end: Nanoseconds | None
    name: str
    #: absolute paths
    files: tuple[str, ...]
    #: what its report may tell beyond the usual (`exporters.INCLUDES`)
    include: tuple[str, ...] = ()


class Loss(NamedTuple):
    """Something the trace does not show: how much, and a sentence about it."""

    #: stable word: ``dropped``, ``summarised``, ``holes``, ``switched-off``, ``open``, ``not-seen``, ``cut``, …
    slug: str
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants of a Loss
    sentence: str
    #: ``lost`` (recorded data is missing), ``summarised`` (in the totals only), ``unseen`` (never observed),
    #: ``changed`` (tracing itself had a part in it)
    severity: str = "lost"


class Facts(NamedTuple):
    """What the whole run was."""

    command: tuple[str, ...]
    cwd: str
    #: as conctrace was called, for the page's head
    host: str
    started_wall_ns: int
    #: the trace's first and last moment
    start: Nanoseconds
    end: Nanoseconds
    #: exit status of the main process: 0 to 255, or minus the signal's number; None: not known
    status: int | None
    conctrace: str
    schema: int
    recorder: str
    python: str
    platform: str
    #: False when the collector died or the file is cut
    complete: bool
    #: True when the Python recorder ran and nobody had asked for it: there is no native one
    native_missing: bool = False
    #: True when the program traced itself
    inside: bool = False
    #: name of the range that this trace was cut to, or ""
    part: str = ""


class Trace(NamedTuple):
    """One run."""

    facts: Facts
    processes: dict[ProcessKey, Process]
    threads: dict[ThreadKey, Thread]
    objects: dict[ObjectKey, Object]
    waits: list[Wait]
    holds: list[Hold]
    spans: list[Span]
    instants: list[Instant]
    counters: list[Counter]
    arrows: list[Arrow]
    totals: list[Totals]
    losses: list[Loss]
    ranges: tuple[Range, ...] = ()
    functions: Functions = Functions()
