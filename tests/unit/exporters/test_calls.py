"""Calls of functions nest among the slices of their lane, whatever the clocks say, and nothing recorded is bent."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from conctrace.exporters.calls import NestedCalls
from conctrace.exporters.nesting import Slice, nest
from conctrace.model.trace import LaneCalls

END = 1000
ERROR = 5


def lane(*calls: tuple[int, int], error: int = ERROR) -> LaneCalls:
    calls = tuple(sorted(calls, key=lambda call: (call[0], -call[1])))
    starts, ends = array("q", [start for start, _ in calls]), array("q", [end for _, end in calls])
    return LaneCalls(starts, ends, array("I", range(len(calls))), error)


def fitted(calls: LaneCalls, *slices: tuple[int, int]) -> tuple[NestedCalls, list[tuple[int, int]]]:
    own = nest([Slice(0, END, "life"), *(Slice(start, end, "own") for start, end in slices)])
    return NestedCalls(calls, lambda time: time, own), [(piece.start, piece.end) for piece in own[1:]]


def spans(calls: NestedCalls) -> list[tuple[int, int]]:
    return list(zip(calls.start, calls.end, strict=True))


def test_what_nests_stays_as_it_is() -> None:
    calls, own = fitted(lane((10, 500), (20, 100), (300, 400)), (30, 90), (310, 390))
    assert spans(calls) == [(10, 500), (20, 100), (300, 400)]
    assert own == [(30, 90), (310, 390)]
    assert list(calls.parent) == [-1, 0, 0]
    assert calls.cut == {}


def test_within_the_error_the_call_gives_way() -> None:
    calls, own = fitted(lane((100, 200)), (120, 203))
    assert (spans(calls), own, calls.cut) == ([(100, 203)], [(120, 203)], {})
    calls, own = fitted(lane((100, 204)), (90, 200))
    assert (spans(calls), own, calls.cut) == ([(100, 200)], [(90, 200)], {})


def test_a_slice_gives_way_where_the_call_cannot() -> None:
    # It ended just after the next call began, or began just before the call that it lies in.
    calls, own = fitted(lane((100, 200)), (50, 103))
    assert (spans(calls), own, calls.cut) == ([(100, 200)], [(50, 100)], {})
    calls, own = fitted(lane((100, 300)), (97, 200))
    assert (spans(calls), own, calls.cut) == ([(100, 300)], [(100, 200)], {})


def test_a_span_over_the_steps_of_a_generator_stays_whole() -> None:
    calls, own = fitted(lane((100, 200), (300, 400)), (150, 350))
    assert own == [(150, 350)]
    assert spans(calls) == [(100, 150), (300, 350)]
    assert calls.cut == {0: 50, 1: 50}


def test_the_calls_around_a_moment() -> None:
    calls, _ = fitted(lane((10, 500), (20, 100), (300, 400), (310, 320)))
    assert calls.around([50]) == {0, 1}
    assert calls.around([600]) == {0, 2, 3}  # the last to begin may be what Perfetto has on top still
    assert calls.around([5]) == set()


@st.composite
def _stacks(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Intervals inside each other or apart."""
    moments = sorted(draw(st.lists(st.integers(1, END - 1), min_size=2, max_size=24, unique=True)))
    opens = draw(st.lists(st.booleans(), min_size=len(moments), max_size=len(moments)))
    found: list[tuple[int, int]] = []
    still: list[int] = []
    for moment, opened in zip(moments, opens, strict=True):
        if still and not opened:
            found.append((still.pop(), moment))
        else:
            still.append(moment)
    return found


@given(_stacks(), _stacks(), st.integers(0, 20))
def test_everything_nests_and_nothing_is_missing(
    calls: list[tuple[int, int]], slices: list[tuple[int, int]], error: int
) -> None:
    nested, own = fitted(lane(*calls, error=error), *slices)
    assert len(nested.start) == len(calls)
    before = sorted(slices, key=lambda piece: (piece[0], -piece[1]))
    for (start, end), (was_start, was_end) in zip(own, before, strict=True):
        assert 0 <= start - was_start <= error
        assert 0 <= was_end - end <= error
    everything = [
        (nested.start[piece], nested.end[piece]) if isinstance(piece, int) else (piece.start, piece.end)
        for piece in nested.merged()
    ]
    assert len(everything) == len(calls) + len(slices) + 1
    lasting = [piece for piece in everything if piece[1] > piece[0]]
    assert all(one[0] <= other[0] for one, other in pairwise(lasting))
    around: list[int] = []
    for start, end in lasting:
        while around and around[-1] <= start:
            around.pop()
        assert not around or end <= around[-1]
        around.append(end)
