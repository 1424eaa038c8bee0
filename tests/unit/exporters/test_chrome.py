"""The Chrome JSON, as Perfetto's own engine understands it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

from conctrace.exporters.chrome.export import export, export_compressed
from conctrace.exporters.chrome.prefix import is_ours, is_ours_compressed
from conctrace.model.trace import End
from tests.support.stories import contended_lock
from tests.support.traces import ORIGIN, Story, moment, site

if TYPE_CHECKING:
    from collections.abc import Callable

    from conctrace.model.trace import Trace
    from tests.support.perfetto import Row, TraceProcessor

    Load = Callable[[Trace], TraceProcessor]

SLICES = """
    select slice.name, slice.category, slice.ts, slice.dur, slice.depth, thread.tid, thread.name as thread
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid) order by ts, depth
"""
ARROWS = """
    select cause.name as cause, effect.name as effect, args.string_value as name
    from flow join slice as cause on cause.id = slice_out join slice as effect on effect.id = slice_in
    left join args on args.arg_set_id = flow.arg_set_id and args.key = 'name'
"""
HOLDS = """
    select slice.name, slice.ts, slice.dur, slice.depth, track.name as track, process.pid
    from slice join process_track as track on slice.track_id = track.id join process using (upid) order by ts, depth
"""


def named(rows: list[Row], name: str) -> Row:
    """The one row of that name."""
    (row,) = [row for row in rows if row["name"] == name]
    return row


def args_of(engine: TraceProcessor, name: str) -> dict[str, object]:
    """The args of the slices of that name, without Perfetto's prefix."""
    rows = engine.query(
        "select key, display_value from args join slice using (arg_set_id) "
        f"where slice.name = '{name}' and key like 'args.%'"
    )
    return {str(row["key"]).removeprefix("args."): row["display_value"] for row in rows}


def test_a_contended_lock_reads_as_it_happened(perfetto: Load) -> None:
    slices = perfetto(contended_lock().trace()).query(SLICES)
    told = [(row["name"], row["category"], row["ts"], row["dur"], row["depth"]) for row in slices if row["tid"] == 4244]
    assert told == [
        ("work", "thread", 150_000, 750_000, 0),
        ("Lock.acquire lock", "wait", 200_000, 400_000, 1),
        ("woken by Thread-1 (work)", "flow", 599_999, 1, 2),
    ]
    assert named(slices, "race.py")["dur"] == 1_000_000


def test_arrows_leave_and_reach_the_slices_meant(perfetto: Load) -> None:
    """Also those that leave a thread's life after a wait or an instant, where Perfetto's stack is stale."""
    rows = perfetto(contended_lock().trace()).query(ARROWS)
    assert sorted((row["name"], row["cause"], row["effect"]) for row in rows) == [
        ("end", "work", "woken by Thread-1 (work)"),
        ("end", "work", "woken by Thread-2 (work)"),
        ("release", "release", "woken by Thread-1 (work)"),
        ("start", "Process.start Process-1", "work"),
        ("start", "Thread.start Thread-1", "work"),
        ("start", "Thread.start Thread-2", "work"),
    ]


def test_the_end_of_an_arrow_lies_at_the_end_of_the_wait_that_it_ends(perfetto: Load) -> None:
    rows = perfetto(contended_lock().trace()).query(
        "select wait.name, wait.ts + wait.dur - woken.ts as before_its_end from flow "
        "join slice woken on woken.id = slice_in join slice wait on wait.id = woken.parent_id"
    )
    assert sorted((row["name"], row["before_its_end"]) for row in rows) == [
        ("Lock.acquire lock", 1), ("Thread.join Thread-1", 1), ("Thread.join Thread-2", 1),
    ]  # fmt: skip


def test_an_arrow_is_not_turned_round_when_the_waiter_was_there_first(perfetto: Load) -> None:
    """Perfetto takes the slice that began earlier for the cause."""
    story = Story(end=100)
    main = story.process("MainProcess", 10, 0, 100)
    late = story.thread(main, "late", 11, 20, 90)
    story.wait(main, 10, 60, "Lock.acquire lock")
    story.span(late, 30, 80, "load")
    story.arrow("release", late, 60, main, 60)
    (row,) = perfetto(story.trace()).query(ARROWS)
    assert (row["cause"], row["effect"]) == ("load", "woken by late")


