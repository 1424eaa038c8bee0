"""What the trace does not show: dropped, summarised, not seen. Counted, with a sentence each."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from ..events import kinds, layout
from .commands import read_python_command
from .trace import Loss, Object, ObjectKey, Process, ProcessKey, Totals, own_frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..tracefile.reader import RawTrace
    from .images import Family, Image
    from .programs import Program, Programs
    from .rows import Row

#: From so many holds on, the recorder's own time may show.
_OFTEN = 1_000
_COUNTERS = {"dropped", "stacks_dropped", "held_dropped", "totals_dropped"}


def build_losses(
    raw: RawTrace,
    family: Family,
    programs: Programs,
    processes: Mapping[ProcessKey, Process],
    objects: Mapping[ObjectKey, Object],
    totals: list[Totals],
) -> list[Loss]:
    """Everything that is missing, gravest first."""
    return [
        *_of_the_file(raw), *_of_recorders(processes.values()), *_of_segments(family),
        *_unseen_children(family), *_unseen_pythons(programs, processes), *_open(processes.values()), *_summarised(totals),
        *_changed_by_tracing(processes, objects, totals),
    ]  # fmt: skip


def _of_the_file(raw: RawTrace) -> Iterator[Loss]:
    if raw.cut:
        yield Loss("cut", 1, raw.cut)
    elif not raw.complete:
        yield Loss("incomplete", 1, "The collector ended before the program did; what came later was not recorded.")


def _of_recorders(processes: Iterable[Process]) -> Iterator[Loss]:
    meanings = {name: meaning for name, _, meaning in layout.LIVE_COUNTERS}
    for process in processes:
        who = f"{process.name} {process.pid}"
        if process.off_reason:
            yield Loss("switched-off", 1, f"{who}: recording switched itself off: {process.off_reason}")
        for name in sorted(_COUNTERS):
            if count := process.counters.get(name, 0):
                yield Loss(name.replace("_", "-"), count, f"{who}: {meanings[name]}: {count}.")


def _of_segments(family: Family) -> Iterator[Loss]:
    for image in family.in_order:
        seen = image.data.seen
        if holes := seen.get("holes", 0):
            yield Loss("holes", holes, f"process {image.pid}: records cut off while they were written: {holes}.")
        if lost := seen.get("lost_segments", 0):
            yield Loss("lost-segments", lost, f"process {image.pid}: missing segments of its records: {lost}.")


def _unseen_children(family: Family) -> Iterator[Loss]:
    """Children that a traced parent started and that never said anything."""
    for image in family.in_order:
        for row in (*image.of(kinds.PROCESS_FORK), *image.of(kinds.PROCESS_START)):
            internal = row.outcome == kinds.INTERNAL.number
            if row.value > 0 and not internal and not _is_there(family, image, row):
                yield Loss(
                    "not-seen", 1, f"process {row.value}, started by process {image.pid}, was not seen from inside.",
                    "unseen",
                )  # fmt: skip


def _is_there(family: Family, parent: Image, start: Row) -> bool:
    found = family.first_after(start.value, start.time) or family.in_another_namespace(parent, start.time)
    return found is not None


def _unseen_pythons(programs: Programs, processes: Mapping[ProcessKey, Process]) -> Iterator[Loss]:
    """Pythons without conctrace, or started so that its hook does not run."""
    for program in programs.outside:
        if program.is_python and _should_have_recorded(program):
            yield Loss("not-seen", 1, _not_recorded(program, processes[program.starter.key]), "unseen")


def _should_have_recorded(program: Program) -> bool:
    """Not what was killed or still ran: it may not have got so far. Nor what only told its version."""
    ended_itself = program.status is not None and program.status >= 0
    return ended_itself and not read_python_command(program.arguments).is_question


def _not_recorded(program: Program, starter: Process) -> str:
    # Of its command no more than that: a report leaves out arguments.
    dash = " -S" if "S" in read_python_command(program.arguments).options else ""
    stack = own_frames(program.starter.define.stack(program.row.stack))
    place = f" at {os.path.basename(stack[0].file)}:{stack[0].line}" if stack else ""
    started = f"started by {starter.name} {starter.pid}{place}"
    return f"1 Python process was not recorded: {program.name}{dash} {program.pid}, {started}; see docs/fidelity.md."


def _open(processes: Iterable[Process]) -> Iterator[Loss]:
    still = [
        f"{process.name} {process.pid}" for process in processes if process.end.how == "open" and not process.hidden
    ]
    if still:
        verb = "was" if len(still) == 1 else "were"
        yield Loss("open", len(still), f"{', '.join(still)} {verb} still running when the trace was closed.", "unseen")


def _summarised(totals: list[Totals]) -> Iterator[Loss]:
    count = sum(max(0, row.holds - row.recorded) for row in totals)
    if count:
        yield Loss(
            "summarised",
            count,
            f"{count} short, uncontended lock operations are in the exact totals only.",
            "summarised",
        )


def _changed_by_tracing(
    processes: Mapping[ProcessKey, Process], objects: Mapping[ObjectKey, Object], totals: list[Totals]
) -> Iterator[Loss]:
    """Locks that are taken so often that what the Python recorder adds can itself make threads wait for them."""
    holds: Counter[ObjectKey] = Counter()
    waits: Counter[ObjectKey] = Counter()
    for row in totals:
        holds[row.object] += row.holds
        waits[row.object] += row.waits
    for key, count in waits.most_common():
        if count and holds[key] >= _OFTEN and processes[key[0]].recorder == "python":
            yield Loss(
                "changed-by-tracing",
                count,
                f"{objects[key].label} was taken {holds[key]} times, and the Python recorder makes that some microseconds "
                f"slower each time: without tracing its {count} waits may be fewer, and shorter.",
                "changed",
            )
