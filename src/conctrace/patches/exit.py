"""`os._exit`: the last that a process says of itself, with its status."""

from __future__ import annotations

from .._stdlib import monotonic_ns
from ..events import kinds
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from .patchset import PatchSet


def install(patches: PatchSet, os: ModuleType) -> None:
    """Wrap it."""
    patches.wrap(os, "_exit", _exit)


def _exit(original: Any) -> Any:
    def _exit(*args: Any, **kwargs: Any) -> None:
        status = args[0] if args else kwargs.get("status")
        if isinstance(status, int):  # else the original will refuse it
            say_exit(int(status), kinds.EXIT_OS_EXIT)
        original(*args, **kwargs)

    return _exit


@guarded
def say_exit(status: object, how: kinds.OutcomeKind) -> None:
    """Record that this image is about to end; `status` as the exit system call will cut it, -1: not known."""
    value = -1 if type(status) is not int or (status == -1 and how is kinds.EXIT_FINALIZED) else status & 0xFF
    active().exits(monotonic_ns(), value, how.number)
