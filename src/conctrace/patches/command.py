"""What to call a command, and who gave it, without running any code of the program."""

from __future__ import annotations

from .._stdlib import is_library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

#: Of a longer command only so many characters are recorded.
_LENGTH = 500
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def user_frame(frame: FrameType | None) -> FrameType | None:
    """The frame of the program that made this call, by way of the standard library or not; None: C code called it."""
    found = frame
    while found is not None and is_library(found):
        found = found.f_back
    return found or frame


def command_text(command: Any) -> str:
    """A command as one would type it: a string as it is, a list with its parts quoted where they need it."""
    if type(command) in (list, tuple):
        # Of many parts most would be cut off again.
        text = " ".join([_quoted(_text(part)) for part in command[:_LENGTH]])
    else:
        text = _text(command)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def command_name(command: Any) -> str:
    """Its program's file name; of a line for the shell ``sh: `` and that of its first program."""
    if type(command) in (list, tuple):
        return _file_name(_text(command[0])) if command else ""
    line = _text(command)
    return _file_name(line) if _PLAIN.issuperset(line) else f"sh: {first_name(line)}"


def first_name(line: Any) -> str:
    """The file name of the first program in a line for the shell."""
    return _file_name(next((word for word in _text(line).split() if "=" not in word), ""))


def _file_name(path: str) -> str:
    return path.rpartition("/")[2] or path


def error_text(error: BaseException | None) -> str:
    """``FileNotFoundError: [Errno 2] …``; an exception of the program's own is only named."""
    kind = type(error)
    said = str(error) if kind.__module__ in ("builtins", "subprocess") else ""
    return f"{kind.__name__}: {said}"[:_LENGTH] if said else kind.__name__


def _text(part: Any) -> str:
    kind = type(part)
    if kind is bytes:
        part = part.decode("utf-8", "surrogateescape")
    elif kind.__module__.partition(".")[0] == "pathlib":
        part = str(part)
    elif kind is not str:
        return f"<{kind.__name__}>"
    # Bytes that are no text are kept readable: a definition is UTF-8.
    said: str = part[: _LENGTH * 2].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return said


def _quoted(text: str) -> str:
    if text and _PLAIN.issuperset(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"
