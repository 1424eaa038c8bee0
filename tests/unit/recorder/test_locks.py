"""Locks that record: totals, budget, what is held and waited for, and a lock state that is right whatever happens."""

from __future__ import annotations

import abc
import contextlib
import copy
import gc
import json
import os
import pickle
import re
import signal
import sys
import threading
import time
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from conctrace._stdlib import LockType, RLockType
from conctrace.events import kinds
from conctrace.recorder import locks
from conctrace.recorder.whole import whole
from conctrace.settings import BUDGET_FIRST, BUDGET_PER_SECOND, SHORT_NS
from tests.support.recording import Session, running, twin_only
from tests.support.segments import Steps, child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ["Lock", "RLock"]
both_kinds = pytest.mark.parametrize("kind", KINDS)


def new(kind: str) -> Any:
    """A traced lock made by this file, as a program makes one."""
    make = running().new_rlock if kind == "RLock" else running().new_lock
    return make(sys._getframe())


def counts(session: Session) -> dict[str, int]:
    """The totals of the only lock, over threads and sites."""
    entries = list(session.image().totals().values())
    assert len({key[0] for key in session.image().totals()}) == 1
    return {name: (max if "max" in name else sum)(entry[name] for entry in entries) for name in entries[0]}


# Totals and budget ---------------------------------------------------------------------------------------------------


@both_kinds
def test_totals_are_exact_and_lie_within_the_programs_own_stamps(session: Session, kind: str) -> None:
    lock = new(kind)
    least = most = 0
    for _ in range(3000):
        before = time.monotonic_ns()
        lock.acquire()
        inside = time.monotonic_ns()
        least -= inside
        lock.release()
        most += time.monotonic_ns() - before
        least += inside
    totals = counts(session)
    assert (totals["holds"], totals["waits"], totals["failed"]) == (3000, 0, 0)
    assert least <= totals["hold_ns"] <= most
    assert totals["hold_ns"] / 3000 <= totals["hold_max_ns"] <= totals["hold_ns"]


@both_kinds
def test_the_first_thousand_holds_have_records_then_so_many_a_second(session: Session, kind: str) -> None:
    """By the records' own times, for two locks, each used in two places, and longer than three seconds."""
    locks_ = [new(kind), new(kind)]
    until = time.monotonic() + 3.2
    rounds = 0
    while rounds < BUDGET_FIRST or time.monotonic() < until:
        for lock in locks_:
            with lock:
                pass
            with lock:
                pass
        rounds += 2
    image = session.image()
    # A hold that took long has a record in any case.
    short = [row for row in image.records(kinds.LOCK_HOLD) if row["duration"] < SHORT_NS]
    numbers = {row["object"] for row in short}
    assert len(numbers) == 2
    beyond = []
    for number in numbers:
        assert sum(entry["holds"] for key, entry in image.totals().items() if key[0] == number) == rounds
        ends = [row["time"] + row["duration"] for row in short if row["object"] == number]
        # One by one from the start: what ended before the last of the first thousand is all there is.
        assert len(ends) >= BUDGET_FIRST
        beyond += ends[BUDGET_FIRST:]
    beyond.sort()
    assert rounds > BUDGET_FIRST + BUDGET_PER_SECOND
    # Seconds begin with the first hold after the last one's end, whatever the hour is.
    seconds: list[list[int]] = []
    for end in beyond:
        if not seconds or end >= seconds[-1][0] + 10**9:
            seconds.append([])
        seconds[-1].append(end)
    # Each used up all it had, so the next has half as many.
    assert [len(second) for second in seconds[:3]] == [
        BUDGET_PER_SECOND,
        BUDGET_PER_SECOND // 2,
        BUDGET_PER_SECOND // 4,
    ]


@pytest.mark.parametrize(("detail", "recorded"), [("all", 3 * BUDGET_FIRST), ("waits", 0)])
def test_the_detail_says_which_holds_have_records(
    tmp_path: Path, recorder_name: str, detail: str, recorded: int
) -> None:
    session = Session(tmp_path, recorder_name, detail=detail)
    session.record()
    try:
        lock = new("Lock")
        for _ in range(3 * BUDGET_FIRST):
            with lock:
                pass
        short = [row for row in session.image().records(kinds.LOCK_HOLD) if row["duration"] < SHORT_NS]
        long = [row for row in session.image().records(kinds.LOCK_HOLD) if row["duration"] >= SHORT_NS]
        assert len(short) == (recorded - len(long) if recorded else 0)
        assert counts(session)["holds"] == 3 * BUDGET_FIRST
    finally:
        session.close()


