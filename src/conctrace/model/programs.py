"""Programs that traced processes started: which of them is a traced Python itself, and how long the others lived.

A program that recorded nothing is a process with one lane all the same. What is told of it was seen by others: its start by
its parent; its end, whichever was first, by who reaped it or by the collector's pidfd; its status by who reaped it.
"""

from __future__ import annotations

import shlex
from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING

from ..events import kinds
from .commands import is_python
from .trace import Arrow, End, Instant, Process, ProcessKey, Span, Thread, ThreadKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..tracefile.reader import RawTrace
    from .images import Family, Image
    from .rows import Row

#: Keys of processes that have no nonce of their own: above all nonces.
_FIRST_KEY = 1 << 64
_FOREVER = 1 << 63


class Program:
    """One start of a program that gave it a pid."""

    def __init__(self, number: int, starter: Image, row: Row, until: int) -> None:
        self._own_key = _FIRST_KEY + number
        self.starter = starter
        self.row = row
        self.pid = row.value
        fields = starter.define.fields(kinds.OBJECT, row.object)
        self.name = fields[1] if fields else "program"
        self.command = fields[3] if fields else ""
        #: from here on its pid may be another's
        self.until = until
        self.status: int | None = None
        #: moments by which it was over
        self.over_by: list[int] = []
        #: whether the collector watched it
        self.watched = False
        #: the image that it is, where it is a Python that recorded itself
        self.image: Image | None = None
        #: the child as it was before it became the program: it ran a ``preexec_fn``
        self.before: Image | None = None
        #: when the first of its own children began
        self.first_child = _FOREVER

    @property
    def key(self) -> ProcessKey:
        """Of the process that stands for it."""
        known = self.image or self.before
        return known.key if known is not None else self._own_key

    @property
    def is_seen_from_outside(self) -> bool:
        """Whether no image stands for it."""
        return self.image is None and self.before is None

    @property
    def is_python(self) -> bool:
        """Whether it is a Python, by its name."""
        return is_python(self.name)

    @property
    def arguments(self) -> list[str]:
        """The words of its command after the first, as far as they can be told apart."""
        try:
            return shlex.split(self.command)[1:]
        except ValueError:  # cut in the middle of a quoted word
            return self.command.split()[1:]

    @property
    def start(self) -> int:
        """When it was there: its parent knew, or others saw it."""
        return max(self.row.time, min(self.row.end, self.first_child, *self.over_by, _FOREVER))

    def end(self, killer: str | None) -> End:
        """How it ended, as far as anybody saw it."""
        if self.status is None and not self.over_by:
            return End("open", None)
        time = max(self.start, min(self.over_by))
        if self.status is None:
            return End("ended", time)
        if self.status < 0:
            return End("killed", time, signal=-self.status, by=killer)
        return End("exited", time, status=self.status)


class Programs:
    """All of them, found by pid and time, by the Popen, and by the image that they are."""

    def __init__(self, raw: RawTrace, family: Family) -> None:
        self._family = family
        self.all: list[Program] = []
        self._by_pid: dict[int, list[Program]] = defaultdict(list)
        self._by_object: dict[tuple[ProcessKey, int], Program] = {}
        self._find(family)
        self._find_ends(raw, family)
        self._find_images(family)
        self.by_image = {
            image.key: program for program in self.all for image in (program.before, program.image) if image
        }
        for image in family.in_order:
            parent = self.at(int(image.data.facts["ppid"]), image.born)
            if parent is not None:
                parent.first_child = min(parent.first_child, image.born)

    def _find(self, family: Family) -> None:
        starts = sorted(
            ((image, row) for image in family.in_order for row in image.of(kinds.PROGRAM_START)),
            key=lambda start: start[1].time,
        )
        next_of_pid: dict[int, int] = {}
        for number, (image, row) in reversed(list(enumerate(starts))):
            program = Program(number, image, row, next_of_pid.get(row.value, _FOREVER))
            next_of_pid[row.value] = row.time
            if not is_failed(image, row):
                self.all.append(program)
        self.all.reverse()
        for program in self.all:
            self._by_pid[program.pid].append(program)
            self._by_object[program.starter.key, program.row.object] = program

    def _find_ends(self, raw: RawTrace, family: Family) -> None:
        statuses: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for watcher in family.in_order:
            for row in watcher.of(kinds.CHILD_STATUS):
                statuses[row.other].append((row.time, row.value))
        for known in statuses.values():
            known.sort()
        for program in self.all:
            known = statuses[program.pid]
            at = bisect_left(known, (program.row.time, -_FOREVER))
            if at < len(known) and known[at][0] <= program.until:
                program.until, program.status = known[at]
                program.over_by.append(program.until)
        for nonce, pid, began, died in raw.programs:
            found = next(
                (each for each in self._by_pid[pid] if (each.starter.key, each.row.time) == (nonce, began)), None
            )
            if found is not None:
                found.watched = True
                if died is not None:
                    found.over_by.append(died)

    def _find_images(self, family: Family) -> None:
        for image in family.in_order:
            program = self._covering(image.pid, image.born)
            if program is None:
                continue
            if image.data.facts["parent_nonce"] == program.starter.key:
                program.before = image
            elif program.image is None and image.data.facts["parent_nonce"] not in family.images:
                program.image = image

    def _covering(self, pid: int, time: int) -> Program | None:
        """The program that had this pid at that time."""
        began = [each for each in self._by_pid.get(pid, ()) if each.row.time <= time <= each.until]
        return began[-1] if began else None

    def at(self, pid: int, time: int) -> Program | None:
        """The same, of those that are only seen from outside."""
        program = self._covering(pid, time)
        return program if program is not None and program.is_seen_from_outside else None

    def who(self, pid: int, time: int) -> ProcessKey | None:
        """The process, of either sort, that had this pid at that time."""
        return self._later(self._family.at(pid, time), self.at(pid, time))

    def last(self, pid: int, time: int) -> ProcessKey | None:
        """The same of one that may be over by then: who was waited for until then."""
        began = [each for each in self._by_pid.get(pid, ()) if each.row.time <= time and each.is_seen_from_outside]
        return self._later(self._family.at(pid, time), began[-1] if began else None)

    @staticmethod
    def _later(image: Image | None, program: Program | None) -> ProcessKey | None:
        if program is not None and (image is None or image.born < program.row.time):
            return program.key
        return image.key if image is not None else None

    def of(self, image: Image, number: int) -> Program | None:
        """What an object of kind Popen (or a posix_spawn) stands for."""
        return self._by_object.get((image.key, number))

    @property
    def outside(self) -> list[Program]:
        """Those that are seen from outside only, by start."""
        return [program for program in self.all if program.is_seen_from_outside]


