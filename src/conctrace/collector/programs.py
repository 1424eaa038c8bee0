"""Programs that traced processes start and that record nothing: watched by a pidfd, so that their ends are known.

Who starts a program may look after it late, or never. A pid that was read from a record can be another's by then, so a process
is only watched when it began within the call that the record tells of.
"""

from __future__ import annotations

import os
import time

from ..events import kinds
from ..events.schema import RECORD, RECORD_SIZE
from .liveness import Life, start_ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..events.ids import Nanoseconds, Nonce

#: Not more than so many are told of in one trace.
MOST = 100_000
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_START = kinds.PROGRAM_START.number


class Watched:
    """One program: `descriptor` is to be polled, -1 when it is dead, or could not be found alive."""

    __slots__ = ("_life", "began", "died_ns", "nonce", "pid")

    def __init__(self, nonce: Nonce, pid: int, began: Nanoseconds, ended: Nanoseconds) -> None:
        self.nonce = nonce
        self.pid = pid
        self.began = began
        self.died_ns: Nanoseconds | None = None
        self._life = Life(pid, _start_between(pid, began, ended))
        if self._life.ended():
            self.died(time.monotonic_ns())

    @property
    def descriptor(self) -> int:
        """What becomes readable at its end."""
        return self._life.descriptor

    def died(self, now: Nanoseconds) -> None:
        """Says that it is dead by now."""
        self.died_ns = now
        self._life.close()


def _start_between(pid: int, began: Nanoseconds, ended: Nanoseconds) -> int:
    """When the process began, in ticks, if that was within the call; else a moment at which none did."""
    ticks = start_ticks(pid)
    if ticks is None:
        return -1
    # Ticks are counted by a clock that goes on while the machine sleeps.
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    start = ticks * _TICK_NS - asleep
    return ticks if began - 2 * _TICK_NS <= start <= ended + _TICK_NS else -1


class Programs:
    """All of them; those that live are to be polled."""

    def __init__(self) -> None:
        self.all: list[Watched] = []
        #: new ones since somebody last took them from here
        self.arrived: list[Watched] = []

    def read(self, nonce: Nonce, rows: bytes) -> None:
        """Watches the programs whose start these rows of an image record."""
        for pid, began, duration in _starts(rows):
            if len(self.all) < MOST:
                program = Watched(nonce, pid, began, began + duration)
                self.all.append(program)
                if program.descriptor >= 0:
                    self.arrived.append(program)

    def by_image(self) -> dict[Nonce, list[tuple[int, Nanoseconds, Nanoseconds | None]]]:
        """Pid, moment of the call, and when it was dead, by the image that started it."""
        found: dict[Nonce, list[tuple[int, Nanoseconds, Nanoseconds | None]]] = {}
        for program in self.all:
            found.setdefault(program.nonce, []).append((program.pid, program.began, program.died_ns))
        return found


def _starts(rows: bytes) -> Iterator[tuple[int, Nanoseconds, Nanoseconds]]:
    of_kind = rows[RECORD_SIZE - 1 :: RECORD_SIZE]
    at = of_kind.find(_START)
    while at >= 0:
        began, duration, _, pid, *_ = RECORD.unpack_from(rows, at * RECORD_SIZE)
        yield pid, began, duration
        at = of_kind.find(_START, at + 1)
