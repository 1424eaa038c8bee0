"""`subprocess.Popen`, and so `run`, `call`, `check_output`, `os.popen` and `asyncio.create_subprocess_*`.

A start is recorded from inside of ``Popen.__init__``, by way of an attribute that it sets before and after, and reads when
it has failed: so nothing of ours stands in the traceback of a start that fails, which is what many programs print.
Of `wait` and `communicate` only the user's own call,
or what the standard library calls on his behalf, is a wait; what they call of each other is not another one.
"""

from __future__ import annotations

import sys

from .._stdlib import get_ident, getframe, is_library, monotonic_ns
from ..events import kinds
from .command import command_name, command_text, user_frame
from .guard import active, guarded
from .program import failed, started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

    from ..events.kinds import EventKind
    from .patchset import PatchSet

#: When the Popen began that a thread is making now.
_began: dict[int, int] = {}
#: Codecs of which text has as many bytes as its encoding, if nothing was translated on the way.
_CODECS = frozenset(("utf-8", "utf8", "ascii", "us-ascii", "latin-1", "iso-8859-1", "iso8859-1"))


def install(patches: PatchSet, subprocess: ModuleType) -> None:
    """Wrap what Popen's methods do, and the attribute that tells how far its ``__init__`` has come."""
    popen = subprocess.Popen
    if not isinstance(vars(popen).get(_PROGRESS), _Progress):
        patches.replace(popen, _PROGRESS, _Progress())
    patches.wrap(popen, "wait", _wait)
    patches.wrap(popen, "communicate", _communicate)
    patches.wrap(popen, "send_signal", _send_signal)


# Starting --------------------------------------------------------------------------------------------------

#: Set to False when ``__init__`` has looked at its arguments, to True as soon as there is a child; only read when all failed.
_PROGRESS = "_closed_child_pipe_fds"


class _Progress:
    """That attribute: it is where it was, in the instance, and we see it come and go."""

    def __get__(self, popen: Any, owner: Any) -> Any:
        values = {} if popen is None else vars(popen)
        if _PROGRESS not in values:
            thing = f"type object {owner.__name__!r}" if popen is None else f"{owner.__name__!r} object"
            raise AttributeError(f"{thing} has no attribute {_PROGRESS!r}")
        _fails(popen, getframe(1))
        return values[_PROGRESS]

    def __set__(self, popen: Any, value: Any) -> None:
        vars(popen)[_PROGRESS] = value
        if value:
            _is_there(popen, getframe(1))
        else:
            _began[get_ident()] = monotonic_ns()

    def __delete__(self, popen: Any) -> None:
        del vars(popen)[_PROGRESS]


@guarded
def _is_there(popen: Any, frame: FrameType) -> None:
    now = monotonic_ns()
    started(_number(popen) or 0, int(popen.pid), _began.get(get_ident(), now), user_frame(frame))


@guarded
def _fails(popen: Any, frame: FrameType) -> None:
    error = sys.exc_info()[1]
    if frame.f_code.co_name != "__init__" or error is None:
        return
    lives = popen.pid is not None and popen.returncode is None
    began = _began.get(get_ident(), monotonic_ns())
    failed(_number(popen) or 0, popen.pid if lives else -1, began, user_frame(frame), error)


@guarded
def _number(popen: Any) -> int:
    return active().object_number(popen, _define)


def _define(popen: Any) -> tuple[str, str, int, str]:
    command = getattr(popen, "args", "")
    return "Popen", command_name(command), 0, command_text(command)


# Waiting ---------------------------------------------------------------------------------------------------


def _wait(original: Any) -> Any:
    def wait(self: Any, timeout: float | None = None) -> Any:
        token = _waits(self, kinds.PROGRAM_WAIT, getframe().f_back)
        if not token:
            return original(self, timeout)
        done = False
        try:
            status = original(self, timeout)
            done = True
        finally:
            _waited(token, done)
        return status

    return wait


