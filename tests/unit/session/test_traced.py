"""`traced`: what stands in for a function acts and looks like it, and each call is a span, each step of a coroutine one, too."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.events import kinds
from conctrace.session.traced import traced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from tests.support.recording import Session


@traced
def double(value: int, *, more: int = 0) -> int:
    """Twice as much."""
    return 2 * value + more


@traced
def fails() -> None:
    raise ValueError("as ever")


@traced
def echo() -> Generator[Any, Any, str]:
    """Yields what it was sent, and survives a ValueError."""
    got = None
    while got != "stop":
        try:
            got = yield got
        except ValueError as error:
            got = f"caught {error}"
    return "stopped"


@traced
async def wait_for(value: int) -> int:
    await asyncio.sleep(0)
    return value


@traced
async def count_to(end: int) -> AsyncIterator[int]:
    for number in range(end):
        await asyncio.sleep(0)
        yield number


@traced
@types.coroutine
def old_style() -> Generator[None, None, int]:
    yield
    return 5


class Box:
    @traced
    def method(self, value: int) -> int:
        return value

    @traced
    @classmethod
    def outer(cls) -> type[Box]:
        return cls

    @classmethod
    @traced
    def inner(cls) -> type[Box]:
        return cls

    @traced
    @staticmethod
    def static(value: int) -> int:
        return value

    @staticmethod
    @traced
    def static_too(value: int) -> int:
        return value


class Derived(Box):
    pass


def spans(session: Session) -> list[tuple[str, str]]:
    """Name and outcome of each span that was left, in that order."""
    texts = session.image().definitions(kinds.TEXT)
    rows = session.image().records(kinds.SPAN)
    return [(texts[row["object"]][0], kinds.OUTCOME_BY_NUMBER[row["outcome"]].name) for row in rows]


def lives(session: Session) -> list[str]:
    return [kinds.OUTCOME_BY_NUMBER[row["outcome"]].name for row in session.image().records(kinds.LIFE_END)]


def use_echo() -> list[Any]:
    """All that can be done with a generator."""
    echoes = echo()
    seen = [next(echoes), echoes.send(1), echoes.throw(ValueError("x"))]
    with pytest.raises(StopIteration) as stop:
        echoes.send("stop")
    closed = echo()
    next(closed)
    closed.close()
    return [*seen, stop.value.value, list(closed)]


def use_all() -> list[Any]:
    async def gather() -> list[Any]:
        return [await asyncio.gather(wait_for(1), wait_for(2)), [n async for n in count_to(3)], await old_style()]

    with pytest.raises(ValueError, match="as ever"):
        fails()
    box = Derived()
    return [
        double(2, more=1), use_echo(), asyncio.run(gather()), box.method(3), Derived.outer(), box.outer(),
        Derived.inner(), box.inner(), Box.static(1), box.static(2), Box.static_too(3), box.static_too(4),
    ]  # fmt: skip


RESULTS = [
    5, [None, 1, "caught x", "stopped", []], [[1, 2], [0, 1, 2], 5], 3, Derived, Derived, Derived, Derived, 1, 2, 3, 4,
]  # fmt: skip


def test_without_a_session_everything_acts_as_it_would() -> None:
    assert use_all() == RESULTS


def test_recorded_everything_acts_the_same(session: Session) -> None:
    assert use_all() == RESULTS
    assert session.image().count("errors") == 0


def test_it_is_of_the_kind_of_what_it_stands_in_for() -> None:
    assert inspect.isgeneratorfunction(echo)
    assert inspect.iscoroutinefunction(wait_for)
    assert inspect.isasyncgenfunction(count_to)
    assert not inspect.iscoroutinefunction(double)
    assert isinstance(vars(Box)["outer"], classmethod)
    assert isinstance(vars(Box)["static"], staticmethod)


def test_it_looks_like_what_it_stands_in_for() -> None:
    assert (double.__name__, double.__qualname__, double.__doc__) == ("double", "double", "Twice as much.")
    assert str(inspect.signature(double)) == "(value: 'int', *, more: 'int' = 0) -> 'int'"
    assert double.__annotations__ == {"value": "int", "more": "int", "return": "int"}
    assert Box.method.__qualname__ == "Box.method"
    coroutine: Any = wait_for(1)
    assert coroutine.__qualname__ == "wait_for"
    coroutine.close()


def test_it_is_pickled_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("the_program")
    vars(module)["double"] = double
    monkeypatch.setitem(sys.modules, "the_program", module)
    monkeypatch.setattr(double, "__module__", "the_program")
    assert pickle.loads(pickle.dumps(double)) is double


@pytest.mark.parametrize("wrong", [int, 3, None])
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="traced takes a function"):
        traced()(wrong)


def test_a_call_is_a_span_by_its_qualified_name(session: Session) -> None:
    double(1)
    Box().method(1)
    with pytest.raises(ValueError, match="as ever"):
        fails()
    assert spans(session) == [("double", ""), ("Box.method", ""), ("fails", "error")]


def test_calls_nest(session: Session) -> None:
    @traced(name="outer")
    def outer() -> int:
        return double(1)

    outer()
    inside, around = session.image().records(kinds.SPAN)
    assert (
        around["time"] <= inside["time"] <= inside["time"] + inside["duration"] <= around["time"] + around["duration"]
    )
    assert spans(session) == [("double", ""), ("outer", "")]


def test_arguments_are_kept_when_asked_for(session: Session) -> None:
    @traced(args=True)
    def load(file: str, *rest: int, **more: object) -> None: ...

    load("a", 1, 2, size=3)
    (row,) = session.image().records(kinds.SPAN)
    assert session.image().definitions(kinds.TEXT)[row["other"]] == ["file='a'\n*1=1\n*2=2\nsize=3"]


def test_each_step_of_a_generator_is_a_span_of_its_life(session: Session) -> None:
    use_echo()
    texts = session.image().definitions(kinds.TEXT)
    first, second = session.image().records(kinds.LIFE_BEGIN)
    steps = [(row["value"], texts[row["object"]][0]) for row in session.image().records(kinds.SPAN)]
    assert steps == 4 * [(first["value"], "echo")] + 2 * [(second["value"], "echo")]
    assert lives(session) == ["", "cancelled"]


def test_steps_of_coroutines_alternate(session: Session) -> None:
    async def gather() -> None:
        await asyncio.gather(wait_for(1), wait_for(2))

    asyncio.run(gather())
    one, other = (row["value"] for row in session.image().records(kinds.LIFE_BEGIN))
    assert [row["value"] for row in session.image().records(kinds.SPAN)] == [one, other, one, other]
    assert lives(session) == ["", ""]


def test_a_cancelled_coroutine_and_a_failed_one_say_so(session: Session) -> None:
    @traced
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise ValueError("woken")

    async def cancel() -> None:
        task = asyncio.create_task(sleep(100))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, sleep(0), return_exceptions=True)

    asyncio.run(cancel())
    assert sorted(lives(session)) == ["cancelled", "error"]


def test_an_async_generator_that_is_closed_early_is_closed_inside(session: Session) -> None:
    closed = []

    @traced
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def take_one() -> None:
        found = numbers()
        assert await found.__anext__() == 1
        await found.aclose()  # type: ignore[attr-defined]

    asyncio.run(take_one())
    assert closed == [True]
    assert lives(session) == ["cancelled"]


def test_a_generator_begun_before_a_fork_is_the_parents(session: Session) -> None:
    @traced
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    begun = numbers()
    assert next(begun) == 1
    pid = os.fork()
    if pid == 0:
        os._exit(0 if list(begun) == [2] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(begun) == [2]
    assert len(session.image().records(kinds.SPAN)) == 3
    assert [image.records(kinds.SPAN) for image in session.images().values() if image.pid == pid] in ([], [[]])
