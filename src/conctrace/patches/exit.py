"""`os._exit`: the last that a process says of itself, with its status."""

from __future__ import annotations

from .._stdlib import monotonic_ns
from ..events import kinds
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _exit(original: Any) -> Any:
    def _exit(*args: Any, **kwargs: Any) -> None:
        _exits(args, kwargs)
        original(*args, **kwargs)

    return _exit


@guarded
def _exits(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    status = args[0] if args else kwargs.get("status")
    if not isinstance(status, int) or len(args) + len(kwargs) != 1:
        return  # the original will refuse it
    value = int.__index__(status)  # of a subclass, too, without asking it
    if -(2**31) <= value < 2**31:
        say_exit(value, kinds.EXIT_OS_EXIT)


@guarded
def say_exit(status: object, how: kinds.OutcomeKind) -> None:
    """Record that this image is about to end; `status` as the exit system call will cut it, -1: not known."""
    value = -1 if type(status) is not int else status & 0xFF
    active().exits(monotonic_ns(), value, how.number)


WRAPPERS = {"_exit": _exit}
