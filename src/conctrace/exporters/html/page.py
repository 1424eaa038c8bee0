"""What stands on the page, as plain data: the template only lays it out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ...model.trace import own_frames
from .. import digest, words

if TYPE_CHECKING:
    from ...model.trace import Loss, ObjectKey, Process, Stack, Thread, ThreadKey, Totals, Trace, Wait
    from ..places import Places

#: A table longer than this helps nobody who has ten minutes; the page says how many rows are left out.
ROWS = 100
WAITS = 12
PARTS_OF_A_LOCK = 8
FRAMES = 3
ERRORS = 20


@dataclass
class WaitRow:
    """One of the longest waits."""

    length: str
    #: of the longest one's length, 0 to 100
    share: float
    label: str
    who: str
    where: str
    holder: str
    ending: str


@dataclass
class ProcessRow:
    """One process of the tree."""

    depth: int
    name: str
    pid: int
    origin: str
    started: str
    lasted: str
    ending: str
    #: ``good``, ``bad`` or ``open``
    tone: str
    doing: tuple[str, ...]
    threads: int


@dataclass
class ThreadRow:
    """One thread."""

    name: str
    process: str
    started: str
    lasted: str
    waited: str
    share: str
    begun: str
    error: str


@dataclass
class LockPart:
    """A lock's totals for one thread and call site."""

    thread: str
    where: str
    waits: str
    waited: str
    longest_wait: str
    holds: str
    held: str
    longest_hold: str
    failed: str


@dataclass
class LockRow:
    """A lock's totals, exact, and by whom and where."""

    title: str
    made: str
    total: LockPart
    parts: list[LockPart] = field(default_factory=list)
    left_out: int = 0


@dataclass
class ErrorRow:
    """An exception that ended a thread, or the start of a program."""

    who: str
    text: str
    stack: list[str]


@dataclass
class Page:
    """All of it."""

    name: str
    #: (what, value) in the page's head
    facts: list[tuple[str, str]]
    verdict: str
    tone: str
    counts: str
    complete: bool
    waits: list[WaitRow]
    wait_count: int
    processes: list[ProcessRow]
    process_count: int
    threads: list[ThreadRow]
    thread_count: int
    locks: list[LockRow]
    lock_count: int
    errors: list[ErrorRow]
    #: heading → what it says
    losses: list[tuple[str, list[Loss]]]
    left_out: list[str]
    included: list[str]


LOSS_HEADINGS = (
    ("lost", "Lost"),
    ("summarised", "In the totals only"),
    ("unseen", "Not seen"),
    ("changed", "Changed by tracing"),
)

#: What `--include` can bring back, in words.
INCLUDE_WORDS = {
    "args": "the command’s arguments",
    "values": "values",
    "env": "environment",
    "host": "host name and home folder",
}

ORIGIN_WORDS = {
    "main": "the program itself",
    "fork": "os.fork",
    "Process": "multiprocessing",
    "program": "another Python program",
    "other": "another program",
    "unrecorded": "a Python that was not recorded",
}


def page(trace: Trace, places: Places, include: frozenset[str]) -> Page:
    """The page's data."""
    return _Maker(trace, places, include).page()


