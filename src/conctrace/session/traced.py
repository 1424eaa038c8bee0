"""`traced`: names every call of a function by a span.

A coroutine or generator has no one stretch of its thread: it is resumed, runs a step, and is suspended. Each of its steps is a
span on the lane of the thread that runs it, and its whole life, from the first step on, a track of its own.

What stands in for a function is of its kind (``inspect.iscoroutinefunction`` and the like say so), looks like it, and does
without a session nothing but call it.
"""

from __future__ import annotations

from .. import recorder as _recorder
from .._stdlib import getframe, monotonic_ns
from ..events import kinds
from ..patches.guard import active, guarded
from .marks import arguments, begin, end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable
    from types import FrameType
    from typing import Any, TypeVar, overload

    from .marks import Mark

    F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any]")


# `inspect` has these, and costs 10 ms.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


if TYPE_CHECKING:

    @overload
    def traced(function: F, /) -> F: ...
    @overload
    def traced(*, name: str | None = None, args: bool = False) -> Callable[[F], F]: ...
    def traced(function: Any = None, /, *, name: str | None = None, args: bool = False) -> Any: ...

else:

    def traced(function=None, /, *, name=None, args=False):  # noqa: ANN001, ANN201  # declared above; `typing` is not imported
        """Decorator: names each call of a function, method, coroutine or generator; as ``name``, else by its qualified name.

        With ``args=True`` the arguments are kept as text (`session.values.safe_repr`).
        """
        if function is None:
            return lambda function: _traced(function, name, args)
        return _traced(function, name, args)


def _traced(function: Any, name: str | None, args: bool) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_traced(function.__func__, name, args))
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"traced takes a function, not {function!r}")
    import functools

    call = _Call(function, name, args)
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    make = next((make for flag, make in _MAKERS if flags & flag), _function)
    stand_in = functools.update_wrapper(make(function, call), function)
    if flags & _ITERABLE_COROUTINE:
        import types

        return types.coroutine(stand_in)
    return stand_in


class _Call:
    """What the calls of one function have in common."""

    __slots__ = ("_names", "_wants_args", "name")

    def __init__(self, function: Any, name: str | None, wants_args: bool) -> None:
        self.name: str = name or getattr(function, "__qualname__", None) or type(function).__qualname__
        self._wants_args = wants_args
        code = getattr(function, "__code__", None)
        self._names = code.co_varnames[: code.co_argcount] if code else ()

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        """By name, as far as they are wanted and have one."""
        if not self._wants_args:
            return ()
        named = [(self._names[at] if at < len(self._names) else f"*{at}", value) for at, value in enumerate(args)]
        return [*named, *kwargs.items()]


def _function(function: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        if _recorder.current is None:
            return function(*args, **kwargs)
        mark = begin(call.name, call.arguments(args, kwargs), getframe(1))
        outcome = kinds.ERROR
        try:
            result = function(*args, **kwargs)
            outcome = kinds.NO_OUTCOME
        finally:
            if mark is not None:
                end(mark, outcome)
        return result

    return stand_in


def _generator(function: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        life = None if _recorder.current is None else _begin_life(call, args, kwargs, getframe(1))
        if life is None:
            return (yield from function(*args, **kwargs))
        with life:
            return (yield from _Steps(function(*args, **kwargs), life))

    return stand_in


def _coroutine(function: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def stand_in(*args: Any, **kwargs: Any) -> Any:
        life = None if _recorder.current is None else _begin_life(call, args, kwargs, getframe(1))
        if life is None:
            return await function(*args, **kwargs)
        with life:
            return await _Steps(function(*args, **kwargs), life)

    return stand_in


def _async_generator(function: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def stand_in(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        life = None if _recorder.current is None else _begin_life(call, args, kwargs, getframe(1))
        inner = function(*args, **kwargs)
        with life or _NO_LIFE:
            # There is no ``yield from`` for these.
            resumed = inner.__anext__()
            while True:
                try:
                    value = await (resumed if life is None else _Steps(resumed, life))
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    await (inner.aclose() if life is None else _Steps(inner.aclose(), life))
                    raise
                except BaseException as error:
                    resumed = inner.athrow(error)
                else:
                    resumed = inner.asend(sent)

    return stand_in


_MAKERS = ((_COROUTINE, _coroutine), (_ASYNC_GENERATOR, _async_generator), (_GENERATOR, _generator))


class _Life:
    """The life of one coroutine or generator; over when it is left as a context."""

    __slots__ = ("_epoch", "_name", "_number", "_site")

    def __init__(self, epoch: int, number: int, name: int, site: int) -> None:
        self._epoch = epoch
        self._number = number
        self._name = name
        self._site = site

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(kind)

    @guarded
    def _end(self, kind: type[BaseException] | None) -> None:
        recorder = active()
        if self._epoch == recorder.epoch:
            recorder.emit(
                kinds.LIFE_END.number, monotonic_ns(), 0, self._name, 0, self._number, self._site, _outcome(kind).number
            )

    @guarded
    def step(self) -> Mark | None:
        """It is resumed; what it runs until it is suspended is a span of the thread that resumes it."""
        recorder = active()
        now = monotonic_ns()
        if self._epoch != recorder.epoch:
            return None
        recorder.emit(kinds.SPAN_BEGIN.number, now, 0, self._name, 0, self._number, self._site)
        return self._epoch, now, self._name, 0, self._site, self._number


class _NoLife:
    """Stands in for a life where nothing is recorded."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_NO_LIFE = _NoLife()


@guarded
def _begin_life(call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> _Life:
    recorder = active()
    number, name, site = recorder.number(), recorder.text(call.name), recorder.site(frame)
    said = arguments(call.arguments(args, kwargs))
    recorder.emit(kinds.LIFE_BEGIN.number, monotonic_ns(), 0, name, said, number, site)
    return _Life(recorder.epoch, number, name, site)


def _outcome(kind: type[BaseException] | None) -> kinds.OutcomeKind:
    if kind is None:
        return kinds.NO_OUTCOME
    closed = kind is GeneratorExit or any(base.__name__ == "CancelledError" for base in kind.__mro__)
    return kinds.CANCELLED if closed else kinds.ERROR


class _Steps:
    """Passes everything on to a coroutine or generator, each time as a step; for ``yield from`` and ``await``."""

    __slots__ = ("_inner", "_life")

    def __init__(self, inner: Any, life: _Life) -> None:
        self._inner = inner
        self._life = life

    def __iter__(self) -> Any:
        return self

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._step(self._inner.send, None)

    def send(self, value: Any) -> Any:
        """Resume it with a value."""
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        """Resume it with an exception."""
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        """End it early."""
        self._step(self._inner.close)

    def _step(self, resume: Callable[..., Any], *args: Any) -> Any:
        mark = self._life.step()
        outcome = kinds.ERROR
        try:
            value = resume(*args)
            outcome = kinds.NO_OUTCOME
        except (StopIteration, StopAsyncIteration):
            outcome = kinds.NO_OUTCOME
            raise
        except GeneratorExit:
            outcome = kinds.CANCELLED
            raise
        finally:
            if mark is not None:
                end(mark, outcome)
        return value
