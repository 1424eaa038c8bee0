"""`os.wait`, `waitpid`, `wait3`, `wait4`, `waitid`: who was waited for, and the status that was reaped.

A call by the standard library (inside `Process.join`, `subprocess`) is no wait of the user's, but the status it reaps is
recorded all the same.
"""

from __future__ import annotations

import os as _os

from .._stdlib import getframe, is_library, monotonic_ns
from ..events import kinds
from .guard import active, guarded
from .wait import begin_wait, end_wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _wrapper(name: str, pid_at: int | None, options_at: int | None) -> Any:
    def make(original: Any) -> Any:
        def wait(*args: Any, **kwargs: Any) -> Any:
            polls = options_at is not None and _polls(args, kwargs, options_at)
            if polls or is_library(getframe().f_back):
                result = original(*args, **kwargs)
                reaped(result)
                return result
            asked = _asked(args, pid_at)
            token = begin_wait(kinds.CHILD_WAIT, _text(name) or 0, asked)
            pid = -1
            try:
                result = original(*args, **kwargs)
                pid = reaped(result) or 0
            finally:
                if token:
                    outcome = kinds.ERROR if pid < 0 else kinds.ACQUIRED if pid else kinds.TIMEOUT
                    end_wait(token, outcome.number, value=pid)
            return result

        return wait

    return make


#: The numbers: index of the argument that names the pid or None, index of the options.
WRAPPERS = {
    "wait": _wrapper("wait", None, None),
    "waitpid": _wrapper("waitpid", 0, 1),
    "wait3": _wrapper("wait3", None, 0),
    "wait4": _wrapper("wait4", 0, 1),
    "waitid": _wrapper("waitid", 1, 2),
}


def _polls(args: tuple[Any, ...], kwargs: dict[str, Any], options_at: int) -> bool:
    """Whether the call asks not to wait at all."""
    options = args[options_at] if len(args) > options_at else kwargs.get("options", 0)
    return type(options) is int and bool(options & _os.WNOHANG)


def _asked(args: tuple[Any, ...], pid_at: int | None) -> int:
    pid = args[pid_at] if pid_at is not None and len(args) > pid_at else 0
    return pid if type(pid) is int and pid > 0 else 0


@guarded
def _text(name: str) -> int:
    return active().text(name)


@guarded
def reaped(result: Any) -> int:
    """Record the status in what a wait function returned; the pid that ended, or 0."""
    pid, status = _status(result)
    if status is not None:
        child_status(pid, status)
        return pid
    return 0


def _status(result: Any) -> tuple[int, int | None]:
    """(pid, exit status or minus the signal), the latter None when no child has ended."""
    if result is None:
        return 0, None
    if hasattr(result, "si_pid"):
        if result.si_code == _os.CLD_EXITED:
            return result.si_pid, result.si_status
        ended = result.si_code in (_os.CLD_KILLED, _os.CLD_DUMPED)
        return result.si_pid, -result.si_status if ended else None
    pid, status = result[0], result[1]
    ended = pid > 0 and (_os.WIFEXITED(status) or _os.WIFSIGNALED(status))
    return pid, _os.waitstatus_to_exitcode(status) if ended else None


@guarded
def child_status(pid: int, status: int) -> None:
    """Record how a child ended: exit status, or minus the signal's number."""
    active().emit(kinds.CHILD_STATUS.number, monotonic_ns(), 0, 0, pid, status)
