"""`_thread.start_new_thread`: threads that `threading` knows nothing of."""

from __future__ import annotations

import sys

from .._stdlib import getframe, is_library, monotonic_ns
from ..events import kinds
from ..recorder.names import callable_name
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


class _Started:
    """The function of a bare thread, announced when it runs; reads like the function in any message about it."""

    __slots__ = ("__weakref__", "function", "name")

    def __init__(self, function: Any) -> None:
        self.function = function
        self.name = _name(function) or ""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        _begins(self)
        try:
            error = self._failure(args, kwargs)
            if error is not None:
                _report(error, self.function)
        finally:
            _ends(self)

    def _failure(self, args: Any, kwargs: Any) -> BaseException | None:
        """Call the function; what it failed with, less our own frame."""
        try:
            self.function(*args, **kwargs)
        except SystemExit:  # says nothing
            return None
        except BaseException as error:
            trace = error.__traceback__
            return error.with_traceback(trace and trace.tb_next)
        return None

    def __repr__(self) -> str:
        return repr(self.function)


def _report(error: BaseException, function: Any) -> None:
    """Tell `sys.unraisablehook` what ended a bare thread, as the interpreter does: it would name our stand-in for the function."""
    message: str | None = "Exception ignored in thread started by"
    thing = function
    if sys.version_info >= (3, 13):
        thing = None
        try:
            message = f"{message} {function!r}"
        except Exception:  # its own __repr__ failed
            message = None
    _unraisable(error, message, thing)


def _unraisable(error: BaseException, message: str | None, thing: Any) -> None:
    # Nothing else gives the type of the hook's argument.
    kind: Any = next(kind for kind in tuple.__subclasses__() if kind.__name__ == "UnraisableHookArgs")
    hook = getattr(sys, "unraisablehook", None)
    told = kind((type(error), error, error.__traceback__, message, thing))
    try:
        sys.audit("sys.unraisablehook", hook, told)
        if hook is not None:
            hook(told)
            return
    except BaseException as failure:
        trace = failure.__traceback__
        failure.__traceback__ = trace and trace.tb_next
        told = kind((type(failure), failure, failure.__traceback__, "Exception ignored in sys.unraisablehook", hook))
    sys.__unraisablehook__(told)


@guarded
def _name(function: Any) -> str:
    return callable_name(function)


@guarded
def _begins(started: _Started) -> None:
    recorder = active()
    recorder.thread_begins(started.name, True, recorder.object_number(started, _define))


def _define(started: _Started) -> tuple[str, str, int, str]:
    return "Thread", started.name, 0, started.name


@guarded
def _ends(started: _Started) -> None:
    active().thread_ends(started.name, True)


def _start_new_thread(original: Any) -> Any:
    def start_new_thread(*args: Any, **kwargs: Any) -> int:
        frame = getframe().f_back
        if frame is None or not args or not callable(args[0]) or is_library(frame):
            return int(original(*args, **kwargs))
        started = _Started(args[0])
        began = monotonic_ns()
        ident = int(original(started, *args[1:], **kwargs))
        _recorded(started, began, frame)
        return ident

    return start_new_thread


@guarded
def _recorded(started: _Started, began: int, frame: FrameType) -> None:
    recorder = active()
    recorder.call(kinds.THREAD_START.number, began, frame, recorder.object_number(started, _define))


WRAPPERS = {"start_new_thread": _start_new_thread, "start_new": _start_new_thread}
