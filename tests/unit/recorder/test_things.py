"""What the recorder says of Thread objects, and the numbers of objects."""

from __future__ import annotations

import functools
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.events import kinds
from tests.support.recording import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.recording import Session


class Holder:
    """Has methods, and can be called itself."""

    def method(self) -> None:
        """A target."""

    def __call__(self) -> None:
        """Another."""


class Own(threading.Thread):
    """Has a `run` of its own."""

    def run(self) -> None:
        """What it runs."""


class WithoutInit(threading.Thread):
    """Calls nobody's."""

    def __init__(self) -> None:
        self.own = 1


def make_thread(target: Any) -> Callable[[], threading.Thread]:
    return lambda: threading.Thread(target=target, name="a-näme")


#: What to make, and its name and its target as they are recorded.
THREADS: dict[str, tuple[Callable[[], threading.Thread], str, str]] = {
    "function": (make_thread(make_thread), "a-näme", "make_thread"),
    "builtin": (make_thread(len), "a-näme", "len"),
    "class": (make_thread(Holder), "a-näme", "Holder"),
    "method": (make_thread(Holder().method), "a-näme", "Holder.method"),
    "method of a type": (make_thread(str.upper), "a-näme", "str.upper"),
    "object that can be called": (make_thread(Holder()), "a-näme", "Holder"),
    "partial": (make_thread(functools.partial(len, "")), "a-näme", "partial"),
    "nothing": (make_thread(None), "a-näme", ""),
    "subclass": (lambda: Own(name="a-name"), "a-name", "Own.run"),
    "timer": (lambda: threading.Timer(1, len), "", "len"),
    "not initialized": (WithoutInit, "", "Thread.run"),
}


@pytest.mark.parametrize("kind", THREADS)
def test_a_thread_is_defined_with_its_name_and_what_it_runs(kind: str, session: Session) -> None:
    make, name, target = THREADS[kind]
    thread = make()
    number = running().thread_number(thread)
    assert number == running().thread_number(thread) > 0
    kind_, name_, site, target_ = session.image().definitions(kinds.OBJECT)[number]
    assert (kind_, site, target_) == ("Thread", "0", target)
    assert name_ == name or (kind == "timer" and name_.startswith("Thread-"))


def test_what_the_programs_own_property_raises_is_the_programs(session: Session) -> None:
    class Odd(threading.Thread):
        @property
        def _target(self) -> Any:
            raise LookupError("mine")

        @_target.setter
        def _target(self, value: Any) -> None:
            pass

    with pytest.raises(LookupError, match="mine") as raised:
        running().starting(Odd())
    assert not running().failed(raised.value)
    assert session.image().definitions(kinds.OBJECT) == {}


def test_ten_thousand_objects_have_numbers_of_their_own_and_none_is_kept(session: Session) -> None:
    class Thing:
        pass

    def define(_: object) -> tuple[str, str, int, str]:
        return "Thread", "", 0, ""

    things = [Thing() for _ in range(10_000)]
    numbers = [running().object_number(thing, define) for thing in things]
    assert len(set(numbers)) == 10_000
    assert [running().object_number(thing, define) for thing in things] == numbers
    del things[::2]
    assert [running().object_number(thing, define) for thing in things] == numbers[1::2]
    things.clear()
    assert not [thing for thing in gc.get_objects() if type(thing) is Thing]
    assert running().object_number(Thing(), define) not in numbers
    assert session.image().off_reason == ""


@pytest.mark.usefixtures("session")
def test_an_object_that_cannot_be_numbered_is_refused() -> None:
    with pytest.raises(TypeError):
        running().object_number(1, lambda _: ("Thread", "", 0, ""))


def test_nothing_happens_to_threads_while_nothing_is_recorded(session: Session) -> None:
    recorder, thread = running(), threading.Thread()
    recorder.switch_off("the test says so")
    before = list(session.image().slots())
    assert recorder.starting(thread) == recorder.joining(thread) == recorder.thread_number(thread) == 0
    recorder.started(thread, 5)
    recorder.running(thread)
    recorder.ended(thread)
    assert list(session.image().slots()) == before