def test_an_arrow_that_leaves_after_an_instant_leaves_the_slice_around_it(perfetto: Load) -> None:
    story = Story(end=100)
    main = story.process("MainProcess", 10, 0, 100)
    other = story.thread(main, "other", 11, 0, 100)
    story.instant(main, 20, "half way")
    story.wait(other, 10, 50, "Lock.acquire lock")
    story.arrow("release", main, 50, other, 50)
    (row,) = perfetto(story.trace()).query(ARROWS)
    assert (row["cause"], row["effect"]) == ("release", "woken by MainThread")


def test_holds_of_a_lock_are_one_track_with_its_name(perfetto: Load) -> None:
    rows = perfetto(contended_lock().trace()).query(HOLDS)
    assert [(row["name"], row["ts"], row["dur"], row["track"]) for row in rows] == [
        ("Lock lock", 120_000, 770_000, "Lock lock"),
        ("held by Thread-1 (work)", 120_000, 480_000, "Lock lock"),
        ("held by Thread-2 (work)", 600_000, 290_000, "Lock lock"),
    ]


def test_two_locks_of_the_same_name_have_tracks_of_their_own(perfetto: Load) -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    for line in (3, 4):
        story.hold(story.thing(main, "Lock", "self._lock", site(line)), main, 10, 20)
    rows = perfetto(story.trace()).query(HOLDS)
    assert {row["track"] for row in rows} == {"Lock self._lock", "Lock self._lock #2"}


def test_a_wait_says_where_who_held_and_who_woke(perfetto: Load) -> None:
    args = args_of(perfetto(contended_lock().trace()), "Lock.acquire lock")
    assert args["woken_by"] == "Thread-1 (work) in MainProcess 4242"
    assert args["woken_at"] == "/home/ann/proj/race.py:10 work"
    assert args["holder_site"] == "/home/ann/proj/race.py:8 work"
    assert args["object_site"] == "/home/ann/proj/race.py:3 <module>"
    assert args["core"] == "1"


def test_a_wait_says_how_long_it_was_for_the_gil_if_that_was_measured(perfetto: Load) -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    story.wait(main, 10, 20, "measured", gil_wait_ns=12_345)
    story.wait(main, 30, 40, "not measured")
    engine = perfetto(story.trace())
    assert args_of(engine, "measured")["gil_wait_ns"] == "12345"
    assert "gil_wait_ns" not in args_of(engine, "not measured")


def test_a_wait_that_its_process_did_not_survive_ends_with_it(perfetto: Load) -> None:
    engine = perfetto(contended_lock().trace())
    (row,) = [row for row in engine.query(SLICES) if row["tid"] == 4250 and row["category"] == "wait"]
    assert (row["ts"], row["dur"]) == (310_000, 490_000)
    outcomes = engine.query("select display_value from args where key = 'args.outcome' order by 1")
    assert {"display_value": "killed"} in outcomes


def test_processes_and_threads_have_their_names_once(perfetto: Load) -> None:
    engine = perfetto(contended_lock().trace())
    names = engine.query("select pid, name from process where upid > 0 order by pid")
    assert [tuple(row.values()) for row in names] == [(4242, "MainProcess 4242"), (4250, "Process-1 4250")]
    threads = engine.query("select tid, name from thread where utid > 0 order by tid")
    assert [row["name"] for row in threads] == ["MainThread", "Thread-1 (work)", "Thread-2 (work)", "MainThread"]


def test_two_images_with_one_pid_are_two_processes(perfetto: Load) -> None:
    story = Story()
    first = story.process("before", 10, 0, 100, End("replaced", moment(100)))
    second = story.process("after", 10, 100, 1000)
    story.thread(first, "t", 11, 10, 90)
    story.thread(second, "t", 11, 110, 900)
    story.span(first, 10, 20, "first")
    story.span(second, 110, 120, "second")
    engine = perfetto(story.trace())
    rows = engine.query(
        "select process.name, slice.name as slice from slice join thread_track on track_id = thread_track.id "
        "join thread using (utid) join process using (upid) where category = 'span' order by slice"
    )
    assert [tuple(row.values()) for row in rows] == [("before 10", "first"), ("after 10", "second")]
    assert engine.query("select count(*) as n from process where upid > 0") == [{"n": 2}]
    assert engine.query("select max(tid) < 2147483648 as small from thread") == [{"small": 1}]


