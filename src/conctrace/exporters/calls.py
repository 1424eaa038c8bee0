"""Makes the calls of functions nest among the slices of their lane; see `nesting` for why.

Calls nest among each other, and with what the thread did otherwise, but for two things. Their times come from another
clock reading and may be wrong by some hundred nanoseconds (`LaneCalls.error_ns`): within that, one of the two gives way. And a
span may begin in one call of a generator and end in the next: then the call is cut where the span begins or ends,
and that is said. A recorded slice never gives way by more than the error.

Calls stay columns: a million of `Slice` would take hundreds of megabytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..events.ids import Nanoseconds
    from ..model.trace import LaneCalls
    from .nesting import Slice


class NestedCalls:
    """The calls of one lane, by start, their ends such that they nest, also with the lane's slices."""

    def __init__(self, lane: LaneCalls, at: Callable[[Nanoseconds], Nanoseconds], slices: list[Slice[Any]]) -> None:
        """`slices` are the lane's own, nested; the first one must enclose everything. Some may be changed by the error."""
        self.start = array("q", map(at, lane.start))
        self.end = array("q", map(at, lane.end))
        self.function: Sequence[int] = lane.function
        #: the call around each one, -1 for none
        self.parent = array("q", [-1]) * len(self.start)
        #: ns cut off the ends of some
        self.cut: dict[int, Nanoseconds] = {}
        self._slices = slices
        self._error = lane.error_ns
        #: by how much slices, by their identity, have given way
        self._given: dict[int, Nanoseconds] = {}
        #: what is open now, outermost first: (a slice, -1) or (None, a call)
        self._open: list[tuple[Slice[Any] | None, int]] = []
        self._fit()
        #: calls of which nothing is left
        self.without_length = [
            index for index, (start, end) in enumerate(zip(self.start, self.end, strict=True)) if start == end
        ]

    def around(self, times: Iterable[Nanoseconds]) -> set[int]:
        """The calls that can be on top of the lane at these moments: the last to begin by then, and all around it."""
        found: set[int] = set()
        for time in times:
            index = bisect_right(self.start, time) - 1
            while index >= 0 and index not in found:
                found.add(index)
                index = self.parent[index]
        return found

    def merged(self) -> Iterator[Slice[Any] | int]:
        """Slices and calls in the order of their nesting."""
        at, count = 0, len(self.start)
        for piece in self._slices:
            while at < count and (self.start[at], -self.end[at]) < piece.order:
                yield at
                at += 1
            yield piece
        yield from range(at, count)

    def _fit(self) -> None:
        at, count = 0, len(self.start)
        for piece in list(self._slices):
            while at < count and (self.start[at], -self.end[at]) < piece.order:
                self._call(at)
                at += 1
            self._slice(piece)
        for index in range(at, count):
            self._call(index)

    def _end(self, entry: tuple[Slice[Any] | None, int]) -> Nanoseconds:
        return self.end[entry[1]] if entry[0] is None else entry[0].end

    def _close(self, time: Nanoseconds) -> None:
        """Forgets what is over; a slice without length is, at once."""
        while self._open and self._end(self._open[-1]) <= time:
            self._open.pop()

    def _call(self, index: int) -> None:
        start = self.start[index]
        self.end[index] = max(self.end[index], start)
        self._close(start)
        inner = self._make_room(index)
        around = next((call for _, call in reversed(self._open) if call >= 0), -1)
        self.parent[index] = around
        self._open.append((None, index))
        if inner is not None:
            self._open.append((inner, -1))

    def _make_room(self, index: int) -> Slice[Any] | None:
        """Sees to it that a call lies in what is open; gives a slice that by the error began before it, and lies in it."""
        start = self.start[index]
        inner: Slice[Any] | None = None
        while self._open and self.end[index] > self._end(self._open[-1]):
            piece, end = self._open[-1][0], self._end(self._open[-1])
            is_life = len(self._open) == 1
            if piece is None or is_life or self.end[index] - end <= self._error:
                self._shorten(index, end, said=self.end[index] - end > self._error)
            elif self._gives_way(piece, end - start):
                piece.cut, piece.end = piece.cut + end - start, start
                self._open.pop()
            elif inner is None and self._gives_way(piece, start - piece.start):
                piece.start, inner = start, piece
                self._open.pop()
            else:
                self._shorten(index, end, said=True)
        return inner

    def _gives_way(self, piece: Slice[Any], by: Nanoseconds) -> bool:
        """Whether a slice may be shorter by so much, by all calls together no more than the error; then it is."""
        given = self._given.get(id(piece), 0) + by
        if given > self._error:
            return False
        self._given[id(piece)] = given
        return True

    def _slice(self, piece: Slice[Any]) -> None:
        self._close(piece.start)
        at = len(self._open)
        while at and self._open[at - 1][0] is None and self._end(self._open[at - 1]) < piece.end:
            at -= 1
        for _, index in self._open[at:]:
            if piece.end - self.end[index] <= self._error:
                self.end[index] = piece.end
            else:
                self._shorten(index, piece.start, said=True)
        self._close(piece.start)
        if piece.end > piece.start:
            self._open.append((piece, -1))

    def _shorten(self, index: int, end: Nanoseconds, *, said: bool) -> None:
        if said:
            self.cut[index] = self.cut.get(index, 0) + self.end[index] - end
        self.end[index] = end
