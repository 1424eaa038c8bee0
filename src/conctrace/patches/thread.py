"""`threading.Thread` (start, run, join, the exception that ends it) and `_thread.start_new_thread`.

A thread's life is recorded in `Thread._bootstrap_inner`, not around `Thread.run`: a wrapper there would stand in the traceback
that the program prints when a thread fails.
"""

from __future__ import annotations

import sys

from .._stdlib import getframe, is_library_file, monotonic_ns
from ..events import kinds
from .guard import active, guarded
from .names import callable_name
from .wait import begin_wait, end_wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

    from .patchset import PatchSet

MODULE = "threading"


def install(patches: PatchSet, threading: ModuleType) -> None:
    """Wrap the methods of Thread, and what reports an uncaught exception in one."""
    thread = threading.Thread
    patches.wrap(thread, "start", _start)
    patches.wrap(thread, "join", _join)
    patches.wrap(thread, "_bootstrap_inner", _bootstrap_inner)
    patches.wrap(threading, "_make_invoke_excepthook", _make_invoke_excepthook)


def install_thread(patches: PatchSet, thread: ModuleType) -> None:
    """The same for the `_thread` module's own names."""
    patches.wrap(thread, "start_new_thread", _start_new_thread)
    patches.wrap(thread, "start_new", _start_new_thread)


# Starting --------------------------------------------------------------------------------------------------


def _start(original: Any) -> Any:
    def start(self: Any) -> None:
        number = _number(self)
        began = monotonic_ns()
        original(self)
        _started(number, began, getframe(1))

    return start


@guarded
def _number(thread: Any) -> int:
    return active().object_number(thread, _define)


def _define(thread: Any) -> tuple[str, str, int, str]:
    """The OBJECT definition of a Thread. Reads only what `Thread.__init__` sets."""
    target = getattr(thread, "_target", None)
    if target is None:
        # A Timer has a function of its own, a subclass its `run`.
        is_library = type(thread).__module__ == "threading"
        target = getattr(thread, "function", None) if is_library else type(thread).run
    return "Thread", str(getattr(thread, "_name", "")), 0, callable_name(target)


@guarded
def _started(number: int | None, began: int, frame: FrameType) -> None:
    active().call(kinds.THREAD_START.number, began, frame, number or 0)


# Running ---------------------------------------------------------------------------------------------------


def _bootstrap_inner(original: Any) -> Any:
    def _bootstrap_inner(self: Any) -> None:
        _begins(self)
        try:
            original(self)
        finally:
            _ends(self)

    return _bootstrap_inner


@guarded
def _begins(thread: Any) -> None:
    recorder = active()
    recorder.thread_begins(str(thread._name), bool(thread._daemonic), recorder.object_number(thread, _define))


@guarded
def _ends(thread: Any) -> None:
    active().thread_ends(str(thread._name), bool(thread._daemonic))


def _make_invoke_excepthook(original: Any) -> Any:
    def _make_invoke_excepthook() -> Any:
        invoke = original()

        def invoke_excepthook(thread: Any) -> None:
            _failed(thread, *sys.exc_info())
            invoke(thread)

        return invoke_excepthook

    return _make_invoke_excepthook


@guarded
def _failed(thread: Any, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
    """An exception ended the current thread. Its text is made by the program's own __str__, as the hook is about to."""
    if kind is None or kind is SystemExit:
        return
    recorder = active()
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    stack = recorder.stack(trace.tb_frame) if trace is not None else 0
    text = recorder.text(f"{kind.__name__}: {_text(error)}"[:500])
    recorder.emit(kinds.THREAD_ERROR.number, monotonic_ns(), 0, recorder.object_number(thread, _define), text, 0, stack)


def _text(error: BaseException | None) -> str:
    try:
        return str(error)
    except Exception:  # its own __str__ failed; the hook will say so, as without us
        return "<exception str() failed>"


# Joining ---------------------------------------------------------------------------------------------------


def _join(original: Any) -> Any:
    def join(self: Any, timeout: float | None = None) -> None:
        token = begin_wait(kinds.THREAD_JOIN, _number(self) or 0)
        if not token:
            original(self, timeout)
            return
        outcome = kinds.ERROR.number
        try:
            original(self, timeout)
            ended = timeout is None or not self.is_alive()
            outcome = kinds.ACQUIRED.number if ended else kinds.TIMEOUT.number
        finally:
            end_wait(token, outcome)

    return join


# _thread.start_new_thread -------------------------------------------------------------------------------------


class _Started:
    """The function of a bare thread, announced when it runs; reads like the function in any message about it."""

    __slots__ = ("__weakref__", "function")

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        _bare_begins(self)
        try:
            error = self._failure(args, kwargs)
            if error is not None:
                _report(error, self.function)
        finally:
            _bare_ends(self)

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
def _bare_begins(started: _Started) -> None:
    recorder = active()
    number = recorder.object_number(started, _define_bare)
    recorder.thread_begins(callable_name(started.function), True, number)


def _define_bare(started: _Started) -> tuple[str, str, int, str]:
    name = callable_name(started.function)
    return "Thread", name, 0, name


@guarded
def _bare_ends(started: _Started) -> None:
    active().thread_ends(callable_name(started.function), True)


def _start_new_thread(original: Any) -> Any:
    def start_new_thread(*args: Any, **kwargs: Any) -> int:
        frame = getframe(1)
        if not args or not callable(args[0]) or is_library_file(frame.f_code.co_filename):
            return int(original(*args, **kwargs))
        started = _Started(args[0])
        began = monotonic_ns()
        ident = int(original(started, *args[1:], **kwargs))
        _bare_started(started, began, frame)
        return ident

    return start_new_thread


@guarded
def _bare_started(started: _Started, began: int, frame: FrameType) -> None:
    _started(active().object_number(started, _define_bare), began, frame)
