"""Waits, each with what ended it, where that is known for certain; never a guess."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ..events import kinds
from ..events.schema import NO_CORE
from .rows import Row
from .trace import NO_ARGS, Cause, Object, ObjectKey, Process, ProcessKey, Thread, ThreadKey, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .holds import HoldIndex
    from .images import Family, Image
    from .programs import Programs

_CATEGORIES = {
    kinds.LOCK_WAIT.number: "lock",
    kinds.THREAD_JOIN.number: "thread",
    kinds.PROCESS_JOIN.number: "process",
    kinds.CHILD_WAIT.number: "child",
    kinds.PROGRAM_WAIT.number: "program",
    kinds.PROGRAM_TALK.number: "program",
    kinds.PROGRAM_SYSTEM.number: "program",
}


_PROGRAM_WAITS = (kinds.PROGRAM_WAIT.number, kinds.PROGRAM_TALK.number)


class World(NamedTuple):
    """What waits are explained by."""

    family: Family
    programs: Programs
    processes: Mapping[ProcessKey, Process]
    threads: Mapping[ThreadKey, Thread]
    objects: Mapping[ObjectKey, Object]
    #: Thread object → the thread that it became
    thread_of: Mapping[ObjectKey, ThreadKey]
    holds: HoldIndex


def build_waits(world: World, image: Image) -> list[Wait]:
    """All waits of one image: those that ended, and those that stand in its threads' entries."""
    ended = [_wait(world, image, row) for number in _CATEGORIES for row in image.rows.get(number, ())]
    still = [_open_wait(world, image, entry) for entry in image.data.threads if entry["wait"]]
    return ended + [wait for wait in still if wait is not None]


def _wait(world: World, image: Image, row: Row) -> Wait:
    key = (image.key, row.object) if row.object and row.kind != kinds.CHILD_WAIT.number else None
    hold = world.holds.at(key, row.time) if key and row.kind == kinds.LOCK_WAIT.number else None
    return Wait(
        thread=(image.key, row.thread), start=row.time, end=row.end, label=_label(world, image, row),
        category=_CATEGORIES[row.kind], object=key, outcome=kinds.OUTCOME_BY_NUMBER[row.outcome].name,
        stack=image.define.stack(row.stack), cause=_CAUSES[row.kind](world, image, row),
        holder=hold.thread if hold else None, holder_site=hold.site if hold else None,
        gil_wait_ns=row.value if row.kind == kinds.LOCK_WAIT.number else 0,
        cpu_ns=row.cpu or None, runq_ns=row.runq or None, core=None if row.core == NO_CORE else row.core,
        args=_args(image, row),
    )  # fmt: skip


def _open_wait(world: World, image: Image, entry: dict[str, dict[str, int]]) -> Wait | None:
    wait = entry["wait"]
    if wait["kind"] not in _CATEGORIES:
        return None
    row = Row(wait["since"], 0, wait["other"], wait["value"], 0, 0, wait["object"], int(entry["thread"]),  # type: ignore[call-overload]
              wait["stack"], NO_CORE, 0, wait["kind"])  # fmt: skip
    if _is_recorded(image, row):
        return None
    if wait["kind"] == kinds.LOCK_WAIT.number:
        hold = world.holds.never_ended((image.key, row.object))
        if hold is not None and hold.thread == (image.key, row.thread) and hold.start >= row.time:
            # It had got the lock, and only not said so in its entry.
            return _wait(world, image, row._replace(duration=hold.start - row.time, outcome=kinds.ACQUIRED.number))
    shown = _wait(world, image, row)
    killed = world.processes[image.key].end.how == "killed"
    return Wait(
        thread=shown.thread, start=shown.start, end=None, label=shown.label, category=shown.category,
        object=shown.object, outcome="killed" if killed else "", stack=shown.stack, holder=shown.holder,
        holder_site=shown.holder_site, args=shown.args,
    )  # fmt: skip


def _is_recorded(image: Image, wait: Row) -> bool:
    """Whether its thread's last word was this wait's record: killed before it had taken the wait out of its entry."""
    return any(
        (row.thread, row.time) == (wait.thread, wait.time) and image.is_last_word(row.thread, row.end)
        for row in image.rows.get(wait.kind, ())
    )


