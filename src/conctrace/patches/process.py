"""`multiprocessing.Process`: start, run, join, terminate, kill, whatever the start method."""

from __future__ import annotations

from .._stdlib import getframe, monotonic_ns
from ..events import kinds
from ..recorder.names import callable_name
from .exit import say_exit
from .guard import active, guarded
from .wait import begin_wait, end_wait
from .wait_child import child_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

    from .patchset import PatchSet

#: As Linux numbers them; `signal` would load `enum`, which costs a start more than all of the patches.
_SIGKILL, _SIGTERM = 9, 15


def install(patches: PatchSet, process: ModuleType) -> None:
    """Wrap the base class of all Process classes."""
    base = process.BaseProcess
    patches.wrap(base, "start", _start)
    patches.wrap(base, "join", _join)
    patches.wrap(base, "terminate", _sends(_SIGTERM))
    patches.wrap(base, "kill", _sends(_SIGKILL))
    patches.wrap(base, "_bootstrap", _bootstrap)


@guarded
def _number(process: Any) -> int:
    return active().object_number(process, _define)


def _define(process: Any) -> tuple[str, str, int, str]:
    return "Process", str(process._name), 0, _target(process)


def _target(process: Any) -> str:
    target = getattr(process, "_target", None)
    if target is None and not type(process).__module__.startswith("multiprocessing."):
        target = type(process).run
    return callable_name(target)


def _pid(process: Any) -> int:
    popen = process._popen
    return int(popen.pid) if popen is not None else -1


# The parent's side ---------------------------------------------------------------------------------------------


def _start(original: Any) -> Any:
    def start(self: Any) -> None:
        number = _number(self)
        began = monotonic_ns()
        try:
            original(self)
        finally:
            _started(self, number, began, getframe(1))

    return start


@guarded
def _started(process: Any, number: int | None, began: int, frame: FrameType) -> None:
    active().call(kinds.PROCESS_START.number, began, frame, number or 0, 0, _pid(process))


def _join(original: Any) -> Any:
    def join(self: Any, timeout: float | None = None) -> None:
        before = _status(self)
        token = begin_wait(kinds.PROCESS_JOIN, _number(self) or 0)
        if not token:
            original(self, timeout)
            return
        outcome = kinds.ERROR.number
        try:
            original(self, timeout)
            outcome = kinds.TIMEOUT.number if _status(self) is None else kinds.ACQUIRED.number
        finally:
            end_wait(token, outcome, value=_pid_of(self) or -1)
            if before is None:
                _reaped(self)

    return join


@guarded
def _pid_of(process: Any) -> int:
    return _pid(process)


def _status(process: Any) -> int | None:
    """What is known of its end, without looking for more (that would reap it)."""
    # A subclass may have forgotten to call our base's __init__; the original says so in its own words.
    return getattr(getattr(process, "_popen", None), "returncode", None)


@guarded
def _reaped(process: Any) -> None:
    """The forkserver tells the status by a pipe, where no patched wait function sees it."""
    status = _status(process)
    if status is not None and getattr(process._popen, "method", "") == "forkserver":
        child_status(_pid(process), status)


def _sends(signal: int) -> Any:
    def make(original: Any) -> Any:
        def send(self: Any) -> None:
            _sending(self, signal, getframe(1))
            original(self)

        return send

    return make


@guarded
def _sending(process: Any, signal: int, frame: FrameType) -> None:
    if _status(process) is not None or process._popen is None:
        return
    recorder = active()
    recorder.emit(
        kinds.PROCESS_SIGNAL.number, monotonic_ns(), 0, _number(process) or 0, _pid(process),
        int(signal), recorder.stack(frame),
    )  # fmt: skip


# The child's side ------------------------------------------------------------------------------------------------


def _bootstrap(original: Any) -> Any:
    def _bootstrap(self: Any, *args: Any, **kwargs: Any) -> int:
        _runs(self)
        status: int = original(self, *args, **kwargs)
        say_exit(status, kinds.EXIT_BOOTSTRAP)
        return status

    return _bootstrap


@guarded
def _runs(process: Any) -> None:
    recorder = active()
    parent = int(process._parent_pid or 0)
    daemon = int(bool(process._config.get("daemon")))
    recorder.define(kinds.PROCESS.number, 1, (str(process._name), parent, daemon, _target(process)))
    number = recorder.object_number(process, _define)
    recorder.emit(kinds.PROCESS_RUN.number, monotonic_ns(), 0, number, parent)
