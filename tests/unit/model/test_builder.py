"""What the model concludes from records, and above all what it does not."""

from __future__ import annotations

import pytest

from conctrace.events import kinds
from conctrace.model.marks import end_words
from conctrace.model.validate import problems
from tests.support.raw import RawImage, RawRun

ACQUIRED, TIMEOUT = kinds.ACQUIRED.number, kinds.TIMEOUT.number


@pytest.fixture
def run() -> RawRun:
    return RawRun()


@pytest.fixture
def main(run: RawRun) -> RawImage:
    run.main = {"pid": 100, "status": 0, "ended_ns": 1_000}
    return run.image(nonce=1, pid=100)


def a_lock(image: RawImage) -> None:
    """Lock 5 of three threads."""
    image.define(kinds.SITE, 4, "x.py", 1, "<module>")
    image.define(kinds.OBJECT, 5, "Lock", "", 4, "")
    for thread in range(3):
        image.row(kinds.THREAD_BEGIN, time=thread, thread=thread)
        image.define(kinds.THREAD, thread + 1, f"T{thread}", 100 + thread, 0, 0)


def test_a_wait_names_the_release_that_was_stamped_for_it(run: RawRun, main: RawImage) -> None:
    a_lock(main)
    main.row(kinds.LOCK_HOLD, time=10, duration=40, object=5, thread=1, stack=4, value=4)
    main.row(kinds.LOCK_WAIT, time=20, duration=31, object=5, thread=2, other=50, outcome=ACQUIRED)
    trace = run.build()
    (wait,) = trace.waits
    assert wait.cause is not None
    assert (wait.cause.kind, wait.cause.thread, wait.cause.time) == ("release", (1, 1), 50)
    assert wait.holder == (1, 1)
    assert [(arrow.name, arrow.source, arrow.target) for arrow in trace.arrows] == [("release", (1, 1), (1, 2))]
    assert problems(trace) == []


@pytest.mark.parametrize("other", [0, 49, 51])
def test_without_the_very_release_no_cause_is_named(run: RawRun, main: RawImage, other: int) -> None:
    """No stamp, or one of a hold that is lost: nothing is guessed from what happens to lie near."""
    a_lock(main)
    main.row(kinds.LOCK_HOLD, time=10, duration=40, object=5, thread=1)
    main.row(kinds.LOCK_WAIT, time=20, duration=31, object=5, thread=2, other=other, outcome=ACQUIRED)
    trace = run.build()
    assert trace.waits[0].cause is None
    assert trace.arrows == []


def test_the_release_of_another_lock_at_that_moment_is_no_cause(run: RawRun, main: RawImage) -> None:
    a_lock(main)
    main.define(kinds.OBJECT, 6, "Lock", "", 4, "")
    main.row(kinds.LOCK_HOLD, time=10, duration=40, object=6, thread=1)
    main.row(kinds.LOCK_WAIT, time=20, duration=31, object=5, thread=2, other=50, outcome=ACQUIRED)
    assert run.build().waits[0].cause is None


def test_who_was_let_through_holds_the_lock_before_it_can_say_so(run: RawRun, main: RawImage) -> None:
    """T1 is let through by the release at 50, but stamps its hold only at 60; T0 finds the lock taken at 55."""
    a_lock(main)
    main.row(kinds.LOCK_HOLD, time=10, duration=40, object=5, thread=2)
    main.row(kinds.LOCK_WAIT, time=20, duration=39, object=5, thread=1, other=50, outcome=ACQUIRED)
    main.row(kinds.LOCK_HOLD, time=60, duration=20, object=5, thread=1)
    main.row(kinds.LOCK_WAIT, time=55, duration=26, object=5, thread=0, other=80, outcome=ACQUIRED)
    waits = {wait.thread[1]: wait for wait in run.build().waits}
    assert waits[0].holder == (1, 1)
    assert waits[1].holder == (1, 2)


def test_a_lock_that_nobody_is_known_to_have_held_has_no_holder(run: RawRun, main: RawImage) -> None:
    a_lock(main)
    main.row(kinds.LOCK_HOLD, time=10, duration=5, object=5, thread=1)
    main.row(kinds.LOCK_WAIT, time=20, duration=9, object=5, thread=0, outcome=ACQUIRED)
    main.row(kinds.LOCK_HOLD, time=40, duration=5, object=5, thread=2)
    assert run.build().waits[0].holder is None