# Labels --------------------------------------------------------------------------------------------------------


def _label(world: World, image: Image, row: Row) -> str:
    if row.kind == kinds.CHILD_WAIT.number:
        function = image.define.text(row.object)
        child = world.programs.last(max(row.value, 0) or row.other, row.end)
        return f"os.{function} {world.processes[child].name}" if child not in (None, image.key) else f"os.{function}"
    thing = world.objects.get((image.key, row.object))
    if row.kind == kinds.PROGRAM_SYSTEM.number:
        return f"os.system {thing.name}" if thing else "os.system"
    program = world.programs.of(image, row.object) if row.kind in _PROGRAM_WAITS else None
    if program is not None:
        return f"{kinds.BY_NUMBER[row.kind].name} {world.processes[program.key].name}"
    verb = kinds.BY_NUMBER[row.kind].name.partition(".")[2]
    return f"{thing.kind}.{verb} {thing.label}" if thing else kinds.BY_NUMBER[row.kind].name


def _args(image: Image, row: Row) -> Mapping[str, str]:
    """What is known of a wait for a program: its command, what went to it and came from it, what os.system returned."""
    if row.kind not in _PROGRAM_WAITS and row.kind != kinds.PROGRAM_SYSTEM.number:
        return NO_ARGS
    fields = image.define.fields(kinds.OBJECT, row.object)
    args = {"command": fields[3] if fields else ""}
    if row.kind == kinds.PROGRAM_SYSTEM.number and row.value >= 0:
        args["status"] = str(os.waitstatus_to_exitcode(row.value))
    elif row.kind == kinds.PROGRAM_TALK.number and row.other:
        args["bytes_in"] = str(row.other - 1)
    if row.kind == kinds.PROGRAM_TALK.number and row.value >= 0 and row.outcome == kinds.ACQUIRED.number:
        args["bytes_out"] = str(row.value)
    return args


# Causes --------------------------------------------------------------------------------------------------------


def _released(world: World, image: Image, row: Row) -> Cause | None:
    """The release that was stamped under the lock, if its hold is in the trace."""
    hold = world.holds.ended_at((image.key, row.object), row.other) if row.other else None
    if hold is None or hold.end is None:
        return None
    return Cause("release", hold.released_by or hold.thread, hold.end, hold.release_site)


def _thread_ended(world: World, image: Image, row: Row) -> Cause | None:
    key = world.thread_of.get((image.key, row.object))
    if key is None or row.outcome != kinds.ACQUIRED.number:
        return None
    end = world.threads[key].end
    # Until 3.12 an interrupted join makes the next one return at once, while the thread still runs.
    return Cause("end", key, end, None) if end is not None and end <= row.end else None


def _child_ended(world: World, _: Image, row: Row) -> Cause | None:
    if row.outcome != kinds.ACQUIRED.number or row.value <= 0:
        return None
    return _end_of(world, world.programs.last(row.value, row.end), row)


def _program_ended(world: World, image: Image, row: Row) -> Cause | None:
    program = world.programs.of(image, row.object)
    if program is None or row.outcome != kinds.ACQUIRED.number:
        return None
    return _end_of(world, world.programs.last(program.pid, row.end) or program.key, row)


def _end_of(world: World, key: ProcessKey | None, row: Row) -> Cause | None:
    end = world.processes[key].end.time if key is not None else None
    return Cause("end", (key, 0), min(end, row.end), None) if key is not None and end is not None else None


def _not_known(_world: World, _image: Image, _row: Row) -> Cause | None:
    return None


_CAUSES = {
    kinds.LOCK_WAIT.number: _released,
    kinds.THREAD_JOIN.number: _thread_ended,
    kinds.PROCESS_JOIN.number: _child_ended,
    kinds.CHILD_WAIT.number: _child_ended,
    kinds.PROGRAM_WAIT.number: _program_ended,
    kinds.PROGRAM_TALK.number: _program_ended,
    kinds.PROGRAM_SYSTEM.number: _not_known,
}