class _Maker:
    def __init__(self, trace: Trace, places: Places, include: frozenset[str]) -> None:
        self.trace = trace
        self.places = places
        self.include = include
        self.all_processes = digest.shown_processes(trace)
        self.all_threads = digest.shown_threads(trace)

    def page(self) -> Page:
        facts, locks = self.trace.facts, digest.locks(self.trace)
        counts = [
            words.many(len(self.all_processes), "process", "processes"),
            words.many(len(self.all_threads), "thread"),
            words.many(len(self.trace.waits), "wait"),
        ]
        return Page(
            name=words.short_command(facts.command) or "a program",
            facts=self.facts(),
            verdict=words.run_status(facts.status, facts.inside),
            tone="good" if facts.status == 0 else "bad" if facts.status is not None else "open",
            counts=", ".join(counts),
            complete=facts.complete,
            waits=self.waits(),
            wait_count=len(self.trace.waits),
            processes=[self.process(depth, process) for depth, process in list(digest.tree(self.trace))[:ROWS]],
            process_count=len(self.all_processes),
            threads=self.threads(),
            thread_count=len(self.all_threads),
            locks=self.locks(locks[:ROWS]),
            lock_count=len(locks),
            errors=self.errors(),
            losses=self.losses(),
            left_out=[phrase for name, phrase in INCLUDE_WORDS.items() if name not in self.include],
            included=[phrase for name, phrase in INCLUDE_WORDS.items() if name in self.include],
        )

    # The head --------------------------------------------------------------------------------------------

    def facts(self) -> list[tuple[str, str]]:
        facts = self.trace.facts
        missing = " (the native one is not built)" if facts.native_missing else ""
        found = [
            ("Command", self.command()),
            ("Started", _wall(facts.started_wall_ns)),
            ("Duration", words.duration(max(0, facts.end - facts.start))),
            ("Python", facts.python),
            ("System", facts.platform),
            ("Recorded by", f"conctrace {facts.conctrace}, {facts.recorder} recorder{missing}"),
        ]
        if self.trace.functions.asked:
            found.append(("Function calls", f"{self.trace.functions.total:,}, drawn in the Chrome trace (.json) only"))
        if "host" in self.include:
            found += [("Host", facts.host), ("Folder", facts.cwd)]
        return [(what, value) for what, value in found if value]

    def command(self) -> str:
        command = self.trace.facts.command
        if "args" in self.include:
            return " ".join(command)
        more = len(command) - 1
        name = words.short_command(command)
        return f"{name} … ({words.many(more, 'argument')} left out)" if more > 0 else name

    # Waits -----------------------------------------------------------------------------------------------

    def waits(self) -> list[WaitRow]:
        waits = digest.longest_waits(self.trace, WAITS)
        longest = max((digest.wait_length(self.trace, wait) for wait in waits), default=0) or 1
        return [self.wait(wait, longest) for wait in waits]

    def wait(self, wait: Wait, longest: int) -> WaitRow:
        length = digest.wait_length(self.trace, wait)
        return WaitRow(
            length=words.duration(length),
            share=round(100 * length / longest, 1),
            label=wait.label,
            who=self.thread_name(wait.thread),
            where=self.stack(wait.stack),
            holder=digest.wait_holder(self.trace, wait, self.places),
            ending="; ".join(
                filter(None, (digest.wait_ending(self.trace, wait, self.places), digest.wait_for_gil(wait)))
            ),
        )

    def stack(self, stack: Stack) -> str:
        return " ← ".join(self.places.site(site) for site in own_frames(stack)[:FRAMES])

    def thread_name(self, key: ThreadKey) -> str:
        return digest.who(self.trace, key)

    # Tables ----------------------------------------------------------------------------------------------

    def process(self, depth: int, process: Process) -> ProcessRow:
        origin = ORIGIN_WORDS.get(process.origin, process.origin)
        return ProcessRow(
            depth=depth,
            name=process.name,
            pid=process.pid,
            origin=f"{origin}: {process.target}" if process.target else origin,
            started=self.since_start(process.start),
            lasted=words.duration(digest.end_of_process(self.trace, process) - process.start),
            ending=words.ending(process.end),
            tone=_tone(process),
            doing=process.end.doing,
            threads=sum(1 for thread in self.all_threads if thread.key[0] == process.key),
        )

    def threads(self) -> list[ThreadRow]:
        waited = self.waited()
        return [self.thread(thread, waited[thread.key]) for thread in self.all_threads[:ROWS]]

    def waited(self) -> defaultdict[ThreadKey, int]:
        """Time in which each thread waited; a wait inside another one counts once."""
        found: defaultdict[ThreadKey, int] = defaultdict(int)
        until: dict[ThreadKey, int] = {}
        for wait in self.trace.waits:
            start, end = max(wait.start, until.get(wait.thread, 0)), digest.wait_end(self.trace, wait)
            if end > start:
                found[wait.thread] += end - start
                until[wait.thread] = end
        return found

    def thread(self, thread: Thread, waited: int) -> ThreadRow:
        lasted = digest.end_of_thread(self.trace, thread.key) - thread.start
        process = self.trace.processes[thread.key[0]]
        return ThreadRow(
            name=thread.name,
            process=words.process_label(process),
            started=self.since_start(thread.start),
            lasted=words.duration(lasted),
            waited=words.duration(waited) if waited else "–",
            share=f"{100 * waited / lasted:.0f} %" if waited and lasted > 0 else "",
            begun=self.begun(thread),
            error=thread.error or "",
        )

    def begun(self, thread: Thread) -> str:
        if thread.is_main or thread.started_by is None:
            return ""
        who = words.thread_name(self.trace, thread.started_by, thread.key)
        return f"{who} at {self.places.site(thread.start_site)}" if thread.start_site else who

    def locks(self, totals: list[digest.LockTotals]) -> list[LockRow]:
        parts: defaultdict[ObjectKey, list[Totals]] = defaultdict(list)
        for part in self.trace.totals:
            parts[part.object].append(part)
        return [self.lock(total, parts[total.thing.key]) for total in totals]

    def lock(self, total: digest.LockTotals, parts: list[Totals]) -> LockRow:
        parts = sorted(parts, key=lambda part: (-part.wait_ns, -part.hold_ns))
        return LockRow(
            title=words.object_title(total.thing),
            made=self.places.line(total.thing.site),
            total=_lock_part(total, "", ""),
            parts=[
                _lock_part(part, self.thread_name(part.thread), self.places.site(part.site))
                for part in parts[:PARTS_OF_A_LOCK]
            ],
            left_out=max(0, len(parts) - PARTS_OF_A_LOCK),
        )

    def errors(self) -> list[ErrorRow]:
        threads = [
            self.error(thread.key, thread.error, thread.error_stack) for thread in self.all_threads if thread.error
        ]
        programs = [
            self.error(span.thread, f"{span.name}: {span.args['error']}", span.stack)
            for span in self.trace.spans
            if span.category == "process" and "error" in span.args
        ]
        return (threads + programs)[:ERRORS]

    def error(self, key: ThreadKey, text: str, stack: Stack) -> ErrorRow:
        return ErrorRow(self.thread_name(key), text, [self.places.site(site) for site in own_frames(stack)])

    def losses(self) -> list[tuple[str, list[Loss]]]:
        grouped = [
            (heading, [loss for loss in self.trace.losses if loss.severity == severity])
            for severity, heading in LOSS_HEADINGS
        ]
        return [(heading, losses) for heading, losses in grouped if losses]

    def since_start(self, time: int) -> str:
        since = time - self.trace.facts.start
        return f"+{words.duration(since)}" if since > 0 else "0"


def _lock_part(counts: digest.LockTotals | Totals, thread: str, where: str) -> LockPart:
    return LockPart(
        thread=thread,
        where=where,
        waits=_count(counts.waits),
        waited=_time(counts.wait_ns),
        longest_wait=_time(counts.wait_max_ns),
        holds=_count(counts.holds),
        held=_time(counts.hold_ns),
        longest_hold=_time(counts.hold_max_ns),
        failed=_count(counts.failed),
    )


def _count(count: int) -> str:
    return f"{count:,}" if count else "–"


def _time(ns: int) -> str:
    return words.duration(ns) if ns else "–"


def _tone(process: Process) -> str:
    if process.end.how == "open":
        return "open"
    bad = process.end.how == "killed" or (process.end.how == "exited" and process.end.status != 0)
    return "bad" if bad else "good"


def _wall(ns: int) -> str:
    try:
        return datetime.fromtimestamp(ns // 1_000_000_000, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return ""