def test_hidden_processes_are_shown_only_on_request() -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    helper = story.process("forkserver", 11, 10, 900, hidden=True)
    story.arrow("fork", main, 5, helper, 10)
    assert b"forkserver" not in export(story.trace())
    assert b"forkserver 11" in export(story.trace(), internals=True)
    assert json.loads(export(story.trace()))["otherData"]["export"]["arrows_left_out"] == 0


def test_slices_that_overlap_by_a_nanosecond_are_cut_and_counted(perfetto: Load) -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    story.wait(main, 10, 20.001, "first")
    story.wait(main, 20, 30, "second")
    rows = perfetto(story.trace()).query(SLICES)
    assert (named(rows, "second")["ts"], named(rows, "second")["dur"]) == (20_000, 1)
    assert json.loads(export(story.trace()))["otherData"]["export"]["slices_cut"] == 1


def test_an_arrow_from_nowhere_is_left_out_and_counted(perfetto: Load) -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 100)
    other = story.process("later", 11, 500, 900)
    story.arrow("release", other, 50, main, 60)
    trace = story.trace()
    assert perfetto(trace).query(ARROWS) == []
    assert json.loads(export(trace))["otherData"]["export"]["arrows_left_out"] == 1


def test_counters_are_called_what_the_program_called_them(perfetto: Load) -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    story.counter(main, 10, "q depth", 3)
    story.counter(main, 20, "q depth", 2.5)
    story.counter(main, 30, "q depth", float("nan"))
    rows = perfetto(story.trace()).query(
        "select counter.ts, counter.value, track.name from counter join counter_track as track on track.id = track_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        (10_000, 3.0, "q depth"), (20_000, 2.5, "q depth"), (30_000, 0.0, "q depth"),
    ]  # fmt: skip


def test_hostile_names_come_through_unchanged(perfetto: Load) -> None:
    story = Story()
    main = story.process("Main\"Process\\ \n'</script>", 10, 0, 1000)
    story.span(main, 1, 2, "a\x00b\udc80 ünï 💥", args={"site": "mine", 'k"': "v\n"})
    story.span(main, 3, 4, "", stack=(site(1),), args={"site": "mine"})
    engine = perfetto(story.trace())
    assert engine.query("select count(*) as n from slice where category = 'span'") == [{"n": 2}]
    assert json.loads(export(story.trace()))["traceEvents"][0]["args"]["name"] == "Main\"Process\\ \n'</script> 10"


def test_the_programs_arguments_do_not_hide_ours(perfetto: Load) -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    story.span(main, 3, 4, "load", stack=(site(1),), args={"site": "mine", "n": "3"})
    args = args_of(perfetto(story.trace()), "load")
    assert (args["site"], args["site_"], args["n"]) == ("/home/ann/proj/race.py:1 work", "mine", "3")


def test_timestamps_can_be_turned_back_into_the_monotonic_clock() -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    story.span(main, 3.007, 4, "load")
    text = export(story.trace())
    about = json.loads(text)["otherData"]
    assert (about["origin_ns"], about["clock"], about["schema"]) == (ORIGIN, "CLOCK_MONOTONIC", 1)
    assert b'"ts":3.007,"dur":0.993,"name":"load"' in text


def test_losses_are_in_the_file() -> None:
    (loss,) = json.loads(export(contended_lock().trace()))["otherData"]["losses"]
    assert loss == {
        "slug": "summarised",
        "count": 12,
        "sentence": "12 holds are in the totals only.",
        "severity": "summarised",
    }


def test_the_same_trace_gives_the_same_compressed_bytes() -> None:
    trace = contended_lock().trace()
    packed = export_compressed(trace)
    assert packed == export_compressed(trace)
    assert gzip.decompress(packed) == export(trace)


def test_only_files_of_ours_are_taken_for_ours() -> None:
    trace = contended_lock().trace()
    assert is_ours(export(trace)[:4096])
    assert is_ours_compressed(export_compressed(trace)[:4096])
    for foreign in (b'{"traceEvents":[]}', b"", b"\x1f\x8b", gzip.compress(b'{"a":1}'), b"PK\x03\x04"):
        assert not is_ours(foreign)
        assert not is_ours_compressed(foreign)


def test_an_empty_trace_is_still_a_trace(perfetto: Load) -> None:
    assert perfetto(Story().trace()).query(SLICES) == []
