"""`threading.Thread`: start, run, join, the exception that ends it.

A thread's life is recorded in `Thread._bootstrap_inner`, not around `Thread.run`: a wrapper there would stand in the traceback
that the program prints when a thread fails.
"""

from __future__ import annotations

import sys

from .. import recorder as _recorder
from .._stdlib import monotonic_ns
from ..events import kinds
from .guard import active, guarded
from .patchset import PatchSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_ERROR, _ACQUIRED, _TIMEOUT = kinds.ERROR.number, kinds.ACQUIRED.number, kinds.TIMEOUT.number


def install(patches: PatchSet, threading: ModuleType) -> None:
    """Wrap the methods of Thread, and what reports an uncaught exception in one."""
    thread = threading.Thread
    patches.wrap(thread, "start", _start)
    patches.wrap(thread, "join", _join)
    patches.wrap(thread, "_bootstrap_inner", _bootstrap_inner)
    patches.wrap(threading, "_make_invoke_excepthook", _make_invoke_excepthook)


# Of the functions that are called for every thread each has its own `try`: it costs nothing, and a call of a guarded function costs
# as much as all that is recorded. The recorder is the one that runs when they are installed.

# Starting --------------------------------------------------------------------------------------------------


def _start(original: Any) -> Any:
    recorder: Any = _recorder.current

    def start(self: Any) -> None:
        began = 0
        try:
            began = recorder.starting(self)
        except BaseException as error:
            if not recorder.failed(error):
                raise
        original(self)
        try:
            recorder.started(self, began)
        except BaseException as error:
            if not recorder.failed(error):
                raise

    return start


# Running ---------------------------------------------------------------------------------------------------


def _bootstrap_inner(original: Any) -> Any:
    recorder: Any = _recorder.current

    def _bootstrap_inner(self: Any) -> None:
        try:
            recorder.running(self)
        except BaseException as error:
            if not recorder.failed(error):
                raise
        try:
            original(self)
        finally:
            try:
                recorder.ended(self)
            except BaseException as error:
                if not recorder.failed(error):
                    raise

    return _bootstrap_inner


def _make_invoke_excepthook(original: Any) -> Any:
    def _make_invoke_excepthook() -> Any:
        return _Method(_invoke_excepthook, original())  # one for each thread: cheaper than a function

    return _make_invoke_excepthook


def _invoke_excepthook(invoke: Any, thread: Any) -> None:
    _failed(thread, *sys.exc_info())
    invoke(thread)


#: `types` would have to be imported for it.
_Method: Any = type(PatchSet().wrap)


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
    recorder.emit(kinds.THREAD_ERROR.number, monotonic_ns(), 0, recorder.thread_number(thread), text, 0, stack)


def _text(error: BaseException | None) -> str:
    try:
        return str(error)
    except Exception:  # its own __str__ failed; the hook will say so, as without us
        return "<exception str() failed>"


# Joining ---------------------------------------------------------------------------------------------------


def _join(original: Any) -> Any:
    recorder: Any = _recorder.current

    def join(self: Any, timeout: float | None = None) -> None:
        token = 0
        try:
            token = recorder.joining(self)
        except BaseException as error:
            if not recorder.failed(error):
                raise
        if not token:
            original(self, timeout)
            return
        outcome = _ERROR
        try:
            original(self, timeout)
            outcome = _ACQUIRED if timeout is None or not self.is_alive() else _TIMEOUT
        finally:
            try:
                recorder.end_wait(token, outcome)
            except BaseException as error:
                if not recorder.failed(error):
                    raise

    return join
