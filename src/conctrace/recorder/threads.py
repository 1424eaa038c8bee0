"""What the recorder knows of each thread of its image, most of it in the shared mapping.

A thread's state hangs on a thread-local of the interpreter, so it is found in a few ns, can't be mistaken for that of an
earlier thread with the same identifier, and goes when the thread goes.
"""

from __future__ import annotations

from .._stdlib import get_native_id, monotonic_ns, thread_time_ns
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
_HELD_WORD = layout.THREAD_HELD_OFFSET // 8


class ThreadState:
    """One thread: its index, its totals cells, its entry in the threads table."""

    __slots__ = (
        "__weakref__", "_entry", "_offset", "_recorder", "_seq", "_view", "_waits", "_words",
        "cells", "epoch", "held", "index", "last_reading", "name", "object",
    )  # fmt: skip

    def __init__(self, recorder: Recorder, index: int) -> None:
        self._recorder = recorder
        self.index = index
        self.epoch = recorder.epoch
        self.cells: dict[Any, Any] = {}
        #: locks held, outermost first
        self.held: list[Any] = []
        self.last_reading = 0
        self.name = ""
        self.object = 0
        self._seq = 0
        self._waits: list[tuple[int, ...]] = []
        self._entry = entry = recorder.take_entry("threads")
        if entry is not None:
            self._view, words, self._offset = entry
            layout.THREAD_KEY.pack_into(self._view, self._offset, index + 1, get_native_id())
            start = self._offset // 8
            self._words = words[start : start + layout.THREAD_ENTRY_SIZE // 8]

    def close(self) -> None:
        """The thread is gone: its entry is free again."""
        entry, self._entry = self._entry, None
        if entry is not None and self.epoch == self._recorder.epoch:
            self._recorder.give_entry("threads", entry)

    def __del__(self) -> None:
        self._recorder.thread_gone(self)

    # The current wait -------------------------------------------------------------------------------------

    def wait_begins(self, kind: int, object: int, stack: int, other: int = 0, value: int = 0) -> int:
        """This thread is about to block: say on what, where all can read it. Returns the time."""
        since = monotonic_ns()
        wait = (since, other, value, object, stack, kind)
        self._waits.append(wait)
        self._show_wait(wait)
        return since

    def wait_ends(self) -> None:
        """Back to the wait that this one interrupted (in a signal handler), or to none."""
        waits = self._waits
        waits.pop()
        self._show_wait(waits[-1] if waits else (0, 0, 0, 0, 0, 0))

    def _show_wait(self, wait: tuple[int, ...]) -> None:
        if self._entry is None:
            return
        seq = self._seq = self._seq + 1
        since, other, value, object, stack, kind = wait
        _pack_wait(self._view, self._offset + _HALVES[seq & 1], seq, since, other, value, object, stack, kind, 0, seq)

    # Held locks --------------------------------------------------------------------------------------------

    def show_held(self) -> None:
        """Write the whole held stack anew: after a release out of order."""
        if self._entry is None:
            return
        words = self._words
        shown = self.held[: layout.THREAD_HELD_MAX]
        words[_HELD_WORD] = 0
        for place, lock in enumerate(shown):
            words[_HELD_WORD + 1 + 2 * place] = lock.held_word
            words[_HELD_WORD + 2 + 2 * place] = lock.held_since
        words[_HELD_WORD] = len(shown)

    def push_held(self, lock: Any, word: int, since: int) -> None:
        """`lock` was got; `word` is its number << 32 | site."""
        held = self.held
        depth = len(held)
        held.append(lock)
        if self._entry is None or depth >= layout.THREAD_HELD_MAX:
            self._recorder.count("held_dropped")
            return
        words = self._words
        words[_HELD_WORD + 1 + 2 * depth] = word
        words[_HELD_WORD + 2 + 2 * depth] = since
        words[_HELD_WORD] = depth + 1

    def pop_held(self, lock: Any) -> None:
        """`lock` was let go, in whatever order and by whichever thread."""
        held = self.held
        if held and held[-1] is lock:
            held.pop()
            depth = len(held)
            if self._entry is not None and depth < layout.THREAD_HELD_MAX:
                self._words[_HELD_WORD] = depth
        elif lock in held:
            held.remove(lock)
            self.show_held()

    # CPU time ------------------------------------------------------------------------------------------------

    def reading(self, now: int) -> tuple[int, int]:
        """(CPU time, run-queue delay) of this thread in ns, or (0, 0) when they were read a moment ago."""
        if now - self.last_reading < READING_INTERVAL_NS:
            return 0, 0
        self.last_reading = now
        return thread_time_ns(), run_queue_ns()
