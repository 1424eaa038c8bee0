"""Waits, each with what ended it, where that is known for certain; never a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..events import kinds
from ..events.schema import NO_CORE
from .rows import Row
from .trace import Cause, Object, ObjectKey, Process, ProcessKey, Thread, ThreadKey, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .holds import HoldIndex
    from .images import Family, Image

_CATEGORIES = {
    kinds.LOCK_WAIT.number: "lock",
    kinds.THREAD_JOIN.number: "thread",
    kinds.PROCESS_JOIN.number: "process",
    kinds.CHILD_WAIT.number: "child",
}


class World(NamedTuple):
    """What waits are explained by."""

    family: Family
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
        holder_site=shown.holder_site,
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
        child = world.family.at(max(row.value, 0) or row.other, row.end)
        known = child is not None and child is not image
        return f"os.{function} {world.processes[child.key].name}" if known and child else f"os.{function}"
    thing = world.objects.get((image.key, row.object))
    verb = kinds.BY_NUMBER[row.kind].name.partition(".")[2]
    return f"{thing.kind}.{verb} {thing.label}" if thing else kinds.BY_NUMBER[row.kind].name


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
    child = world.family.at(row.value, row.end)
    end = world.processes[child.key].end.time if child else None
    if child is None or end is None:
        return None
    return Cause("end", (child.key, 0), min(end, row.end), None)


_CAUSES = {
    kinds.LOCK_WAIT.number: _released,
    kinds.THREAD_JOIN.number: _thread_ended,
    kinds.PROCESS_JOIN.number: _child_ended,
    kinds.CHILD_WAIT.number: _child_ended,
}
