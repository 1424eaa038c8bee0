"""Whatever the stamps of a run look like, Perfetto takes the whole export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conctrace.exporters.chrome.export import export
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
        threads.append(
            story.thread(
                main, f"Thread-{number}", 100 + number, start / 1e3, None if end is None else max(start, end) / 1e3
            )
        )
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


def _assert_arrows_touch_open_slices(engine: TraceProcessor, events: list[dict[str, Any]]) -> None:
    """Each end lies inside the slice that Perfetto bound it to, and no arrow is turned round."""
    bound: list[dict[str, Any]] = engine.query(
        "select a.ts as s0, a.ts + a.dur as s1, b.ts as f0, b.ts + b.dur as f1, c.tid as source, d.tid as target "
        "from flow join slice a on a.id = slice_out join slice b on b.id = slice_in "
        "join thread_track e on e.id = a.track_id join thread_track f on f.id = b.track_id "
        "join thread c on c.utid = e.utid join thread d on d.utid = f.utid"
    )
    ends = {event["id"]: [event] for event in events if event["ph"] == "s"}
    for event in events:
        if event["ph"] == "f":
            ends[event["id"]].append(event)
    told = [(s["tid"], _nanoseconds(s), f["tid"], _nanoseconds(f)) for s, f in ends.values()]
    assert sorted((row["source"], row["target"]) for row in bound) == sorted((s, f) for s, _, f, _ in told)
    for source, left, target, right in told:
        assert left <= right
        assert any(
            (row["source"], row["target"]) == (source, target)
            and row["s0"] <= left < row["s1"]
            and row["f0"] <= right < row["f1"]
            for row in bound
        )


def _nanoseconds(event: dict[str, Any]) -> int:
    time: float = event["ts"]
    return round(time * 1000)
