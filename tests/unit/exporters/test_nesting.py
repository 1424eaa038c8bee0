"""Slices of one lane are made to nest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conctrace.exporters.nesting import Lookup, Slice, depths, nest

stretches = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=20)


@given(stretches)
def test_slices_nest_and_only_ends_move(pairs: list[list[int]]) -> None:
    nested = nest([Slice(start, end, (start, end)) for start, end in pairs])
    assert sorted(piece.what for piece in nested) == sorted((start, end) for start, end in pairs)
    for piece in nested:
        assert (piece.start, piece.end + piece.cut) == piece.what
        assert piece.start <= piece.end
        if piece.parent >= 0:
            parent = nested[piece.parent]
            assert parent.start <= piece.start
            assert piece.end <= parent.end
    assert max(depths(nested), default=0) <= len(nested)


@given(stretches, st.integers(0, 30))
def test_the_innermost_slice_is_found(pairs: list[list[int]], time: int) -> None:
    nested = nest([Slice(start, end, None) for start, end in pairs])
    around = [index for index, piece in enumerate(nested) if piece.start <= time < piece.end]
    found = Lookup(nested).enclosing(time)
    assert found == (around[-1] if around else -1)
