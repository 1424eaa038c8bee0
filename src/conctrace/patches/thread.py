"""`threading.Thread`: start, run, join, the exception that ends it.

A thread's life is recorded in `Thread._bootstrap_inner`, not around `Thread.run`: a wrapper there would stand in the traceback
that the program prints when a thread fails.
"""

from __future__ import annotations

import sys

from .._stdlib import getframe, monotonic_ns
from ..events import kinds
from .guard import active, guarded
from .names import callable_name
from .wait import begin_wait, end_wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

    from .patchset import PatchSet


def install(patches: PatchSet, threading: ModuleType) -> None:
    """Wrap the methods of Thread, and what reports an uncaught exception in one."""
    thread = threading.Thread
    patches.wrap(thread, "start", _start)
    patches.wrap(thread, "join", _join)
    patches.wrap(thread, "_bootstrap_inner", _bootstrap_inner)
    patches.wrap(threading, "_make_invoke_excepthook", _make_invoke_excepthook)


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
