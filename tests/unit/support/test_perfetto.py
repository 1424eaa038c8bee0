"""Perfetto's engine in tests answers queries, and objects to bad traces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.perfetto import PerfettoError, TraceProcessor, query, stats_problems

if TYPE_CHECKING:
    from pathlib import Path


def slice_event(**more: Any) -> dict[str, Any]:
    return {"ph": "X", "name": "work", "pid": 1, "tid": 1, "ts": 1.0, "dur": 2.5, **more}


def write_trace(folder: Path, *events: dict[str, Any]) -> Path:
    path = folder / "made.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return path


def test_query_returns_rows_by_column_name(tmp_path: Path) -> None:
    path = write_trace(tmp_path, slice_event(), slice_event(name="more", ts=5.0))
    assert query(path, "select name, dur, null as void, 0.5 as half from slice order by ts") == [
        {"name": "work", "dur": 2500, "void": None, "half": 0.5},
        {"name": "more", "dur": 2500, "void": None, "half": 0.5},
    ]


def test_a_good_trace_has_no_problems(tmp_path: Path) -> None:
    assert stats_problems(write_trace(tmp_path, slice_event())) == []


def test_a_flow_without_start_is_a_problem(tmp_path: Path) -> None:
    end = {"ph": "f", "bp": "e", "id": 7, "name": "release", "cat": "flow", "pid": 1, "tid": 1, "ts": 2.0}
    problems = stats_problems(write_trace(tmp_path, slice_event(), end))
    assert problems == [{"name": "flow_end_without_start", "value": 1}]


def test_slices_that_do_not_nest_are_a_problem(tmp_path: Path) -> None:
    path = write_trace(tmp_path, slice_event(), slice_event(ts=3.499))
    assert len(stats_problems(path)) == 1


def test_one_processor_answers_many_queries(tmp_path: Path) -> None:
    processor = TraceProcessor(write_trace(tmp_path, slice_event()))
    assert processor.query("select count(*) as n from slice") == [{"n": 1}]
    assert processor.query("select count(*) as n from slice where dur > 1e9") == [{"n": 0}]


def test_an_error_in_the_query_is_told(tmp_path: Path) -> None:
    with pytest.raises(PerfettoError, match="no such table"):
        query(write_trace(tmp_path, slice_event()), "select * from nowhere")


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text("this is no trace")
    with pytest.raises(PerfettoError):
        query(path, "select 1")
