"""What all blocking operations share: show the wait while it lasts, record it when it is over."""

from __future__ import annotations

from .._stdlib import getframe
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..events.kinds import EventKind


@guarded
def begin_wait(kind: EventKind, number: int, other: int = 0, value: int = 0) -> int:
    """The current thread is about to call something that may block; gives a token for `end_wait`, 0 or None: none."""
    # guarded's own frame, the wrapper's, then the user's; frames of ours are left out by the stack anyway
    return active().begin_wait(kind.number, number, getframe(2), other, value)


@guarded
def end_wait(token: int, outcome: int, other: int | None = None, value: int | None = None) -> None:
    """The wait that began last in this thread is over; `other` and `value` as known now, else as when it began."""
    active().end_wait(token, outcome, other, value)