def test_a_wait_that_gave_up_has_a_holder_and_no_cause(run: RawRun, main: RawImage) -> None:
    a_lock(main)
    main.row(kinds.LOCK_HOLD, time=10, duration=40, object=5, thread=1)
    main.row(kinds.LOCK_WAIT, time=20, duration=10, object=5, thread=2, outcome=TIMEOUT)
    (wait,) = run.build().waits
    assert (wait.holder, wait.cause, wait.outcome) == ((1, 1), None, "timeout")


def test_a_forked_child_reads_its_parents_definitions_up_to_its_birth(run: RawRun, main: RawImage) -> None:
    main.define(kinds.TEXT, 7, "before the fork")
    main.define(kinds.TEXT, 9, "after the fork, the parent's")
    child = run.image(nonce=2, pid=101, born=50, parent=1, inherited_below=8, ppid=100)
    child.define(kinds.TEXT, 8, "the child's own")
    for number in (7, 8, 9):
        child.row(kinds.SPAN, time=60 + number, duration=1, object=number)
    assert [span.name for span in run.build().spans] == ["before the fork", "the child's own", ""]


@pytest.mark.usefixtures("main")
def test_names_of_forks_count_like_those_of_multiprocessing(run: RawRun) -> None:
    for nonce, parent, born in ((2, 1, 10), (3, 1, 20), (4, 3, 30)):
        run.image(nonce=nonce, pid=100 + nonce, born=born, parent=parent)
    assert [process.name for process in run.build().processes.values()] == [
        "MainProcess",
        "Fork-1",
        "Fork-2",
        "Fork-2:1",
    ]


def test_an_end_tells_only_what_somebody_saw(run: RawRun, main: RawImage) -> None:
    reaped = run.image(nonce=2, pid=102, born=10, parent=1)
    reaped.data.seen = {"dead": True, "died_ns": 70}
    main.row(kinds.CHILD_STATUS, time=80, other=102, value=-9)
    silent = run.image(nonce=3, pid=103, born=11, parent=1)
    silent.data.seen = {"dead": True, "died_ns": 71}
    spoke = run.image(nonce=4, pid=104, born=12, parent=1)
    spoke.data.seen = {"dead": True, "died_ns": 72}
    spoke.row(kinds.PROCESS_EXIT, time=60, value=3, outcome=kinds.EXIT_OS_EXIT.number)
    run.image(nonce=5, pid=105, born=13, parent=1)
    trace = run.build()
    ends = {process.pid: (end_words(process.end), process.end.time) for process in trace.processes.values()}
    assert ends[102] == ("killed by SIGKILL", 70)
    assert ends[103] == ("ended, status not seen", 71)
    assert ends[104] == ("exit 3", 72)
    assert ends[105] == ("still running", None)
    assert [loss.slug for loss in trace.losses] == ["open"]
    assert problems(trace) == []


def test_a_killer_is_named_only_for_the_signal_that_it_sent(run: RawRun, main: RawImage) -> None:
    for nonce, sent in ((2, 15), (3, 9)):
        child = run.image(nonce=nonce, pid=100 + nonce, born=10, parent=1)
        child.data.seen = {"dead": True, "died_ns": 90}
        main.row(kinds.PROCESS_SIGNAL, time=50, other=100 + nonce, value=sent)
        main.row(kinds.CHILD_STATUS, time=95, other=100 + nonce, value=-15)
    ends = {process.pid: process.end for process in run.build().processes.values()}
    assert ends[102].by == "MainProcess"
    assert ends[103].by is None


def test_a_pid_that_is_used_again_joins_nobody_to_a_stranger(run: RawRun, main: RawImage) -> None:
    """The first process with pid 102 was never seen; another one's child has that pid later."""
    main.row(kinds.PROCESS_FORK, time=10, duration=5, value=102)
    other = run.image(nonce=2, pid=150, born=20, parent=1)
    other.row(kinds.PROCESS_FORK, time=100, duration=5, value=102)
    run.image(nonce=3, pid=102, born=103, parent=2)
    trace = run.build()
    assert [(arrow.source[0], arrow.target[0]) for arrow in trace.arrows if arrow.target[0] == 3] == [(2, 3)]


