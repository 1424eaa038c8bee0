"""Each invariant is noticed when it is broken, and by the check that is about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conctrace.model import validate
from conctrace.model.trace import Arrow, Cause, End, Functions, LaneCalls, Totals, Trace
from tests.support.traces import Story, moment, site

if TYPE_CHECKING:
    from collections.abc import Callable


def good() -> Trace:
    """Two processes; a thread of the first waits for a lock that another holds."""
    story = Story()
    main = story.process("MainProcess", 100, end=1000)
    other = story.thread(main, "other", 102, 10, 900)
    story.process("Process-1", 101, start=20, end=500, parent=main[0])
    lock = story.thing(main, "Lock", "lock", site(3))
    story.hold(lock, other, 50, 200)
    story.wait(main, 60, 201, "Lock.acquire lock", lock)
    return story.trace()


def test_a_good_trace_has_no_problems() -> None:
    assert validate.problems(good()) == []


def _moved_wait(trace: Trace, **changes: Any) -> Trace:
    return trace._replace(waits=[trace.waits[0]._replace(**changes)])


def _orphan(trace: Trace) -> Trace:
    key = list(trace.processes)[1]
    return trace._replace(processes={**trace.processes, key: trace.processes[key]._replace(parent=77)})


def _dead_without_time(trace: Trace) -> Trace:
    key = list(trace.processes)[1]
    return trace._replace(processes={**trace.processes, key: trace.processes[key]._replace(end=End("exited", None, 0))})


def _thread_outlives(trace: Trace) -> Trace:
    key = list(trace.threads)[1]
    return trace._replace(threads={**trace.threads, key: trace.threads[key]._replace(end=moment(2000))})


def _crossing(trace: Trace) -> Trace:
    wait = trace.waits[0]
    return trace._replace(waits=[wait, wait._replace(start=moment(100), end=moment(300))])


def _two_holders(trace: Trace) -> Trace:
    hold = trace.holds[0]
    return trace._replace(holds=[hold, hold._replace(start=moment(100), end=moment(250))])


def _effect_first(trace: Trace) -> Trace:
    wait = trace.waits[0]
    return _moved_wait(trace, cause=Cause("release", wait.thread, moment(300), site(1)))


def _stale_release(trace: Trace) -> Trace:
    wait = trace.waits[0]
    return _moved_wait(trace, cause=Cause("release", wait.thread, moment(30), site(1)))


def _backwards(trace: Trace) -> Trace:
    first, second = list(trace.threads)[:2]
    return trace._replace(arrows=[Arrow("release", first, moment(300), second, moment(200))])


def _impossible_total(trace: Trace) -> Trace:
    hold = trace.holds[0]
    return trace._replace(totals=[Totals(hold.object, hold.thread, None, 1, 5, 5, 0, 0, 0, 2, 0)])


def _backward_call(trace: Trace) -> Trace:
    calls = LaneCalls([moment(20)], [moment(10)], [0], 100)
    return trace._replace(functions=Functions(True, (site(1),), {next(iter(trace.threads)): calls}))


BROKEN: list[tuple[Callable[[Trace], Trace], object]] = [
    (_orphan, validate.processes_are_a_tree),
    (_dead_without_time, validate.processes_end_after_they_begin),
    (_thread_outlives, validate.threads_live_within_their_process),
    (lambda trace: _moved_wait(trace, start=moment(-5)), validate.slices_lie_within_their_thread),
    (_backward_call, validate.calls_are_in_order),
    (_crossing, validate.slices_of_a_thread_nest),
    (_two_holders, validate.holds_of_a_lock_exclude_each_other),
    (lambda trace: _moved_wait(trace, object=(1, 999)), validate.things_are_known),
    (_effect_first, validate.causes_come_before_effects),
    (_stale_release, validate.causes_come_before_effects),
    (_backwards, validate.arrows_go_forward),
    (_impossible_total, validate.totals_cover_what_is_recorded),
    (lambda trace: trace._replace(facts=trace.facts._replace(end=moment(100))), validate.everything_lies_in_the_run),
]


@pytest.mark.parametrize(("broken", "check"), BROKEN)
def test_a_broken_invariant_is_found(broken: Callable[[Trace], Trace], check: Callable[[Trace], object]) -> None:
    trace = broken(good())
    assert list(check(trace)), "its own check sees it"  # type: ignore[call-overload]
    assert validate.problems(trace)


def test_each_check_has_a_trace_that_breaks_it() -> None:
    assert {check for _, check in BROKEN} == set(validate.CHECKS)