def is_failed(image: Image, start: Row) -> bool:
    """Whether a child that had been there only lived to say why it cannot become the program."""
    return any(row.object == start.object and row.value < 0 for row in image.of(kinds.PROGRAM_FAILED))


def replacement(image: Image) -> Row | None:
    """The exec by which another program took an image's place, if one did."""
    rows = image.of(kinds.PROGRAM_EXEC)
    if not rows or any(row.object == rows[-1].object for row in image.of(kinds.PROGRAM_EXEC_FAILED)):
        return None
    return rows[-1]


# Into the model --------------------------------------------------------------------------------------------


def process_of(program: Program, killer: str | None) -> Process:
    """The process that stands for a program seen from outside."""
    return Process(
        key=program.key, pid=program.pid, name=program.name, origin="unrecorded" if program.is_python else "other",
        start=program.start, end=program.end(killer), parent=program.starter.key, parent_pid=program.starter.pid,
        command=(program.command,), hidden=False, daemon=False, target="", recorder="", python="", counters={},
    )  # fmt: skip


def thread_of(process: Process) -> Thread:
    """Its lane."""
    return Thread(
        key=(process.key, 0), name=process.name, native_id=process.pid, daemon=False, start=process.start,
        end=process.end.time, is_main=True, target="",
    )  # fmt: skip


def build_spans(image: Image, process: Process) -> Iterator[Span]:
    """The calls that started programs, those that failed to, and what an image became by exec."""
    failures = {row.object: row for row in image.of(kinds.PROGRAM_FAILED)}
    for row in image.of(kinds.PROGRAM_START):
        if row.object not in failures:
            yield _call(image, row, row.end, {"pid": str(row.value)}, "")
    for row in failures.values():
        yield _call(image, row, row.end, {"error": image.define.text(row.other)}, "error")
    became = replacement(image)
    if became is not None and process.end.how != "replaced":
        end = process.end.time
        name, command = _program(image, became)[1:]
        # From then on the process's own thread is the program, whichever called exec.
        yield Span(
            (image.key, 0),
            became.time,
            end,
            name,
            "process",
            {"command": command},
            None,
            image.define.stack(became.stack),
        )


def _call(image: Image, row: Row, end: int, args: dict[str, str], outcome: str) -> Span:
    kind, name, command = _program(image, row)
    return Span(
        (image.key, row.thread), row.time, end, f"{kind} {name}", "process", {**args, "command": command},
        (image.key, row.object), image.define.stack(row.stack), outcome=outcome,
    )  # fmt: skip


def _program(image: Image, row: Row) -> tuple[str, str, str]:
    fields = image.define.fields(kinds.OBJECT, row.object)
    return (fields[0], fields[1], fields[3]) if fields else ("Popen", "program", "")


def build_instants(image: Image) -> Iterator[Instant]:
    """Programs that could not be started, with their errors; and execs."""
    for row in (*image.of(kinds.PROGRAM_FAILED), *image.of(kinds.PROGRAM_EXEC_FAILED)):
        command = _program(image, row)[2]
        text = image.define.text(row.other) or "exception"
        yield Instant(
            (image.key, row.thread), row.end, text, "process", {"command": command}, image.define.stack(row.stack)
        )
    for row in image.of(kinds.PROGRAM_EXEC):
        kind, name, command = _program(image, row)
        stack = image.define.stack(row.stack)
        yield Instant((image.key, row.thread), row.time, f"{kind} {name}", "process", {"command": command}, stack)


def build_arrows(programs: Programs, processes: Mapping[ProcessKey, Process]) -> Iterator[Arrow]:
    """From each call that started a program to its begin."""
    for program in programs.all:
        row, target = program.row, (program.key, 0)
        time = processes[program.key].start
        source: ThreadKey = (program.starter.key, row.thread)
        yield Arrow("start", source, max(row.time, min(row.end - 1, time)), target, max(row.time, time))