def test_what_a_killed_process_waited_for_and_held_is_told(run: RawRun, main: RawImage) -> None:
    a_lock(main)
    run.main = {"pid": 100, "status": -9, "ended_ns": 900}
    run.names["x.py:1"] = "gate"
    main.data.threads = [
        {"thread": 1, "native_id": 101, "wait": None, "held": [{"object": 5, "site": 4, "since": 30}]},
        {
            "thread": 2, "native_id": 102, "held": [],
            "wait": {"since": 40, "other": 0, "value": 0, "object": 5, "stack": 4, "kind": kinds.LOCK_WAIT.number},
        },
    ]  # fmt: skip
    trace = run.build()
    (wait,) = trace.waits
    assert (wait.label, wait.end, wait.outcome, wait.holder) == ("Lock.acquire gate", None, "killed", (1, 1))
    assert trace.processes[1].end.doing == ("T2 was waiting in Lock.acquire gate", "T1 was holding gate")
    assert problems(trace) == []


def waiting(thread: int, since: int, number: int = 5) -> dict[str, object]:
    """The entry of a thread that waits for a lock and holds none."""
    wait = {"since": since, "other": 0, "value": 0, "object": number, "stack": 4, "kind": kinds.LOCK_WAIT.number}
    return {"thread": thread, "native_id": 100 + thread, "held": [], "wait": wait}


def holding(thread: int, since: int, number: int = 5) -> dict[str, object]:
    """The entry of a thread that holds a lock and waits for none."""
    held = {"object": number, "site": 4, "since": since}
    return {"thread": thread, "native_id": 100 + thread, "wait": None, "held": [held]}


def owning(thread: int, since: int, number: int = 5) -> dict[str, int]:
    """The entry of a lock."""
    return {"object": number, "thread": thread, "site": 4, "since": since}


@pytest.fixture
def killed(run: RawRun, main: RawImage) -> RawImage:
    """A main process that was killed, with three threads and a lock of the name gate."""
    a_lock(main)
    run.main = {"pid": 100, "status": -9, "ended_ns": 900}
    run.names["x.py:1"] = "gate"
    return main


def test_who_had_got_a_lock_and_not_yet_the_gil_is_told_to_hold_it_and_not_to_wait(
    run: RawRun, killed: RawImage
) -> None:
    killed.row(kinds.LOCK_HOLD, time=10, duration=50, object=5, thread=1, stack=4, value=4)
    killed.data.threads = [waiting(2, 40)]
    killed.data.objects = [owning(2, 70)]
    trace = run.build()
    (wait,) = trace.waits
    assert (wait.start, wait.end, wait.outcome, wait.holder) == (40, 70, "acquired", (1, 1))
    (hold,) = [hold for hold in trace.holds if hold.end is None]
    assert (hold.thread, hold.start, str(hold.site)) == ((1, 2), 70, "x.py:1 <module>")
    assert trace.processes[1].end.doing == ("T2 was holding gate",)
    assert problems(trace) == []


def test_who_waits_for_a_lock_that_it_has_itself_still_waits(run: RawRun, killed: RawImage) -> None:
    """It has had the lock since before it began to wait: a Lock that was acquired twice."""
    killed.data.threads = [waiting(2, 40)]
    killed.data.objects = [owning(2, 30)]
    trace = run.build()
    assert trace.processes[1].end.doing == ("T2 was waiting in Lock.acquire gate", "T2 was holding gate")
    assert trace.waits[0].end is None
    assert problems(trace) == []


def test_who_waits_for_another_lock_than_the_one_it_got_still_waits(run: RawRun, killed: RawImage) -> None:
    killed.define(kinds.OBJECT, 6, "RLock", "other", 4, "")
    killed.data.threads = [waiting(2, 40, 6)]
    killed.data.objects = [owning(2, 70)]
    assert run.build().processes[1].end.doing == ("T2 was waiting in RLock.acquire other", "T2 was holding gate")


def test_a_lock_that_is_in_both_tables_is_held_once_and_by_who_got_it_later(run: RawRun, killed: RawImage) -> None:
    killed.data.threads = [holding(1, 30)]
    for owner, doing in (
        (owning(1, 29), "T1 was holding gate"),
        (owning(2, 29), "T1 was holding gate"),
        (owning(2, 31), "T2 was holding gate"),
    ):
        killed.data.objects = [owner]
        trace = run.build()
        assert trace.processes[1].end.doing == (doing,)
        assert problems(trace) == []


