"""Reads one segment while its process may still be writing it.

Three questions decide what may be taken, and when.

*Is the slot finished?* Its last byte, the kind, says so, stored last. But one copy out of the page cache goes
upwards through the bytes: it can pick up a slot's front before the writer filled it and its kind after. So slots are
found complete by one look and copied by a later one. On x86 that is enough. On aarch64 a recorder without a release
store (the Python one) may have the kind seen before the rest; between two looks lie milliseconds and system calls
at both ends, by which time every store has arrived. Hence the rule, on every machine: take what was complete at the
look *before* (`settled`), never what this look found.

*Is there something behind a hole?* While the process lives, a hole is a thread between reserving and storing, so the
reader waits there. The hole stays when that thread was killed by an exception from a signal handler, or is stopped.
So once there is a next segment a hole is given `PATIENCE_NS`, then what lies behind it is taken with the hole in it.
The other segments do not wait meanwhile: each has its own place of reading. Once the process is dead, or the trace
is about to end, nothing is waited for.

*Is it a hole at all?* Slots that stay free at the end of a segment are no holes: what was to be stored did not fit.
So rows are taken up to the last finished slot; those without a kind among them are the holes, and travel with the
rows for the reader of the trace to count.
"""

from __future__ import annotations

import os

from ..events import kinds
from ..events.schema import RECORD_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..events.ids import Nanoseconds

#: A hole in a segment that has a successor is waited for so long.
PATIENCE_NS: Nanoseconds = 1_000_000_000
#: Rows in one block, at most.
BLOCK_ROWS = 8192
#: Slots looked at by one read; the first look at a segment where little happens reads 4 KiB.
_LOOK_SLOTS = (64, 1024, 8192)
_MORE = kinds.MORE.number
_PROGRAM_START = kinds.PROGRAM_START.number


class Segment:
    """One segment file and how far it has been read; slots are counted from 0, which is the header."""

    __slots__ = (
        "_descriptor",
        "_rest",
        "acked_by",
        "complete",
        "finished",
        "path",
        "sent",
        "seq",
        "settled",
        "size",
        "succeeded_ns",
        "taken",
        "urgent",
    )  # fmt: skip

    def __init__(self, path: str, seq: int) -> None:
        self.path = path
        self.seq = seq
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        #: bytes on disk, as last asked for
        self.size = 0
        #: slots before it are finished, as far as the last look knows …
        self.complete = 1
        #: … and the look before it knew
        self.settled = 1
        #: slots before it have been handed on
        self.taken = 1
        #: True while there is something among what is to be taken that is not to wait: a program has begun, and can end any time
        self.urgent = False
        #: kinds of the slots from `complete` to the end, once holes are not waited for any more
        self._rest: bytes | None = None
        #: when its successor was first seen, 0 while it has none
        self.succeeded_ns: Nanoseconds = 0
        #: True when nothing more will be taken from it
        self.finished = False
        #: number of the last block sent, 0: none
        self.acked_by = 0
        #: True once at least one block names it
        self.sent = False

    def look(self) -> None:
        """Finds out how many slots are complete by now."""
        self.settled = self.complete
        for slots in _looks():
            kinds_seen = self._kinds(self.complete, slots)
            hole = kinds_seen.find(0)
            self.urgent = self.urgent or _PROGRAM_START in kinds_seen
            self.complete += len(kinds_seen) if hole < 0 else hole
            if hole >= 0 or len(kinds_seen) < slots:
                break

    def look_at_rest(self) -> None:
        """Notes which slots from here to the end are finished: holes among them are not waited for any more."""
        self.look()
        while self._kinds(self.complete, 1).strip(b"\0"):
            self.look()
        self._rest = self._kinds(self.complete, None).rstrip(b"\0")

    @property
    def looked_at_rest(self) -> bool:
        """Whether `look_at_rest` was called, so that `take_rest` may be."""
        return self._rest is not None

    @property
    def waiting(self) -> int:
        """How many rows may be taken now."""
        return self.settled - self.taken

    @property
    def withdrawn(self) -> bool:
        """Whether its maker unlinked it before it stored anything: it could not be mapped, and another may have its number."""
        return self.taken == 1 and self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0

    @property
    def full(self) -> bool:
        """Whether every slot of the file was taken."""
        return self.taken * RECORD_SIZE >= self.measure()

    def settle(self) -> None:
        """Says that nobody writes any more: what is complete may be taken at once."""
        self.settled = self.complete

    def take(self) -> tuple[int, bytes]:
        """The next rows that are safe, at most a block of them, and the slot of the first."""
        first = self.taken
        rows = self._rows(first, min(self.settled - first, BLOCK_ROWS))
        if first + len(rows) // RECORD_SIZE < self.settled:
            rows = self._without_cut_definition(rows)
        self.taken += len(rows) // RECORD_SIZE
        return first, rows

    def take_rest(self) -> tuple[int, bytes]:
        """After `look_at_rest`, and after `take` gave all: everything behind the first hole, holes included."""
        assert self._rest is not None
        seen, self._rest = self._rest, b""
        first = self.complete
        rows = bytearray(self._rows(first, len(seen)))
        for slot, kind in enumerate(seen):
            if not kind:
                # Finished since: not to be trusted, see the rule above.
                rows[slot * RECORD_SIZE : (slot + 1) * RECORD_SIZE] = bytes(RECORD_SIZE)
        self.complete = self.settled = self.taken = first + len(seen)
        return first, bytes(rows)

    def measure(self) -> int:
        """Bytes of the file; the process makes it before it fills it, so this can grow once."""
        self.size = os.fstat(self._descriptor).st_size
        return self.size

    def close(self) -> None:
        """Gives the descriptor up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _kinds(self, slot: int, slots: int | None) -> bytes:
        return self._rows(slot, self.measure() // RECORD_SIZE - slot if slots is None else slots)[
            RECORD_SIZE - 1 :: RECORD_SIZE
        ]

    def _rows(self, slot: int, slots: int) -> bytes:
        rows = os.pread(self._descriptor, max(slots, 0) * RECORD_SIZE, slot * RECORD_SIZE)
        return rows[: len(rows) // RECORD_SIZE * RECORD_SIZE]

    @staticmethod
    def _without_cut_definition(rows: bytes) -> bytes:
        """The rows up to the last definition, if that may go on behind them: whoever reads a block gets it whole."""
        of_kind = rows[RECORD_SIZE - 1 :: RECORD_SIZE]
        end = len(of_kind)
        while end and of_kind[end - 1] == _MORE:
            end -= 1
        if end and of_kind[end - 1] == kinds.DEFINE.number:
            end -= 1
        return rows[: end * RECORD_SIZE] if end else rows


def _looks() -> tuple[int, ...]:
    # One look at most 16 times the largest read: the other segments want to be looked at too.
    return _LOOK_SLOTS + _LOOK_SLOTS[-1:] * 15
