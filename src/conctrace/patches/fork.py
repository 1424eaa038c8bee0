"""`os.fork` and `os.forkpty`, as the parent sees them; the child announces itself by its "born" record."""

from __future__ import annotations

import sys

from .._stdlib import getframe, is_library, monotonic_ns
from ..events import kinds
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

#: file and line → a copy of `_call` that seems to stand there; making one costs as much as the rest of the wrapper
_calls: dict[tuple[str, int | None], Any] = {}
_CALLS_MAX = 64


def _fork(original: Any) -> Any:
    def fork(*args: Any, **kwargs: Any) -> Any:  # the original refuses arguments
        began = monotonic_ns()
        pid = -1
        try:
            pid = _call_as(getframe().f_back, original, args, kwargs)
        finally:
            if pid:
                _forked("os.fork", pid, began, getframe().f_back)
        return pid

    return fork


def _forkpty(original: Any) -> Any:
    def forkpty(*args: Any, **kwargs: Any) -> Any:
        began = monotonic_ns()
        result = (-1, -1)
        try:
            result = _call_as(getframe().f_back, original, args, kwargs)
        finally:
            if result[0]:
                _forked("os.forkpty", result[0], began, getframe().f_back)
        return result

    return forkpty


def _call_as(caller: FrameType | None, original: Any, args: Any, kwargs: Any) -> Any:
    """Call it so that a warning (from 3.12 on: "this process is multi-threaded") names the program's line, as without us.

    Whether a warning is shown hangs on the module it names: a DeprecationWarning only in ``__main__``.
    """
    if sys.hexversion < 0x30C0000 or caller is None:  # there it warns of nothing; nobody's line
        return original(*args, **kwargs)
    place = caller.f_code.co_filename, caller.f_lineno
    call = _calls.get(place)
    if call is None or call.__globals__ is not caller.f_globals:
        name: Any = dict.fromkeys(("co_name", "co_qualname"), "<conctrace>")  # `collector.functions` knows it by that
        code = _call.__code__.replace(co_filename=place[0], co_firstlineno=place[1], **name)
        function: Any = type(_call)
        call = function(code, caller.f_globals)
        if len(_calls) >= _CALLS_MAX:
            _calls.clear()
        _calls[place] = call
    return call(original, args, kwargs)


# One line: that of its ``def`` is the line that it will seem to stand in.
def _call(original: Any, args: Any, kwargs: Any) -> Any: return original(*args, **kwargs)  # fmt: skip


@guarded
def _forked(name: str, pid: int, began: int, frame: FrameType | None) -> None:
    internal = is_library(frame)
    outcome = kinds.INTERNAL if internal else kinds.ERROR if pid < 0 else kinds.NO_OUTCOME
    recorder = active()
    text = recorder.text(name)
    recorder.call(kinds.PROCESS_FORK.number, began, frame, text, 0, pid, outcome.number)


WRAPPERS = {"fork": _fork, "forkpty": _forkpty}
