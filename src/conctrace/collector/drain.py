"""What the traced processes have put into the session folder, taken out in good order.

`Drain` looks into the folder, makes an `Image` of each live page, in a file of its own or in a nursery, gives it its
segments, and hands on what may be taken (`segment` says what may) to a `Sink`: the queue to the writer, or in
`recovery` the trace file itself.

An image goes through these states, in this order, each step in one place:

living    its segments are read while it writes
dying     its process is dead (pidfd), or exec has replaced it. The folder is listed once more, from the beginning,
          since it may have made segments after it was last listed, and all it left is taken, holes counted
closing   the trace is about to end and it still lives: two looks, then what they found is taken
closed    its last facts are handed on: counters, totals, what its threads waited for and held
"""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from contextlib import suppress

from ..events import functions, kinds, layout
from ..events.schema import RECORD, RECORD_SIZE
from ..tracefile import format as form
from . import tables
from .liveness import Life
from .nurseries import Nursery
from .programs import Programs
from .segment import BLOCK_ROWS, PATIENCE_NS, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from ..events.ids import Nanoseconds, Nonce

#: Rows of a process that records little are taken together after so long; they are safe where they are.
BATCH_NS: Nanoseconds = 200_000_000
#: A folder's time stamp is only as fine as the kernel's tick; a listing this soon after it may have missed something.
_TICK_NS: Nanoseconds = 20_000_000

#: Descriptors kept free, for tables, imports and the like.
SPARE_DESCRIPTORS = 16

LIVING, DYING, CLOSING, CLOSED = range(4)

_STARTS = (kinds.PROCESS_FORK.number, kinds.PROCESS_START.number, kinds.PROGRAM_START.number)
_PROGRAM = layout.ROLES[0]


if TYPE_CHECKING:

    class Sink(Protocol):
        """Where rows and facts go; each gets a number, and is safe once `acked` has reached it."""

        acked: int

        def room(self) -> bool:
            """Whether it wants more rows now."""

        def records(self, nonce: Nonce, segment: int, first: int, rows: bytes) -> int:
            """Hands on rows of a segment."""

        def facts(self, kind: int, nonce: Nonce, facts: dict[str, Any]) -> int:
            """Hands on a block of another kind."""

        def calls(self, nonce: Nonce) -> int:
            """Says that an image's calls of functions can be taken, if it left any."""


class Image:
    """One process image and what is left to read of it."""

    def __init__(self, nonce: Nonce, facts: dict[str, Any], now: Nanoseconds, home: tuple[Nursery, int] | None) -> None:
        self.nonce = nonce
        self.facts = facts
        #: the nursery that has its live page, and which page it is; None: it has a file of its own
        self.home = home
        self.life = Life(facts["pid"], facts["start_ticks"], facts["pidns"])
        self.state = LIVING
        self.segments: dict[int, Segment] = {}
        self.last_seq = -1
        self.seen: dict[str, Any] = {"dead": False, "died_ns": None, "first_seen_ns": now}
        #: number of the last listing of the folder that need not have shown all its segments
        self.listings = 0
        self.taken_ns = now
        self.has_tables = False

    @property
    def process(self) -> tuple[int, int, int]:
        """Equal before and after exec."""
        return self.facts["pidns"], self.facts["pid"], self.facts["start_ticks"]

    @property
    def is_program(self) -> bool:
        """False for the standard library's own helpers, which nobody waits for."""
        return bool(self.facts["role"] == _PROGRAM)

    def add(self, segment: Segment, now: Nanoseconds) -> None:
        """Gives it one more of its segments; all before the last one have a successor now."""
        self.segments[segment.seq] = segment
        segment.measure()
        last = self.last_seq = max(self.last_seq, segment.seq)
        for seq, each in self.segments.items():
            if seq < last and not each.succeeded_ns:
                each.succeeded_ns = now

    def unfinished(self) -> list[Segment]:
        """Its segments that have something to give, in order."""
        return [segment for _, segment in sorted(self.segments.items()) if not segment.finished]


