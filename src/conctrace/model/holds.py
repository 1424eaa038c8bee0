"""Who held which lock when: the recorded holds, and those that never ended."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

from ..events import kinds
from ..events.schema import NO_CORE
from .trace import Hold, ObjectKey, ThreadKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..events.ids import Number
    from .images import Image
    from .rows import Row


def build_holds(image: Image) -> list[Hold]:
    """All holds of one image, by start."""
    ended = [_hold(image, row) for row in image.of(kinds.LOCK_HOLD)]
    return sorted(ended + _open_holds(image, ended), key=lambda hold: hold.start)


def _hold(image: Image, row: Row) -> Hold:
    acquired = image.define.stack(row.stack)
    released = image.define.stack(row.value)
    return Hold(
        object=(image.key, row.object), thread=(image.key, row.thread), start=row.time, end=row.end,
        site=acquired[0] if acquired else None, release_site=released[0] if released else None,
        released_by=(image.key, row.other - 1) if row.other else None,
        contended=row.outcome == kinds.CONTENDED.number, core=None if row.core == NO_CORE else row.core,
    )  # fmt: skip


def _open_holds(image: Image, ended: list[Hold]) -> list[Hold]:
    """The holds that never ended: those in the threads' own entries, and those that only the table of objects knows.

    A thread that has got a lock writes that into the table of objects at once, and into its own entry when it has the GIL.
    """
    holds = [_open_hold(image, entry["thread"], held) for entry in image.data.threads for held in entry["held"]]
    threads = {0, *(row.thread for row in image.of(kinds.THREAD_BEGIN))}
    for entry in image.data.objects:
        if entry["thread"] not in threads or not image.define.own(kinds.OBJECT, entry["object"]):
            continue
        gained = _open_hold(image, entry["thread"], entry)
        rivals = [hold for hold in holds if hold.object == gained.object]
        # Two tables of a process that lives are read at two moments: who got the lock later has it.
        if all(hold.thread != gained.thread and hold.start < gained.start for hold in rivals):
            holds = [hold for hold in holds if hold not in rivals] + [gained]
    return [hold for hold in holds if not _was_let_go(image, hold, ended)]


def _was_let_go(image: Image, hold: Hold, ended: list[Hold]) -> bool:
    """Whether the last that its thread recorded was this hold's end: killed before it had taken the hold out of the tables."""
    last = max((other.end or 0 for other in ended if other[:2] == (hold.object, hold.thread)), default=-1)
    return last >= hold.start and image.is_last_word(hold.thread[1], last)


def _open_hold(image: Image, thread: int, held: dict[str, Number]) -> Hold:
    return Hold(
        object=(image.key, held["object"]), thread=(image.key, thread), start=held["since"], end=None,
        site=image.define.site(held["site"]),
    )  # fmt: skip


def let_through(image: Image) -> dict[tuple[ObjectKey, ThreadKey], list[tuple[int, int]]]:
    """For each lock and thread: when each of its waits was over, and the release that had let it through."""
    found: dict[tuple[ObjectKey, ThreadKey], list[tuple[int, int]]] = defaultdict(list)
    for row in image.of(kinds.LOCK_WAIT):
        if row.other:
            found[(image.key, row.object), (image.key, row.thread)].append((row.end, row.other))
    return found


class HoldIndex:
    """Finds the hold of a lock at a moment, and the one that ended at a moment.

    A thread that waited for a lock has it before it has the GIL back and can stamp that, up to some 10 ms before. But
    nobody else can have had it since the release that let the thread through, so for the question who held the lock, its
    hold begins with that release.
    """

    def __init__(
        self, holds: list[Hold], let_through: Mapping[tuple[ObjectKey, ThreadKey], list[tuple[int, int]]]
    ) -> None:
        self._by_object: dict[ObjectKey, list[Hold]] = defaultdict(list)
        self._starts: dict[ObjectKey, list[int]] = defaultdict(list)
        last_start: dict[tuple[ObjectKey, ThreadKey], int] = {}
        for hold in holds:
            key = hold.object, hold.thread
            self._by_object[hold.object].append(hold)
            waits = let_through.get(key, [])
            before = bisect_right(waits, (hold.start, hold.start)) - 1
            waited = before >= 0 and waits[before][0] > last_start.get(key, 0)
            self._starts[hold.object].append(waits[before][1] if waited else hold.start)
            last_start[key] = hold.start
        self._open = {hold.object: hold for hold in holds if hold.end is None}
        self._by_end = {(hold.object, hold.end): hold for hold in holds if hold.end is not None}

    def at(self, key: ObjectKey, time: int) -> Hold | None:
        """Who held it at that time."""
        held = self._by_object.get(key)
        place = bisect_right(self._starts[key], time) if held else 0
        if not held or place == 0:
            return None
        hold = held[place - 1]
        return hold if hold.end is None or hold.end > time else None

    def never_ended(self, key: ObjectKey) -> Hold | None:
        """The hold that was not over when the process or the trace ended."""
        return self._open.get(key)

    def ended_at(self, key: ObjectKey, time: int) -> Hold | None:
        """The hold whose release was at exactly that time."""
        return self._by_end.get((key, time))