def test_owners_and_locks_that_nothing_else_tells_of_are_left_out(run: RawRun, killed: RawImage) -> None:
    killed.data.objects = [owning(7, 70), owning(1, 70, 99)]
    trace = run.build()
    assert trace.holds == []
    assert problems(trace) == []


@pytest.mark.parametrize("table", ["threads", "objects"])
def test_a_hold_or_wait_whose_record_was_its_threads_last_word_is_over(
    run: RawRun, killed: RawImage, table: str
) -> None:
    """The process was killed between the record and taking the hold out of the table."""
    killed.row(kinds.LOCK_HOLD, time=30, duration=20, object=5, thread=1, stack=4, value=4)
    killed.row(kinds.LOCK_WAIT, time=40, duration=15, object=5, thread=2, other=50, outcome=ACQUIRED)
    killed.data.threads = [waiting(2, 40), *([holding(1, 30)] if table == "threads" else [])]
    killed.data.objects = [owning(1, 30)] if table == "objects" else []
    trace = run.build()
    assert [(hold.start, hold.end) for hold in trace.holds] == [(30, 50)]
    assert [(wait.start, wait.end) for wait in trace.waits] == [(40, 55)]
    assert trace.processes[1].end.doing == ()
    assert problems(trace) == []


def test_a_hold_that_stays_in_the_tables_though_its_thread_went_on_is_a_contradiction(
    run: RawRun, killed: RawImage
) -> None:
    killed.row(kinds.LOCK_HOLD, time=30, duration=20, object=5, thread=1, stack=4, value=4)
    killed.row(kinds.SPAN, time=60, duration=5, thread=1)
    killed.data.threads = [holding(1, 30)]
    assert problems(run.build())


def test_a_wait_that_is_recorded_and_whose_lock_is_held_is_told_once(run: RawRun, killed: RawImage) -> None:
    """Killed when it had recorded its wait and noted its hold, and had yet to take the wait out of its entry."""
    killed.row(kinds.LOCK_WAIT, time=40, duration=15, object=5, thread=2, outcome=ACQUIRED)
    killed.data.threads = [{**waiting(2, 40), "held": holding(2, 55)["held"]}]
    trace = run.build()
    assert [(wait.start, wait.end) for wait in trace.waits] == [(40, 55)]
    assert trace.processes[1].end.doing == ("T2 was holding gate",)


def test_a_wait_that_stays_in_its_entry_though_its_thread_went_on_is_told(run: RawRun, killed: RawImage) -> None:
    killed.row(kinds.LOCK_WAIT, time=40, duration=15, object=5, thread=2, outcome=ACQUIRED)
    killed.row(kinds.SPAN, time=60, duration=5, thread=2)
    killed.data.threads = [waiting(2, 40)]
    assert run.build().processes[1].end.doing == ("T2 was waiting in Lock.acquire gate",)


def test_the_python_recorder_is_called_a_stopgap_unless_it_was_asked_for(run: RawRun, main: RawImage) -> None:
    def told() -> bool:
        return run.build().facts.native_missing

    assert not told(), "nobody knows what was asked for in a trace of before that was noted"
    run.plan["recorder_asked"] = ""
    assert told()
    run.plan["recorder_asked"] = "python"
    assert not told()
    run.plan["recorder_asked"] = ""
    main.data.facts["recorder"] = "native"
    assert not told()


def test_totals_know_how_many_of_them_have_a_record(run: RawRun, main: RawImage) -> None:
    a_lock(main)
    main.row(kinds.LOCK_HOLD, time=10, duration=5, object=5, thread=1, stack=4)
    counts = {"holds": 8, "hold_ns": 40, "hold_max_ns": 9, "waits": 0, "wait_ns": 0, "wait_max_ns": 0, "failed": 0}
    main.data.totals = [{"object": 5, "thread": 1, "site": 4, **counts}]
    trace = run.build()
    assert [(row.holds, row.recorded) for row in trace.totals] == [(8, 1)]
    assert [(loss.slug, loss.count) for loss in trace.losses] == [("summarised", 7)]


