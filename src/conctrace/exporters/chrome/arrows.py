"""Where the ends of arrows are drawn, so that Perfetto shows what happened.

An arrow's end (``s``, ``f``) names a lane and a moment, but what Perfetto keeps is the slice that is on top of the
lane's stack then, and it does three things with it (tried with the engine of v52, and read in its source):

1. It takes slices off the stack only when another slice of the lane arrives. An arrow that leaves a thread after a
   wait would be bound to that wait, which is over. Where the top is stale an ``E`` is written first: it takes off
   what is over and, finding no open ``B``, changes nothing else. It does not take off what began and ended in that
   very nanosecond; therefore slices and instants without length stand behind the arrows in the file.
2. It turns an arrow round when the source's slice began after the target's (`FlowTracker::End`): a thread that
   began to wait before its waker's slice began would be shown as the cause.
3. It draws the arrow from the *end* of the source's slice to the *begin* of the target's: from the end of the
   releasing thread's life to the begin of the wait.

So an arrow that ends something gets slices of its own, one nanosecond long, where 2 and 3 would lie: ``release`` in the life of
the thread that released, ``woken by Thread-1`` at the end of the wait. Arrows that begin something (fork, start)
go from the call to the begin of the new life and need none.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from ..nesting import Lookup, Slice, nest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ...events.ids import Nanoseconds
    from ...model.trace import Arrow, ThreadKey


#: What the slice of a function's call stands for, as far as arrows are concerned.
CALL = object()


class Drawn(NamedTuple):
    """One arrow, its ends where they are drawn."""

    number: int
    arrow: Arrow
    source_time: Nanoseconds
    target_time: Nanoseconds


class Ends:
    """Where arrows can touch one lane."""

    def __init__(self, slices: list[Slice[Any]], moments: list[Nanoseconds]) -> None:
        lasting = [Slice(piece.start, piece.end, piece.what) for piece in slices if piece.end > piece.start]
        self._slices = nest(lasting)
        self._lookup = Lookup(self._slices)
        self._moments = sorted(moments + [piece.start for piece in slices if piece.end == piece.start])
        #: the slices of one nanosecond that arrows get: when, and what each is called
        self.marks: dict[Nanoseconds, str] = {}

    def inside(self, time: Nanoseconds, prefer_ending: bool) -> Nanoseconds | None:
        """`time`, or 1 ns before it when that is where the slice meant is still there; None: nothing is there.

        What an arrow ends is the wait that is over at that moment, so a target prefers a slice that ends there.
        """
        if prefer_ending and self._lookup.ending(time) >= 0:
            return time - 1
        if self._lookup.enclosing(time) >= 0:
            return time
        return time - 1 if self._lookup.ending(time) >= 0 else None

    def begin_of(self, time: Nanoseconds) -> Nanoseconds:
        """When the slice on top at `time` began."""
        return self._slices[self._lookup.enclosing(time)].start

    def lasts_beyond(self, time: Nanoseconds) -> bool:
        """Whether the slice on top at `time` is the thread's life, or a call of a function, and goes on."""
        piece = self._slices[self._lookup.enclosing(time)]
        return (piece.parent < 0 or piece.what is CALL) and piece.end > time + 1

    def with_marks(self) -> Ends:
        """The lane with the arrows' own slices in it."""
        own = [Slice(time, time + 1, None) for time in self.marks]
        return Ends(self._slices + own, self._moments) if own else self

    def stale(self, time: Nanoseconds) -> bool:
        """Whether Perfetto's stack would have something on top at `time` that is over."""
        latest = self._lookup.latest(time)
        if latest != self._lookup.enclosing(time):
            return True
        before = bisect_left(self._moments, time) - 1
        return before >= 0 and self._moments[before] >= self._slices[latest].start


class Plan:
    """All arrows of a trace that can be drawn; `left_out` counts the others."""

    def __init__(self, ends: dict[ThreadKey, Ends]) -> None:
        self.ends = ends
        self.drawn: list[Drawn] = []
        self.left_out = 0

    def add(
        self, arrows: Iterable[Arrow], at: Callable[[Nanoseconds], Nanoseconds], name: Callable[[Arrow], str]
    ) -> None:
        """Finds the place of each arrow; `at` turns the trace's times, `name` says who woke a target."""
        for number, arrow in enumerate(arrows, 1):
            if arrow.source not in self.ends or arrow.target not in self.ends:
                continue
            times = self._times(at(arrow.source_time), at(arrow.target_time), arrow)
            if times is None:
                self.left_out += 1
                continue
            self._mark(arrow, *times, name)
            self.drawn.append(Drawn(number, arrow, *times))

    def _times(
        self, source_time: Nanoseconds, target_time: Nanoseconds, arrow: Arrow
    ) -> tuple[Nanoseconds, Nanoseconds] | None:
        """When to draw the ends: each inside a slice, the source not after the target."""
        there = self.ends[arrow.target].inside(target_time, prefer_ending=True)
        if there is None:
            return None
        here = self.ends[arrow.source].inside(min(source_time, there), prefer_ending=False)
        return None if here is None or here > there else (here, there)

    def _mark(self, arrow: Arrow, here: Nanoseconds, there: Nanoseconds, name: Callable[[Arrow], str]) -> None:
        source, target = self.ends[arrow.source], self.ends[arrow.target]
        if target.begin_of(there) >= here:
            return
        target.marks.setdefault(there, name(arrow))
        if source.lasts_beyond(here):
            source.marks.setdefault(here, arrow.name)

    def stale_ends(self, arrow: Drawn) -> Iterator[tuple[ThreadKey, Nanoseconds]]:
        """The ends of a drawn arrow at which Perfetto's stack needs an ``E`` (`finish` comes before)."""
        for key, time in ((arrow.arrow.source, arrow.source_time), (arrow.arrow.target, arrow.target_time)):
            if self._finished[key].stale(time):
                yield key, time

    def finish(self) -> None:
        """Takes the marks for settled."""
        self._finished = {key: ends.with_marks() for key, ends in self.ends.items()}
