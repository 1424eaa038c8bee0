"""From one image's data to the facts about its process: rows sorted by kind, statuses, ends."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .definitions import Definitions
from .rows import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..events import kinds
    from ..tracefile.reader import ImageData, RawTrace


class Image:
    """One image on its way into the model."""

    def __init__(self, data: ImageData, images: Mapping[int, ImageData]) -> None:
        self.data = data
        self.key = data.nonce
        self.define = Definitions(data, images)
        self.rows: dict[int, list[Row]] = defaultdict(list)
        self._last_words: dict[int, int] = {}
        self.last = max(self.born, data.counters.get("ended", 0))
        for record in data.records:
            row = Row._make(record)
            self.rows[row.kind].append(row)
            # A record may tell of a stretch; it was written when that was over.
            self.last = max(self.last, row.time + row.duration)

    def of(self, kind: kinds.EventKind) -> list[Row]:
        """Its records of one kind, in the order in which they were written."""
        return self.rows.get(kind.number, [])

    def is_last_word(self, thread: int, end: int) -> bool:
        """Whether a thread recorded nothing that was over later: then it may have been killed before it did what comes next."""
        if not self._last_words:
            for rows in self.rows.values():
                for row in rows:
                    self._last_words[row.thread] = max(row.end, self._last_words.get(row.thread, 0))
        return end >= self._last_words.get(thread, 0)

    @property
    def born(self) -> int:
        """When its recorder began."""
        return int(self.data.facts["born_ns"])

    @property
    def pid(self) -> int:
        """Its pid, as it saw it."""
        return int(self.data.facts["pid"])

    @property
    def incarnation(self) -> tuple[int, int, int]:
        """What stays equal over exec, and over nothing else: pid namespace, pid, start time."""
        facts = self.data.facts
        return facts["pidns"], facts["pid"], facts["start_ticks"]

    @property
    def hidden(self) -> bool:
        """Whether it is a helper of the standard library."""
        return bool(self.data.facts["role"] != "program")


class Reaped:
    """What other processes saw of one process's end: its status, and moments by which it was over."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.over_by: list[int] = []


class Family:
    """All images, found by nonce or by pid and time."""

    def __init__(self, raw: RawTrace) -> None:
        self.images = {nonce: Image(data, raw.images) for nonce, data in raw.images.items() if data.facts}
        self.in_order = sorted(self.images.values(), key=lambda image: image.born)
        self._by_pid: dict[int, list[Image]] = defaultdict(list)
        for image in self.in_order:
            self._by_pid[image.pid].append(image)

    def at(self, pid: int, time: int) -> Image | None:
        """The image that had this pid at that time: the last one born before it."""
        born = [image for image in self._by_pid.get(pid, ()) if image.born <= time]
        return born[-1] if born else None

    def first_after(self, pid: int, time: int) -> Image | None:
        """The image of a process that was started at that time: the first one born since."""
        return next((image for image in self._by_pid.get(pid, ()) if image.born >= time), None)

    def in_another_namespace(self, parent: Image, time: int) -> Image | None:
        """A forked child that has another pid for itself than its parent has for it; the first one since."""
        return next(
            (
                image
                for image in self.in_order
                if image.data.facts["parent_nonce"] == parent.key
                and image.data.facts["pidns"] != parent.data.facts["pidns"]
                and image.born >= time
            ),
            None,
        )

    def successor(self, image: Image) -> Image | None:
        """The image that took its place by exec."""
        same = [other for other in self._by_pid[image.pid] if other.incarnation == image.incarnation]
        later = [other for other in same if other.born > image.born]
        return later[0] if later else None

    def predecessor(self, image: Image) -> Image | None:
        """The image whose place it took by exec."""
        return next((other for other in self.in_order if self.successor(other) is image), None)