@both_kinds
def test_locks_of_the_standard_library_are_raw_and_so_are_all_when_nothing_is_recorded(
    session: Session, kind: str
) -> None:
    raw = LockType if kind == "Lock" else RLockType
    make = running().new_lock if kind == "Lock" else running().new_rlock
    seen: list[Any] = []

    class OfTheLibrary(threading.Thread):
        # Called by threading.py: its frame is the library's.
        def run(self) -> None:
            seen.append(make(sys._getframe(1)))

    thread = OfTheLibrary()
    thread.start()
    thread.join()
    assert type(seen[0]) is raw
    assert type(make(sys._getframe())) is not raw
    assert isinstance(make(sys._getframe()), raw)
    if kind == "Lock":
        assert type(make(sys._getframe())) is running().lock_type
    running().switch_off("over")
    assert type(make(sys._getframe())) is raw
    assert session.image().count("errors") == 0


def test_an_acquire_that_does_not_wait_is_counted_as_failed(session: Session) -> None:
    lock = new("Lock")
    with lock:
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.001)
    totals = counts(session)
    assert (totals["holds"], totals["waits"], totals["failed"]) == (1, 1, 2)
    outcomes = [row["outcome"] for row in session.image().records(kinds.LOCK_WAIT)]
    assert outcomes == [kinds.TIMEOUT.number] * 2


def test_the_totals_of_a_lock_that_is_gone_are_flushed_and_its_entry_is_free(session: Session) -> None:
    for round_ in range(500):
        lock = new("Lock")
        for _ in range(round_ % 3 + 1):
            with lock:
                pass
        del lock
    gc.collect()
    image = session.image()
    flushed = list(image.all_definitions(kinds.TOTALS))
    assert sorted(int(fields[3]) for _, fields in flushed) == sorted(index % 3 + 1 for index in range(500))
    assert len(image.living_totals()) <= 1
    assert len(image._names(".totals.")) == 1


# What is held, what is waited for --------------------------------------------------------------------------------------


def held(session: Session) -> list[int]:
    """What the main thread holds, by number."""
    return [number for number, _, _ in session.image().threads()[0]["held"]]


def test_held_locks_are_shown_outermost_first_also_when_let_go_out_of_order(session: Session) -> None:
    first, second, third = (new("Lock") for _ in range(3))
    for lock in (first, second, third):
        lock.acquire()
    one, two, three = held(session)
    second.release()
    assert held(session) == [one, three]
    third.release()
    second.acquire()
    assert held(session) == [one, two]
    first.release()
    second.release()
    assert held(session) == []


def test_locks_held_deeper_than_there_is_room_for_are_counted(session: Session) -> None:
    nest = [new("Lock") for _ in range(40)]
    for lock in nest:
        lock.acquire()
    shown = held(session)
    assert 20 <= len(shown) < 40
    assert session.image().count("held_dropped") == 40 - len(shown)
    for lock in reversed(nest):
        lock.release()
    assert held(session) == []


def test_another_process_sees_who_waits_and_who_holds_while_it_lasts(session: Session) -> None:
    def block(steps: Steps) -> None:
        lock = new("Lock")
        lock.acquire()
        threading.Thread(target=lock.acquire, daemon=True).start()
        while not any(entry["wait"] for entry in session.image().threads().values()):
            time.sleep(0)
        steps.pause()

    process = child(block)
    process.step()
    threads = session.image(process.pid).threads()
    (number,) = (number for number, _, _ in threads[0]["held"])
    assert (threads[1]["wait"], threads[1]["object"]) == (kinds.LOCK_WAIT.number, number)
    assert 0 < threads[1]["since"] <= time.monotonic_ns()
    process.close()
    assert session.image(process.pid).threads()[1]["wait"] == kinds.LOCK_WAIT.number


# Sites ---------------------------------------------------------------------------------------------------------------


def test_functions_made_and_dropped_have_sites_of_their_own(session: Session) -> None:
    lock = new("Lock")
    for index in range(2000):
        scope: dict[str, Any] = {"lock": lock}
        exec(compile(f"def f{index}():\n    with lock: pass\nf{index}()", f"made-{index}", "exec"), scope)
    places = {fields[0] for fields in session.image().definitions(kinds.SITE).values()}
    assert {f"made-{index}" for index in range(2000)} <= places
    assert len(session.image().totals()) == 2000


# Signals -------------------------------------------------------------------------------------------------------------


class TickError(Exception):
    pass