class Drain:
    """Reads a session folder into a sink."""

    def __init__(self, folder: str, control: int, sink: Sink, known: frozenset[Nonce] = frozenset()) -> None:
        """`known`: images of which nothing but segments is wanted any more."""
        self.folder = folder
        self.images: dict[Nonce, Image] = {}
        #: new images since somebody last took them from here
        self.arrived: list[Image] = []
        #: images that died or were closed since then; who watches their `life` closes it
        self.departed: list[Image] = []
        #: pids of children that a record speaks of, and that have not shown up themselves
        self.announced: set[int] = set()
        #: programs that a record speaks of
        self.programs = Programs()
        #: True while there is something to read again soon
        self.busy = False
        self._control = control
        self._sink = sink
        self._known = known
        self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._order: deque[Image] = deque()
        self._holding: dict[Nonce, Image] = {}
        #: closed images whose files are still there, each with the number of its last facts
        self._closed: deque[tuple[int, Image]] = deque()
        self._nurseries: dict[tuple[Nonce, int], Nursery] = {}
        #: images that have tables, as of the last listing
        self._with_tables: set[Nonce] = set()
        self._by_process: dict[tuple[int, int, int], Image] = {}
        self._listings = 0
        self._listed_ns = -1
        self._undrained = -1
        self._incomplete = True

    # The folder -------------------------------------------------------------------------------------------

    def scan(self, now: Nanoseconds, *, force: bool = False) -> None:
        """Looks for new live pages and segments; does not list the folder while it is as it was."""
        changed_ns = os.stat(self.folder).st_mtime_ns
        if changed_ns == self._listed_ns and not (force or self._incomplete):
            self._look_into_nurseries(now)
            return
        self._listings += 1
        names = os.listdir(self.folder)
        self._incomplete = False
        self._with_tables = set(tables.having(names))
        for nonce, _ in _numbers(names, ".live"):
            if nonce not in self.images and nonce not in self._known:
                self._read_live_page(nonce, now)
        for maker, index in _numbers(names, ".births"):
            self._find_nursery(maker, index)
        self._look_into_nurseries(now)
        for nonce, seq in _numbers(names, ".seg"):
            self._attach(nonce, seq, now)
        # CLOCK_REALTIME, as file times are.
        self._listed_ns = changed_ns if _wall_ns() - changed_ns > _TICK_NS else -1

    def _find_nursery(self, maker: Nonce, index: int) -> None:
        if (maker, index) not in self._nurseries and not self._is_crowded(self._descriptors // 2):
            with suppress(FileNotFoundError):
                self._nurseries[maker, index] = Nursery(self.folder, maker, index)

    def _look_into_nurseries(self, now: Nanoseconds) -> None:
        for nursery in self._nurseries.values():
            for number, page in nursery.look():
                facts = tables.identity(page)
                if facts is None or facts["nonce"] in self._known:
                    continue
                if not self._is_crowded(self._descriptors // 2):
                    nursery.meet(number, facts["nonce"])
                    self._meet(facts, now, (nursery, number))

    def _read_live_page(self, nonce: Nonce, now: Nanoseconds) -> None:
        if self._is_crowded(self._descriptors // 2):
            return
        facts = tables.identity(tables.live_page(self.folder, nonce))
        if facts is None or facts["nonce"] != nonce:
            self._incomplete = True
        else:
            self._meet(facts, now, None)

    def _meet(self, facts: dict[str, Any], now: Nanoseconds, home: tuple[Nursery, int] | None) -> None:
        nonce = facts["nonce"]
        image = Image(nonce, facts, now, home)
        self.images[nonce] = image
        self._order.append(image)
        self.arrived.append(image)
        self.announced.discard(facts["pid"])
        self._find_replaced(image)
        self._sink.facts(form.IMAGE, nonce, {"facts": facts, "seen": image.seen})
        if image.life.gone:
            self.died(image, None)

    def _find_replaced(self, new: Image) -> None:
        """The same process in a new image: exec has replaced the older of the two."""
        older, newer = self._by_process.get(new.process, new), new
        if older.facts["born_ns"] > newer.facts["born_ns"]:
            older, newer = newer, older
        self._by_process[new.process] = newer
        if older is not newer:
            older.seen["replaced_by"] = newer.nonce
            self.died(older, newer.facts["born_ns"])

    def _attach(self, nonce: Nonce, seq: int, now: Nanoseconds) -> None:
        image = self.images.get(nonce)
        if image is None:
            self._incomplete = self._incomplete or nonce not in self._known
        elif image.state < CLOSED and image.facts["readable"] and self._is_new(image, seq):
            if self._is_crowded(self._descriptors - SPARE_DESCRIPTORS):
                # Not to be closed before a listing after which it has all its segments.
                image.listings = self._listings
                return
            with suppress(FileNotFoundError):
                image.add(Segment(os.path.join(self.folder, layout.segment_name(nonce, seq)), seq), now)
                self._holding[nonce] = image

    @staticmethod
    def _is_new(image: Image, seq: int) -> bool:
        known = image.segments.get(seq)
        if known is None:
            return True
        if not known.withdrawn:
            return False
        known.close()
        return True

    def _is_crowded(self, limit: int) -> bool:
        """Too many processes at once for our descriptors: the turn of the next comes when others have ended."""
        try:
            # The lowest free number, so it tells how many are in use.
            lowest = os.dup(self._control)
        except OSError:
            lowest = self._descriptors
        else:
            os.close(lowest)
        crowded = lowest >= limit
        self._incomplete = self._incomplete or crowded
        return crowded

    # The images -------------------------------------------------------------------------------------------

    def died(self, image: Image, time_ns: Nanoseconds | None) -> None:
        """Says that an image's process is dead, or another program by now."""
        if image.state == LIVING:
            image.state = DYING
            image.seen["dead"] = True
            image.seen["died_ns"] = time_ns
            image.listings = self._listings
            self.departed.append(image)

    def begin_close(self) -> bool:
        """Says that the trace ends now; True when some image still lives, so that a moment must pass before `drain`."""
        living = [image for image in self._order if image.state == LIVING]
        for image in living:
            image.state = CLOSING
            for segment in image.unfinished():
                segment.look_at_rest()
        return bool(living)

    def drain(self, now: Nanoseconds) -> None:
        """Takes what may be taken, as far as the sink has room."""
        self.busy = False
        if any(image.state != LIVING and image.listings == self._listings for image in self._order):
            self.scan(now, force=True)
        for image in list(self._order):
            if image.state == LIVING:
                self._drain_living(image, now)
            elif image.listings < self._listings:
                self._drain_last(image, now)
        self._order.rotate(1)
        self._unlink()
        self._say_undrained()

    def close(self) -> None:
        """Gives up the descriptors of those who were watched, and of nurseries."""
        for image in self.images.values():
            image.life.close()
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries.clear()

    def open(self) -> list[Image]:
        """Images that still live, or that have not been taken to their end."""
        return [image for image in self._order if image.state < CLOSED]

    def _drain_living(self, image: Image, now: Nanoseconds) -> None:
        overdue = now - image.taken_ns >= BATCH_NS
        for segment in image.unfinished():
            before = segment.complete
            segment.settle() if segment.looked_at_rest else segment.look()
            self.busy = self.busy or segment.complete > before
            hurry = overdue or segment.succeeded_ns > 0 or segment.urgent
            while segment.waiting and (hurry or segment.waiting >= BLOCK_ROWS) and self._sink.room():
                segment.urgent = False
                self._send(image, segment, *segment.take(), now)
            if segment.succeeded_ns and not segment.waiting:
                self._finish_old(image, segment, now)

    def _finish_old(self, image: Image, segment: Segment, now: Nanoseconds) -> None:
        """A segment that has a successor, of which all that is certain was taken."""
        if segment.full:
            segment.finished = True
        elif segment.looked_at_rest:
            self._send_rest(image, segment, now)
        elif now - segment.succeeded_ns >= PATIENCE_NS:
            segment.look_at_rest()

    def _drain_last(self, image: Image, now: Nanoseconds) -> None:
        """Everything an image has left, then its last facts; goes on where it was when the sink had no room."""
        for segment in image.unfinished():
            if image.state == DYING:
                segment.look_at_rest()
            segment.settle()
            while segment.waiting:
                if not self._sink.room():
                    return
                self._send(image, segment, *segment.take(), now)
            self._send_rest(image, segment, now)
        self._close(image)

    def _close(self, image: Image) -> None:
        page = tables.live_page(self.folder, image.nonce) if image.home is None else image.home[0].page(image.home[1])
        # Of one that is dead the folder was listed since.
        image.has_tables = image.state == CLOSING or image.nonce in self._with_tables
        reason = "" if image.facts["readable"] else "its recorder is of another version of conctrace: nothing was read"
        if os.path.exists(os.path.join(self.folder, functions.file_name(image.nonce))):
            self._sink.calls(image.nonce)
        number = self._sink.facts(form.FINAL, image.nonce, {
            "facts": image.facts, "seen": image.seen, "counters": tables.counters(page),
            "off_reason": reason or tables.off_reason(page),
            **tables.of(self.folder, image.nonce if image.has_tables else None),
        })  # fmt: skip
        self._closed.append((number, image))
        if image.state == CLOSING:
            self.departed.append(image)
        image.state = CLOSED
        self._order.remove(image)

    def _send_rest(self, image: Image, segment: Segment, now: Nanoseconds) -> None:
        first, rows = segment.take_rest()
        if rows or not segment.sent:
            # An empty block says that the segment was there: it is not a lost one.
            self._send(image, segment, first, rows, now)
        segment.finished = True

    def _send(self, image: Image, segment: Segment, first: int, rows: bytes, now: Nanoseconds) -> None:
        segment.acked_by = self._sink.records(image.nonce, segment.seq, first, rows)
        segment.sent = True
        image.taken_ns = now
        self.busy = True
        if not self._is_crowded(self._descriptors // 2):
            self.programs.read(image.nonce, rows)
        for pid in _children(rows):
            if all(each.facts["pid"] != pid for each in self._order):
                self.announced.add(pid)

    # What the traced processes can see ----------------------------------------------------------------------

    def _unlink(self) -> None:
        for image in list(self._holding.values()):
            done = [each for each in image.segments.values() if each.finished and each.acked_by <= self._sink.acked]
            for segment in done:
                segment.close()
                _unlink_quietly(segment.path)
                del image.segments[segment.seq]
            if not image.segments:
                del self._holding[image.nonce]
        # Or every listing of the folder would go through all that ever were.
        while self._closed and self._closed[0][0] <= self._sink.acked:
            self._remove(self._closed.popleft()[1])
        for key, nursery in list(self._nurseries.items()):
            maker = self.images.get(nursery.maker)
            if maker is not None and maker.state == CLOSED and not nursery.residents and nursery.retire():
                del self._nurseries[key]

    def _remove(self, image: Image) -> None:
        """What is left of an image of which everything is safe."""
        if image.home is None:
            _unlink_quietly(os.path.join(self.folder, layout.live_name(image.nonce)))
        else:
            image.home[0].residents.discard(image.nonce)
        if image.has_tables:
            tables.unlink(self.folder, image.nonce)

    def _say_undrained(self) -> None:
        undrained = sum(segment.size for image in self._holding.values() for segment in image.segments.values())
        if undrained != self._undrained:
            self._undrained = undrained
            os.pwrite(self._control, undrained.to_bytes(8, "little"), layout.CONTROL_UNDRAINED_OFFSET)


def _numbers(names: list[str], ending: str) -> Iterator[tuple[Nonce, int]]:
    """Nonce and sequence number (0 if it has none) in the names of files of a kind; other names are not ours."""
    for name in names:
        if name.endswith(ending):
            nonce, _, seq = name[: -len(ending)].partition(".")
            with suppress(ValueError):
                yield int(nonce, 16), int(seq or 0)


def _children(rows: bytes) -> Iterator[int]:
    """Pids of the children whose start these rows record."""
    of_kind = rows[RECORD_SIZE - 1 :: RECORD_SIZE]
    for kind in _STARTS:
        at = of_kind.find(kind)
        while at >= 0:
            pid = RECORD.unpack_from(rows, at * RECORD_SIZE)[3]
            if pid > 0:
                yield pid
            at = of_kind.find(kind, at + 1)


def _unlink_quietly(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _wall_ns() -> Nanoseconds:
    return time.time_ns()
