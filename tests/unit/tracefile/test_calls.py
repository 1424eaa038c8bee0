"""Calls come back from their block as they were, in parts or as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conctrace.tracefile.calls import Calls, decode, encode, joined

_ROW = st.tuples(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2), st.integers(0, 1))


def made(rows: list[tuple[int, int, int, int]]) -> Calls:
    calls = Calls()
    calls.functions = [("f", "a.py", 1), ("C.g", "ö.py", 2), ("<lambda>", "", 3)]
    calls.threads = [7, 4242]
    calls.facts = {"error_ns": 12, "reason": ""}
    for start, duration, function, thread in rows:
        calls.start.append(start)
        calls.duration.append(duration)
        calls.function.append(function)
        calls.thread.append(thread)
    return calls


def rows(calls: Calls) -> list[tuple[object, ...]]:
    return [
        (start, duration, calls.functions[function], calls.threads[thread])
        for start, duration, function, thread in zip(
            calls.start, calls.duration, calls.function, calls.thread, strict=True
        )
    ]


@given(st.lists(_ROW, max_size=50))
def test_a_part_comes_back(content: list[tuple[int, int, int, int]]) -> None:
    calls = made(content)
    part, again = decode(encode(calls, 3))
    assert part == 3
    assert again.facts == calls.facts
    assert rows(again) == rows(calls)


def test_parts_are_put_together_whatever_numbers_they_use() -> None:
    first, second = made([(1, 2, 0, 0)]), made([(3, 4, 0, 1)])
    second.functions.reverse()
    second.threads.reverse()
    whole = joined([first, second])
    assert rows(whole) == rows(first) + rows(second)
    assert len(whole.functions) == 3


def test_a_cut_part_is_refused() -> None:
    with pytest.raises(ValueError, match="not as long as its head says"):
        decode(encode(made([(1, 2, 0, 0)]), 0)[:-1])