@pytest.mark.parametrize("went_on", [False, True])
def test_a_hold_that_was_recorded_and_not_yet_counted_is_counted(run: RawRun, killed: RawImage, went_on: bool) -> None:
    """Its thread was killed between the two; if that thread went on, totals and records contradict each other."""
    killed.row(kinds.LOCK_HOLD, time=10, duration=5, object=5, thread=1, stack=4)
    killed.row(kinds.LOCK_HOLD, time=20, duration=9, object=5, thread=1, stack=4)
    if went_on:
        killed.row(kinds.SPAN, time=60, duration=5, thread=1)
    counts = {"holds": 1, "hold_ns": 5, "hold_max_ns": 5, "waits": 0, "wait_ns": 0, "wait_max_ns": 0, "failed": 0}
    killed.data.totals = [{"object": 5, "thread": 1, "site": 4, **counts}]
    trace = run.build()
    (row,) = trace.totals
    assert (row.holds, row.hold_ns, row.hold_max_ns) == ((1, 5, 5) if went_on else (2, 14, 9))
    assert bool(problems(trace)) == went_on


def test_what_was_lost_is_said(run: RawRun, main: RawImage) -> None:
    main.data.counters["dropped"] = 4
    main.data.off_reason = "the collector is gone"
    main.data.seen = {"dead": True, "died_ns": 5, "holes": 2, "lost_segments": 1}
    main.row(kinds.PROCESS_FORK, time=10, duration=5, value=555)
    run.complete = False
    slugs = [loss.slug for loss in run.build().losses]
    assert slugs == ["incomplete", "switched-off", "dropped", "holes", "lost-segments", "not-seen"]


def spans_of(run: RawRun) -> dict[str, tuple[int, int | None, str]]:
    return {span.name: (span.start, span.end, span.apart) for span in run.build().spans}


def a_span(image: RawImage, name: str, start: int, end: int | None, thread: int = 0) -> None:
    number = 1000 + len(image.data.definitions.get(kinds.TEXT.number, {}))
    image.define(kinds.TEXT, number, name)
    image.row(kinds.SPAN_BEGIN, time=start, object=number)
    if end is not None:
        image.row(kinds.SPAN, time=start, duration=end - start, object=number, thread=thread)


def test_a_span_that_was_never_left_is_open(run: RawRun, main: RawImage) -> None:
    a_span(main, "left", 10, 20)
    a_span(main, "open", 30, None)
    assert spans_of(run) == {"left": (10, 20, ""), "open": (30, None, "")}
    assert run.build().processes[1].end.doing == ("MainThread was in open",)
    assert problems(run.build()) == []


def test_of_two_spans_that_cross_the_later_one_stands_apart(run: RawRun, main: RawImage) -> None:
    a_span(main, "around", 5, 100)
    a_span(main, "first", 10, 30)
    a_span(main, "second", 20, 40)
    a_span(main, "inside", 22, 24)
    assert {name: apart for name, (_, _, apart) in spans_of(run).items()} == {
        "around": "", "first": "", "second": "crossing", "inside": "",
    }  # fmt: skip
    assert problems(run.build()) == []


def test_a_span_entered_in_one_thread_and_left_in_another_stands_apart(run: RawRun, main: RawImage) -> None:
    main.row(kinds.THREAD_BEGIN, time=5, thread=1)
    a_span(main, "wanders", 10, 30, thread=1)
    assert spans_of(run) == {"wanders": (10, 30, "crossing")}


def test_the_life_of_a_coroutine_stands_apart_from_its_steps(run: RawRun, main: RawImage) -> None:
    main.define(kinds.TEXT, 7, "fetch")
    main.row(kinds.LIFE_BEGIN, time=10, object=7, value=9)
    for time in (11, 31):
        main.row(kinds.SPAN_BEGIN, time=time, object=7, value=9)
        main.row(kinds.SPAN, time=time, duration=5, object=7, value=9)
    main.row(kinds.LIFE_END, time=40, object=7, value=9, outcome=kinds.CANCELLED.number)
    main.row(kinds.LIFE_BEGIN, time=50, object=7, value=10)
    found = [(span.start, span.end, span.apart, span.outcome) for span in run.build().spans]
    assert found == [
        (10, 40, "life", "cancelled"), (11, 16, "", ""), (31, 36, "", ""), (50, None, "life", ""),
    ]  # fmt: skip
    assert problems(run.build()) == []
