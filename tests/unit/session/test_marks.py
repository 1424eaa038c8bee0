"""Spans, instants and counters, as they stand in the files of either recorder."""

from __future__ import annotations

import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.events import kinds
from conctrace.session import marks
from tests.support.recording import Session, running

if TYPE_CHECKING:
    from pathlib import Path


def text(session: Session, number: int) -> str:
    return session.image().definitions(kinds.TEXT)[number][0]


def test_a_span_has_its_name_arguments_place_and_times(session: Session) -> None:
    before = time.monotonic_ns()
    with marks.span("load", file="a.txt", size=3):
        inside = time.monotonic_ns()
    line = sys._getframe().f_lineno - 2
    after = time.monotonic_ns()
    (row,) = session.image().records(kinds.SPAN)
    assert before <= row["time"] <= inside <= row["time"] + row["duration"] <= after
    assert text(session, row["object"]) == "load"
    assert text(session, row["other"]) == "file='a.txt'\nsize=3"
    assert (row["thread"], row["outcome"]) == (0, 0)
    file, at, function = session.image().definitions(kinds.SITE)[row["stack"]]
    assert (file, function) == (__file__, "test_a_span_has_its_name_arguments_place_and_times")
    assert line <= int(at) <= line + 1


def test_a_span_left_by_an_exception_says_so(session: Session) -> None:
    with pytest.raises(ValueError, match="x"), marks.span("load"):
        int("x")
    (row,) = session.image().records(kinds.SPAN)
    assert (row["outcome"], row["other"]) == (kinds.ERROR.number, 0)


def test_a_span_is_recorded_when_it_is_entered(session: Session) -> None:
    with marks.span("load", size=3):
        (begun,) = session.image().records(kinds.SPAN_BEGIN)
        assert session.image().records(kinds.SPAN) == []
    (left,) = session.image().records(kinds.SPAN)
    same = ("time", "object", "other", "stack", "thread")
    assert [begun[name] for name in same] == [left[name] for name in same]


def test_a_span_around_a_fork_is_left_by_the_parent_only(session: Session) -> None:
    with marks.span("load"):
        pid = os.fork()
    if pid == 0:
        marks.instant("outside")
        os._exit(0)
    os.waitpid(pid, 0)
    assert len(session.image().records(kinds.SPAN)) == 1
    child = session.image(pid)
    assert (len(child.records(kinds.SPAN)), len(child.records(kinds.INSTANT))) == (0, 1)


def test_an_instant_has_its_name_and_arguments(session: Session) -> None:
    marks.instant("now", at=1)
    (row,) = session.image().records(kinds.INSTANT)
    assert [text(session, row[name]) for name in ("object", "other")] == ["now", "at=1"]
    assert row["duration"] == 0


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63)])
def test_a_counters_whole_number_is_kept_whole(session: Session, value: int) -> None:
    marks.counter("level", value)
    (row,) = session.image().records(kinds.COUNTER)
    assert (row["value"], row["outcome"]) == (value, 0)
    assert text(session, row["object"]) == "level"


@pytest.mark.parametrize("value", [1.5, -0.25, 2**63, float("inf")])
def test_any_other_number_is_kept_as_the_bits_of_a_double(session: Session, value: float) -> None:
    marks.counter("level", value)
    (row,) = session.image().records(kinds.COUNTER)
    assert row["outcome"] == kinds.FLOAT.number
    assert struct.unpack("<d", struct.pack("<q", row["value"])) == (value,)


def test_the_same_name_is_one_text_and_another_a_second(session: Session) -> None:
    for name in ("one", "two", "one"):
        marks.instant(name)
    rows = session.image().records(kinds.INSTANT)
    assert [text(session, row["object"]) for row in rows] == ["one", "two", "one"]
    assert len(list(session.image().all_definitions(kinds.TEXT))) == 2


@pytest.mark.parametrize("name", ["", "ä☃", "\ud800 alone", "\0", "x" * 100_000], ids=ascii)
def test_any_name_is_kept(session: Session, name: str) -> None:
    marks.instant(name)
    (row,) = session.image().records(kinds.INSTANT)
    assert text(session, row["object"]) == name.encode("utf-8", "backslashreplace").decode()


def test_without_values_the_arguments_are_nowhere(tmp_path: Path, recorder_name: str) -> None:
    session = Session(tmp_path, recorder_name, values=False)
    try:
        assert not session.record().values
        with marks.span("load", secret="hidden"):
            marks.instant("now", secret="hidden")
        for kind in (kinds.SPAN, kinds.INSTANT):
            assert [row["other"] for row in session.image().records(kind)] == [0]
    finally:
        session.close()


def test_a_counter_that_is_no_number_is_our_failure_and_not_the_programs(session: Session) -> None:
    wrong: Any = "many"
    marks.counter("level", wrong)
    assert session.image().count("errors") == 1
    assert not running().alive