def is_free(lock: Any) -> bool:
    """Whether another thread does not get it."""
    got: list[bool] = []

    def attempt() -> None:
        got.append(lock.acquire(False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return got[0]


@twin_only
@pytest.mark.parametrize("step", ["monotonic_ns", "getframe"])
@both_kinds
def test_what_a_handler_raises_in_the_middle_passes_and_leaves_the_lock_free(
    session: Session, kind: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: Any) -> None:
        raise TickError

    lock = new(kind)
    with lock:
        pass
    with monkeypatch.context() as patched:
        patched.setattr(locks, step, raising)
        with pytest.raises(TickError):
            lock.__enter__()
        with pytest.raises(TickError):
            lock.acquire()
    assert is_free(lock)
    if step == "monotonic_ns":
        lock.acquire()
        with monkeypatch.context() as patched:
            patched.setattr(locks, step, raising)
            with pytest.raises(TickError):
                lock.release()
        assert is_free(lock)
    assert held(session) == []
    assert session.image().count("errors") == 0


@both_kinds
def test_alarms_that_raise_leave_no_lock_taken(session: Session, kind: str) -> None:
    def tick(*_: Any) -> None:
        raise TickError

    # A function, because CPython 3.13 has jumps inside a `try` that its `except` does not cover.
    def hammer(after: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, after)
        while True:
            with lock, lock if kind == "RLock" else contextlib.nullcontext():
                pass

    lock = new(kind)
    gc.collect()  # finalizers of an earlier test's recorder would swallow what the handler raises
    before = signal.signal(signal.SIGALRM, tick)
    ticks = 0
    try:
        while ticks < 300:
            with pytest.raises(TickError):
                hammer(0.00005 + (ticks % 7) * 0.00003)
            ticks += 1
            assert lock.acquire(timeout=5)
            lock.release()
            assert is_free(lock)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert session.image().count("errors") == 0
    assert running().alive


def test_condition_over_a_traced_lock_works_and_is_no_failed_acquire(session: Session) -> None:
    for kind in KINDS:
        condition = threading.Condition(new(kind))
        ready: list[int] = []

        def wait(condition: threading.Condition = condition, ready: list[int] = ready) -> None:
            with condition:
                condition.wait_for(lambda: bool(ready), 10)
                ready.append(2)

        thread = threading.Thread(target=wait)
        thread.start()
        with condition:
            ready.append(1)
            condition.notify()
        thread.join()
        assert ready == [1, 2]
    assert session.image().count("errors") == 0


@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 looks for no signal before a try")
def test_a_whole_function_runs_to_its_try_although_a_signal_is_pending() -> None:
    seen = []

    def enter() -> None:
        try:
            seen.append("entered")
        finally:
            seen.append("left")

    plain = types.FunctionType(enter.__code__, globals(), closure=enter.__closure__)
    with pytest.raises(TypeError, match="cells"):
        whole(plain)


def test_fork_while_another_thread_holds_a_lock_goes_as_with_a_bare_one(session: Session) -> None:
    lock = new("Lock")
    lock.acquire()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            lock.release()
            with lock:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert held(session) == [next(iter(session.image().totals()))[0]]
    lock.release()
    assert held(session) == []
    assert counts(session)["holds"] == 1


def test_threads_that_have_ended_leave_nothing_but_their_totals(session: Session) -> None:
    lock = new("Lock")

    def use() -> None:
        with lock:
            pass

    for _ in range(300):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    image = session.image()
    assert len(image.definitions(kinds.THREAD)) >= 300
    assert len(image.records(kinds.THREAD_END)) >= 299
    assert len(image.living_totals()) <= 2
    assert len(image.threads()) <= 3
    assert sum(entry["holds"] for entry in image.totals().values()) >= 299


@both_kinds
def test_at_the_recursion_limit_no_lock_stays_taken(session: Session, kind: str) -> None:
    lock = new(kind)

    def descend(frames: int) -> None:
        if frames:
            descend(frames - 1)
        else:
            with lock:
                pass

    refused = 0
    for frames in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        try:
            descend(frames)
        except RecursionError:
            refused += 1
        assert is_free(lock), frames
    assert refused > 0
    assert session.image().count("errors") == 0


# Their types ---------------------------------------------------------------------------------------------------------


def said(call: Callable[[], Any]) -> str:
    """What a call gives or raises, less addresses and thread identifiers."""
    try:
        text = str(call())
    except TypeError as error:
        text = f"TypeError: {error}"
    return re.sub(r"0x[0-9a-f]+|owner=[1-9][0-9]*", "…", text)


@both_kinds
def test_calling_the_type_gives_or_refuses_what_it_does_bare(session: Session, kind: str) -> None:
    """Before 3.13 no Lock can be made so."""
    raw = LockType if kind == "Lock" else RLockType
    mine: Any = type(new(kind))
    for arguments, named in (((), {}), ((1, 2), {}), ((), {"blocking": True})):
        assert said(lambda a=arguments, n=named: mine(*a, **n)) == said(lambda a=arguments, n=named: raw(*a, **n))  # type: ignore[misc]
    gc.collect()
    assert (session.image().count("errors"), session.image().off_reason) == (0, "")


@pytest.mark.usefixtures("session")
def test_no_class_can_be_derived_from_a_lock_as_bare() -> None:
    derived: list[str] = []
    for base in (LockType, type(new("Lock"))):
        with pytest.raises(TypeError) as refused:
            type("Mine", (base,), {})
        derived.append(str(refused.value))
    assert derived[0] == derived[1]


def derived_rlock(base: Any) -> list[Any]:
    """All that one can see of a class of a program's own, derived from that of an RLock."""

    class Mine(base):  # type: ignore[misc]
        def __init__(self, name: str, *, size: int = 1) -> None:
            self.name = name
            # The names of ours, if they had no prefix.
            self._raw = self._cell = self._cells = self._state = self._number = self._depth = self._tries = size
            self._waiters = self._wanted = self._released = None

        def _wait(self, *_: Any) -> str:
            return "not ours"

    class Refusing(base):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            super().__init__(name)

    class Slotted(base):  # type: ignore[misc]
        __slots__ = ("name",)

    class Kept(base):  # type: ignore[misc]
        def __reduce__(self) -> Any:
            return Kept, ()

    class WithMeta(base, metaclass=abc.ABCMeta):  # type: ignore[misc]
        def __new__(cls, *args: Any) -> Any:
            return super().__new__(cls, *args)

    lock = Mine("a", size=7)
    seen: list[Any] = [vars(lock), said(lambda: Mine()), said(lambda: Refusing("a")), said(lambda: WithMeta(1, 2))]  # type: ignore[call-arg]  # noqa: PLW0108
    with lock:
        seen += [lock.acquire(), lock.acquire(False), lock.acquire(timeout=1), said(lambda: lock), lock._is_owned()]
        for _ in range(3):
            lock.release()
        seen += [said(lambda: lock), contended(lock)]
    seen += [
        said(lambda: lock),
        hex(id(lock)) in repr(lock),
        said(lambda: pickle.dumps(lock)),
        said(lambda: copy.copy(lock)),
    ]
    seen += [
        type(copy.copy(Kept())) is Kept,
        lock.__class__ is Mine,
        isinstance(lock, base),
        weakref.ref(lock)() is lock,
    ]
    seen += [hasattr(Slotted(), "__dict__"), vars(lock), lock._wait(), waited_for(threading.Condition(lock))]
    try:
        lock.release()
    except RuntimeError as error:
        seen.append(str(error))
    return seen


def contended(lock: Any) -> bool:
    """Whether another thread does not get it."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(timeout=0.01))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return not got[0]


def waited_for(condition: threading.Condition) -> bool:
    """Whether a thread that waits with this condition is woken."""

    def wake() -> None:
        with condition:
            condition.notify()

    thread = threading.Thread(target=wake)
    with condition:
        thread.start()
        woken = condition.wait(10)
    thread.join()
    return woken


def test_a_class_derived_from_an_rlocks_is_as_bare_and_records(session: Session) -> None:
    assert derived_rlock(type(new("RLock"))) == derived_rlock(RLockType)
    image = session.image()
    assert (image.count("errors"), image.off_reason) == (0, "")

    class Mine(type(new("RLock"))):  # type: ignore[misc]
        pass

    before = len(image.records(kinds.LOCK_HOLD))
    lock = Mine()
    with lock:
        pass
    rows = session.image().records(kinds.LOCK_HOLD)
    assert len(rows) == before + 1
    assert session.image().definitions(kinds.OBJECT)[rows[-1]["object"]][0] == "RLock"


@twin_only
@both_kinds
def test_a_lock_that_was_not_made_to_the_end_goes_without_a_word(session: Session, kind: str) -> None:
    """As when a signal's handler raises in the middle of its making."""
    lock = object.__new__(type(new(kind)))
    del lock
    gc.collect()
    assert (session.image().count("errors"), session.image().off_reason) == (0, "")


@twin_only
def test_our_own_failure_in_the_making_leaves_a_lock_that_works(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Any = type(new("RLock"))
    monkeypatch.setattr(type(running()), "number", json.loads)  # refuses its arguments
    lock = make()
    with lock:
        assert contended(lock)
    assert not contended(lock)
    assert session.image().count("errors") == 1
