"""What all blocking operations share: show the wait while it lasts, record it when it is over."""

from __future__ import annotations

from .._stdlib import getframe, monotonic_ns
from .guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..events.kinds import EventKind
    from ..recorder.threads import ThreadState


@guarded
def begin_wait(kind: EventKind, number: int, other: int = 0, value: int = 0) -> ThreadState:
    """The current thread is about to call something that may block, called by the user two frames up from here."""
    since = monotonic_ns()
    recorder = active()
    state: ThreadState = recorder.state
    # guarded's own frame, the wrapper's, then the user's; frames of ours are left out by the stack anyway
    state.wait_begins(kind.number, number, recorder.sites.stack(getframe(2)), since, other, value)
    return state


@guarded
def end_wait(state: ThreadState, outcome: int, other: int | None = None, value: int | None = None) -> None:
    """The wait that began last in this thread is over; `other` and `value` as known now, else as when it began."""
    recorder = active()
    end = monotonic_ns()
    wait = state.current_wait()
    state.wait_ends()
    if state.epoch != recorder.epoch:  # this is a child, forked while its parent's thread waited
        return
    cpu, runq = state.reading(end)
    recorder.emit(
        wait.kind, state.index, wait.since, end - wait.since, wait.thing,
        wait.other if other is None else other, wait.value if value is None else value,
        wait.stack, outcome, cpu, runq,
    )  # fmt: skip