def _communicate(original: Any) -> Any:
    def communicate(self: Any, input: Any = None, timeout: float | None = None) -> Any:  # noqa: A002  # as it is called
        token = _waits(self, kinds.PROGRAM_TALK, getframe().f_back)
        if not token:
            return original(self, input, timeout)
        pipes = self.stdin, self.stdout, self.stderr
        said = None
        try:
            said = original(self, input, timeout)
        finally:
            _talked(token, self, input, pipes, said)
        return said

    return communicate


@guarded
def _waits(popen: Any, kind: EventKind, frame: FrameType | None) -> int:
    if (
        frame is not None
        and is_library(frame)
        and (
            # `communicate` waits at its end, ``__exit__`` does once more when all is over.
            frame.f_code.co_name in ("communicate", "_communicate") or getattr(popen, "returncode", None) is not None
        )
    ):
        return 0
    return active().begin_wait(kind.number, _number(popen) or 0, user_frame(frame), 0, _pid(popen, kind))


def _pid(popen: Any, kind: EventKind) -> int:
    pid = getattr(popen, "pid", None)
    return pid if kind is kinds.PROGRAM_WAIT and type(pid) is int else -1


@guarded
def _waited(token: int, done: bool) -> None:
    active().end_wait(token, _outcome(done))


def _outcome(done: bool) -> int:
    """Asked while the exception, if there is one, passes."""
    if done:
        return kinds.ACQUIRED.number
    return (kinds.TIMEOUT if type(sys.exc_info()[1]).__name__ == "TimeoutExpired" else kinds.ERROR).number


@guarded
def _talked(token: int, popen: Any, given: Any, pipes: tuple[Any, ...], said: Any) -> None:
    outcome = _outcome(said is not None)
    written = _written(popen, given, pipes[0])
    read = _read(popen, pipes[1:], said) if said is not None else -1
    active().end_wait(token, outcome, written + 1, read)


def _written(popen: Any, given: Any, stdin: Any) -> int:
    """Bytes that went to its stdin by communicate; -1: not known."""
    offset = getattr(popen, "_input_offset", None)
    if type(offset) is int:
        return offset
    return _size(given, stdin) if given and stdin is not None else 0


def _read(popen: Any, pipes: tuple[Any, ...], said: Any) -> int:
    """Bytes that came from its stdout and stderr, all in all; -1: not known."""
    chunks = getattr(popen, "_fileobj2output", None)
    if type(chunks) is dict:
        return sum(len(chunk) for chunks_of_one in chunks.values() for chunk in chunks_of_one)
    sizes = [_size(text, pipe) for text, pipe in zip(said, pipes, strict=True) if text is not None]
    return -1 if -1 in sizes else sum(sizes)


def _size(data: Any, pipe: Any) -> int:
    """Bytes of what went through a pipe in one piece; of text only where that can be told without encoding it again."""
    if type(data) in (bytes, bytearray):
        return len(data)
    if type(data) is memoryview:
        return data.nbytes
    plain = getattr(pipe, "newlines", None) in (None, "\n") and str(getattr(pipe, "encoding", "")).lower() in _CODECS
    return len(data) if type(data) is str and data.isascii() and plain else -1


# Signals ---------------------------------------------------------------------------------------------------


def _send_signal(original: Any) -> Any:
    def send_signal(self: Any, sig: Any) -> None:
        time, before = monotonic_ns(), getattr(self, "returncode", 0)
        original(self, sig)
        if before is None:
            _sent(self, sig, time, getframe().f_back)

    return send_signal


@guarded
def _sent(popen: Any, sig: Any, time: int, frame: FrameType | None) -> None:
    """It looks first whether the program has ended, and then sends nothing."""
    number = int(sig)
    if popen.returncode is None and number:
        recorder = active()
        stack = recorder.stack(user_frame(frame))
        recorder.emit(kinds.PROCESS_SIGNAL.number, time, 0, _number(popen) or 0, popen.pid, number, stack)
