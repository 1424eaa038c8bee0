"""Makes the slices of one lane nest.

Viewers draw the slices of a lane as a stack: each lies wholly inside the one above it. Perfetto drops a slice that
leaves its parent by a single nanosecond. What a thread does does nest, but its stamps need not: the end of a wait
is taken by one clock reading, the end of the call around it by another, and the end of the thread by a third
process. So a slice that begins inside another one and ends after it is cut at the other one's end, and counted.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from ..events.ids import Nanoseconds

T = TypeVar("T")


class Slice(Generic[T]):
    """A stretch of a lane and what it stands for; `parent` is an index into the lane's slices, -1 for none."""

    __slots__ = ("cut", "end", "parent", "start", "what")

    def __init__(self, start: Nanoseconds, end: Nanoseconds, what: T) -> None:
        self.start = start
        self.end = end
        self.what = what
        self.parent = -1
        #: ns cut off its end to make it nest
        self.cut: Nanoseconds = 0

    @property
    def order(self) -> tuple[Nanoseconds, Nanoseconds]:
        """By start, the longer one first."""
        return self.start, -self.end


def nest(slices: list[Slice[T]]) -> list[Slice[T]]:
    """The same slices sorted, with parents set and ends cut so that they nest."""
    slices.sort(key=lambda piece: piece.order)
    open_ones: list[int] = []
    for index, piece in enumerate(slices):
        while open_ones and slices[open_ones[-1]].end <= piece.start:
            open_ones.pop()
        if open_ones:
            piece.parent = open_ones[-1]
            parent = slices[piece.parent]
            if piece.end > parent.end:
                piece.cut, piece.end = piece.end - parent.end, parent.end
        open_ones.append(index)
    return slices


def depths(slices: list[Slice[T]]) -> list[int]:
    """How many slices each nested slice lies in."""
    found: list[int] = []
    for piece in slices:
        found.append(found[piece.parent] + 1 if piece.parent >= 0 else 0)
    return found


class Lookup(Generic[T]):
    """Finds the slice of a nested lane that is at the top of the stack at a given moment."""

    def __init__(self, slices: list[Slice[T]]) -> None:
        self._slices = slices
        self._starts = [piece.start for piece in slices]

    def latest(self, time: Nanoseconds) -> int:
        """Index of the last slice that began at or before `time`, over or not; -1 for none."""
        return bisect_right(self._starts, time) - 1

    def enclosing(self, time: Nanoseconds) -> int:
        """Index of the innermost slice with start <= time < end; -1 for none."""
        index = self.latest(time)
        while index >= 0 and self._slices[index].end <= time:
            index = self._slices[index].parent
        return index

    def ending(self, time: Nanoseconds) -> int:
        """Index of the innermost slice, longer than nothing, that ends at `time`; -1 for none."""
        index = self.enclosing(time - 1)
        return index if index >= 0 and self._slices[index].end == time else -1
