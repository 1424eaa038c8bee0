"""What the recorder knows of each thread of its image, most of it in the shared mapping.

A thread's state hangs on a thread-local of the interpreter, so it is found in a few ns, can't be mistaken for that of an
earlier thread with the same identifier, and goes when the thread goes.
"""

from __future__ import annotations

from .._stdlib import get_native_id, thread_time_ns
from ..events import layout
from .linux import run_queue_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .python import Recorder

#: CPU time and run-queue delay are read at blocking edges, not again within this time.
READING_INTERVAL_NS = 5_000_000

_HALVES = layout.THREAD_WAIT_OFFSETS
_pack_wait = layout.THREAD_WAIT.pack_into
_pack_held = layout.THREAD_HELD.pack_into
_HELD_SIZE = layout.THREAD_HELD.size


class CurrentWait:
    """What a thread waits for right now."""

    __slots__ = ("kind", "other", "since", "stack", "thing", "value")

    def __init__(self, since: int, kind: int, thing: int, stack: int, other: int, value: int) -> None:
        self.since = since
        self.kind = kind
        self.thing = thing
        self.stack = stack
        self.other = other
        self.value = value


_NO_WAIT = CurrentWait(0, 0, 0, 0, 0, 0)
_NOT_TAKEN = object()


class ThreadEnd:
    """Goes when the interpreter lets go of a thread's locals, in that very thread, and says so."""

    __slots__ = ("_recorder", "_state")

    def __init__(self, recorder: Recorder, state: ThreadState) -> None:
        self._recorder = recorder
        self._state = state

    def __del__(self) -> None:
        recorder = getattr(self, "_recorder", None)
        if recorder is None:  # a signal's handler raised before it was made
            return
        try:
            recorder.thread_gone(self._state)
        except BaseException as error:
            if not recorder.failed(error):
                raise


class ThreadState:
    """One thread: its index, its totals cells, its entry in the threads table."""

    __slots__ = (
        "__weakref__", "_entry", "_held_start", "_offset", "_recorder", "_seq", "_view", "_waits",
        "cells", "epoch", "held", "held_at", "held_end", "held_view", "index", "last_reading", "name", "thing",
    )  # fmt: skip

    def __init__(self, recorder: Recorder, index: int) -> None:
        self._recorder = recorder
        self.index = index
        self.epoch = recorder.epoch
        self.cells: dict[Any, Any] = {}
        #: locks held, outermost first
        self.held: list[Any] = []
        self.last_reading = 0
        #: as it was recorded; None: there was no room for it
        self.name: str | None = ""
        self.thing = 0
        self._seq = 0
        self._waits: list[CurrentWait] = []
        self._entry: Any = _NOT_TAKEN
        self._view: Any = None
        self.held_view: Any = None
        #: where in `held_view` the next held lock goes, and where its room ends
        self.held_at = self.held_end = self._held_start = self._offset = 0

    def _take_entry(self) -> None:
        """An entry in the table, at the first wait or hold: most forked children have neither, and it costs them 0.4 ms."""
        self._entry = entry = self._recorder.take_entry("threads")
        if entry is not None:
            self._view, _, self._offset = entry
            self.held_view = self._view
            layout.THREAD_KEY.pack_into(self._view, self._offset, self.index + 1, get_native_id())
            self.held_at = self._held_start = self._offset + layout.THREAD_HELD_OFFSET
            self.held_end = self._held_start + layout.THREAD_HELD_MAX * _HELD_SIZE

    def close(self) -> None:
        """The thread is gone: its totals are recorded, its entries are free again."""
        held = {lock.ct_held_word >> 32 for lock in self.held}  # whoever lets these go will add to its totals
        for key in [key for key in self.cells if key[0] not in held]:
            self.cells.pop(key).close(key[0], self.index)
        entry, self._entry = self._entry, None
        self._view = self.held_view = None
        self.held_end = 0
        if entry is not None and entry is not _NOT_TAKEN and self.epoch == self._recorder.epoch:
            self._recorder.give_entry("threads", entry)

    # The current wait -------------------------------------------------------------------------------------

    def wait_begins(self, kind: int, thing: int, stack: int, since: int, other: int = 0, value: int = 0) -> None:
        """This thread is about to block: say on what, and since when, where all can read it."""
        wait = CurrentWait(since, kind, thing, stack, other, value)
        self._waits.append(wait)
        self._show_wait(wait)

    def current_wait(self) -> CurrentWait:
        """The innermost wait."""
        return self._waits[-1]

    def wait_ends(self) -> None:
        """Back to the wait that this one interrupted (in a signal handler), or to none."""
        waits = self._waits
        waits.pop()
        self._show_wait(waits[-1] if waits else _NO_WAIT)

    def _show_wait(self, wait: CurrentWait) -> None:
        if self._entry is _NOT_TAKEN:
            self._take_entry()
        if self._view is None:
            return
        seq = self._seq = self._seq + 1
        _pack_wait(
            self._view, self._offset + _HALVES[seq & 1],
            seq, wait.since, wait.other, wait.value, wait.thing, wait.stack, wait.kind, 0, seq,
        )  # fmt: skip

    # Held locks (pushed and popped inline in `locks`, where it is hot) ----------------------------------------

    def drop_held(self, lock: Any) -> None:
        """`lock`, not the last one taken, was let go: write the whole stack anew."""
        if lock not in self.held:
            return
        self.held.remove(lock)
        self.held_at = self._held_start
        for held in self.held:
            self.show_held(held.ct_held_since, held.ct_held_word)
        if self.held_at < self.held_end:
            _pack_held(self.held_view, self.held_at, 0, 0)

    def show_held(self, since: int, word: int) -> None:
        """Put one more held lock where all can read it."""
        if self._entry is _NOT_TAKEN:
            self._take_entry()
        at = self.held_at
        if at < self.held_end:
            _pack_held(self.held_view, at, since, word)
            _pack_held(self.held_view, at + _HELD_SIZE, 0, 0)
        else:
            self._recorder.count("held_dropped")
        self.held_at = at + _HELD_SIZE

    # CPU time ------------------------------------------------------------------------------------------------

    def reading(self, now: int) -> tuple[int, int]:
        """(CPU time, run-queue delay) of this thread in ns, or (0, 0) when they were read a moment ago."""
        if now - self.last_reading < READING_INTERVAL_NS:
            return 0, 0
        self.last_reading = now
        return thread_time_ns(), run_queue_ns()
