"""Whatever the stamps of a run look like, Perfetto takes the whole export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings, strategies as st

from conctrace.exporters.chrome import export
from tests.support.perfetto import TraceProcessor
from tests.support.traces import Story

if TYPE_CHECKING:
    from pathlib import Path

    from conctrace.model.trace import Trace

THREADS = 3
#: Few distinct moments, so that many meet; in nanoseconds, so that neighbours differ by one.
times = st.integers(0, 24)
stretches = st.tuples(st.integers(0, THREADS - 1), times, times)
arrows = st.tuples(st.integers(0, THREADS - 1), times, st.integers(0, THREADS - 1), times)
ends = st.tuples(times, st.one_of(st.none(), times))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Threads with waits, spans, holds, instants and arrows anywhere, nested or not."""
    story = Story(end=0.03)
    main = story.process("MainProcess", 100, 0, 0.03)
    threads = [main]
    for number in range(1, THREADS):
        start, end = draw(ends)
        threads.append(story.thread(main, f"Thread-{number}", 100 + number, start / 1e3, end and max(start, end) / 1e3))
    locks = [story.thing(main, "Lock", name) for name in ("a", "b")]
    for thread, start, end in draw(st.lists(stretches, max_size=12)):
        story.wait(threads[thread], min(start, end) / 1e3, max(start, end) / 1e3, "wait")
    for thread, start, end in draw(st.lists(stretches, max_size=6)):
        story.span(threads[thread], min(start, end) / 1e3, max(start, end) / 1e3, "span")
    for thread, start, end in draw(st.lists(stretches, max_size=6)):
        story.hold(locks[start % 2], threads[thread], min(start, end) / 1e3, max(start, end) / 1e3)
    for thread, time, _ in draw(st.lists(stretches, max_size=3)):
        story.instant(threads[thread], time / 1e3, "mark")
    for source, left, target, right in draw(st.lists(arrows, max_size=8)):
        story.arrow("release", threads[source], min(left, right) / 1e3, threads[target], max(left, right) / 1e3)
    return story.trace()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trace=traces())
def test_any_mixture_of_stretches_imports_whole(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(export(trace))
    events = json.loads(path.read_bytes())["traceEvents"]
    engine = TraceProcessor(path)
    assert engine.stats_problems() == []
    phases = [event["ph"] for event in events]
    assert engine.query("select count(*) as n from slice") == [{"n": sum(map(phases.count, "Xbi"))}]
    assert engine.query("select count(*) as n from flow") == [{"n": phases.count("s")}]
    assert engine.query("select count(*) as n from slice where dur < 0") == [{"n": 0}]
    _assert_arrows_touch_open_slices(engine, events)


def _assert_arrows_touch_open_slices(engine: TraceProcessor, events: list[dict[str, object]]) -> None:
    """Each end lies inside the slice that Perfetto bound it to."""
    bound = engine.query(
        "select a.ts as s0, a.ts + a.dur as s1, b.ts as f0, b.ts + b.dur as f1 "
        "from flow join slice a on a.id = slice_out join slice b on b.id = slice_in order by flow.id"
    )
    sources = sorted(_nanoseconds(event) for event in events if event["ph"] == "s")
    targets = sorted(_nanoseconds(event) for event in events if event["ph"] == "f")
    assert len(bound) == len(sources) == len(targets)
    for row in bound:
        assert any(int(row["s0"] or 0) <= time < int(row["s1"] or 0) for time in sources)
        assert any(int(row["f0"] or 0) <= time < int(row["f1"] or 0) for time in targets)


def _nanoseconds(event: dict[str, object]) -> int:
    ts = event["ts"]
    assert isinstance(ts, float)
    return round(ts * 1000)
