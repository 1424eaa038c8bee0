"""`os.posix_spawn`, `posix_spawnp`, `os.system`, `os.exec*`: other programs, begun without `subprocess`."""

from __future__ import annotations

import os
import sys

from .._stdlib import getframe, is_library, monotonic_ns
from ..events import kinds
from .command import command_name, command_text, error_text, first_name, user_frame
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


@guarded
def _program(kind: str, command: Any, file: Any = None) -> int:
    """The number of a program that has no object of its own in Python; `file` is what is run, if that is not `command`'s own."""
    recorder = active()
    number = recorder.number()
    name = first_name(command) if file is None else command_name([file])
    recorder.define(kinds.OBJECT.number, number, (kind, name, 0, command_text(command)))
    return number


# os.posix_spawn --------------------------------------------------------------------------------------------


def _spawns(kind: str) -> Any:
    def make(original: Any) -> Any:
        def posix_spawn(*args: Any, **kwargs: Any) -> int:
            frame = getframe().f_back
            if frame is None or is_library(frame):  # Popen's, and recorded as that
                return int(original(*args, **kwargs))
            number = _program(kind, _argument(args, kwargs, 1, "argv"), _argument(args, kwargs, 0, "path"))
            began = monotonic_ns()
            pid = -1
            try:
                pid = int(original(*args, **kwargs))
            finally:
                started(number or 0, pid, began, frame)
            return pid

        return posix_spawn

    return make


@guarded
def started(number: int, pid: int, began: int, frame: FrameType | None) -> None:
    """Record a program's start; one without a pid failed, with the exception that is being handled."""
    recorder = active()
    if pid > 0:
        recorder.call(kinds.PROGRAM_START.number, began, frame, number, 0, pid)
    else:
        failed(number, -1, began, frame, sys.exc_info()[1])


@guarded
def failed(number: int, pid: int, began: int, frame: FrameType | None, error: BaseException | None) -> None:
    """Record that a program was not started; `pid` of a child that is there even so, else -1."""
    recorder = active()
    text = recorder.text(error_text(error))
    recorder.call(kinds.PROGRAM_FAILED.number, began, frame, number, text, pid, kinds.ERROR.number)


# os.system -------------------------------------------------------------------------------------------------


def _system(original: Any) -> Any:
    def system(*args: Any, **kwargs: Any) -> Any:
        token = _begins(_argument(args, kwargs, 0, "command"), getframe().f_back)
        status = -1
        try:
            status = original(*args, **kwargs)
        finally:
            if token:
                _ended(token, status)
        return status

    return system


@guarded
def _begins(command: Any, frame: FrameType | None) -> int:
    number = _program("os.system", command) or 0
    return active().begin_wait(kinds.PROGRAM_SYSTEM.number, number, user_frame(frame), 0, -1)


@guarded
def _ended(token: int, status: int) -> None:
    outcome = kinds.ERROR if status == -1 else kinds.ACQUIRED
    active().end_wait(token, outcome.number, None, status)


# os.exec* --------------------------------------------------------------------------------------------------


def _execs(kind: str) -> Any:
    def make(original: Any) -> Any:
        def execv(*args: Any, **kwargs: Any) -> None:
            frame = getframe().f_back
            path = _argument(args, kwargs, 0, "path")
            if _only_looks(frame, path):
                original(*args, **kwargs)
                return
            number = _program(kind, _argument(args, kwargs, 1, "argv"), path)
            _exec(number or 0, frame)
            try:
                original(*args, **kwargs)
            finally:
                _exec_failed(number or 0)

        return execv

    return make


@guarded
def _only_looks(frame: FrameType | None, path: Any) -> bool:
    """Whether this is one of the places where `execvp` looks for a program that is not there; the last one tells of it."""
    if frame is None or frame.f_code.co_name != "_execvpe" or not is_library(frame):
        return False
    found = frame.f_locals
    last = "dir" not in found or found["dir"] == os.fsencode(os.get_exec_path(found.get("env"))[-1])
    return not last and not os.path.exists(path)


@guarded
def _exec(number: int, frame: FrameType | None) -> None:
    recorder = active()
    recorder.emit(kinds.PROGRAM_EXEC.number, monotonic_ns(), 0, number, 0, 0, recorder.stack(user_frame(frame)))


@guarded
def _exec_failed(number: int) -> None:
    recorder = active()
    text = recorder.text(error_text(sys.exc_info()[1]))
    recorder.emit(kinds.PROGRAM_EXEC_FAILED.number, monotonic_ns(), 0, number, text, 0, 0, kinds.ERROR.number)


#: `execl`, `execvp` and the like come out at `execv` and `execve`.
WRAPPERS = {
    "posix_spawn": _spawns("os.posix_spawn"), "posix_spawnp": _spawns("os.posix_spawnp"), "system": _system,
    "execv": _execs("os.execv"), "execve": _execs("os.execve"),
}  # fmt: skip
