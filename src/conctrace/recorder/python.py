"""The recorder, in Python: appends records to mapped segments, keeps what must survive a kill in mapped tables.

It is the twin of the native recorder: same interface, same files. There is no thread, no flush at exit and no lock in
it: a record is in the kernel's page cache the moment it is stored, so whatever kills the process, what was
recorded is there.

One process *image* at a time: a word on a page that every kind of fork wipes tells a child, at its next record, that
it is another image now; it then opens files of its own. Nothing is done in the child before that (beyond the
"born" record that `session` asks for), and nothing of the parent's mapping is touched by it.

GIL assumptions: straight-line code without a call or a jump is atomic (see `segments.Segment`); dict and list
operations are. Signal handlers and ``__del__`` may re-enter anything here.
"""

from __future__ import annotations

import os

from .._stdlib import (
    RLockType,
    ThreadLocal,
    allocate_lock,
    get_native_id,
    getpid,
    is_library_file,
    monotonic_ns,
    sleep,
)
from ..events import kinds, layout
from ..events.schema import NO_CORE, RECORD, RECORD_SHIFT, pack_payload
from ..settings import TEXTS_MAX
from .control import Control
from .linux import let_go, sched_getcpu, wiped_on_fork_page
from .live import LivePage
from .locks import TracedLock, TracedRLock, traced, use_recorder
from .segments import Segment, more_slots, segment_size
from .shared import Shared, is_the_programs
from .sites import Sites
from .tables import Table
from .things import Things
from .threads import ThreadEnd, ThreadState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

#: States of the word that a fork wipes.
_WIPED, _RECORDING, _OFF = 0, 1, 2

#: After a segment could not be made, do not try again for this long.
_RETRY_NS = 100_000_000
#: How often to look again while another thread makes the next segment.
_SWITCH_TRIES = 2_000

_store = RECORD.pack_into
_DEFINE = kinds.DEFINE.number
_MORE = kinds.MORE.number
_ENTRY_SIZES = {"threads": layout.THREAD_ENTRY_SIZE, "totals": layout.TOTALS_ENTRY_SIZE}


#: The last epoch of this process.
_epochs = [0]


class Recorder(Shared, Things):
    """Everything that patches may call (`shared.Interface`). One per process; `alive` says whether it (still) records."""

    __slots__ = (
        "_control", "_flags", "_folder", "_next_number", "_next_thread", "_no_room_until",
        "_objects", "_segment", "_skipped", "_tables", "_texts", "_texts_size", "_waiting_segments", "epoch", "live", "local", "session", "sites", "wipe",
    )  # fmt: skip

    name = "python"
    lock_type = TracedLock

    def __init__(self, folder: str, role: int = 0) -> None:
        """Start recording into the session's folder; raises OSError when that cannot be."""
        self._folder = folder
        self._control = Control(folder)
        self._flags = self._control.flags
        #: wipe[0] is 1 while recording, 0 in a forked child that has not noticed yet, else 2
        self.wipe: Any = memoryview(wiped_on_fork_page()).cast("B")
        self._next_number = 1
        #: counts the images of this process, over all its sessions, so that what belongs to an earlier one is known
        self.epoch = self.session = _epochs[0]
        self._objects: dict[int, Any] = {}
        self._start_image(0, 1, role)
        use_recorder(self)

    # Images ------------------------------------------------------------------------------------------------

    def _start_image(self, parent_nonce: int, inherited_below: int, role: int) -> None:
        _epochs[0] = self.epoch = _epochs[0] + 1
        self.live = LivePage(self._folder, parent_nonce, inherited_below, role)
        self._segment: Segment | None = None
        self._no_room_until = 0
        self._skipped = -1
        self._waiting_segments: list[tuple[str, int]] = []
        self._tables: dict[str, Table] = {}
        self._next_thread = 0
        self.local: Any = ThreadLocal()
        if parent_nonce == 0:
            self.sites = Sites(self)
            self._texts: dict[str, int] = {}
            self._texts_size = 0
        self.wipe[0] = _RECORDING
        born = self.live.born
        self.store(kinds.PROCESS_BORN.number, 0, born, 0, 0, parent_nonce, getpid())

    @property
    def nonce(self) -> int:
        """The image's own."""
        return self.live.nonce

    def reopen_in_child(self) -> bool:
        """After a fork: become an image of its own. Returns whether it records."""
        if self.wipe[0] == _WIPED:
            self.wipe[0] = _OFF  # until it is whole
            try:
                self._start_image(self.live.nonce, self._next_number, 0)
            except BaseException as error:
                if not isinstance(error, Exception) or is_the_programs(error):
                    self.wipe[0] = _WIPED  # a signal's handler: once more at the next record
                    raise
                return False  # no permission any more, no room: this child is not seen from inside
        return bool(self.wipe[0] == _RECORDING)

    @property
    def alive(self) -> bool:
        """Whether it records."""
        state = self.wipe[0]
        return state == _RECORDING or (state == _WIPED and self.reopen_in_child())

    def switch_off(self, reason: str, /) -> None:
        """Stop recording for good in this image; the program goes on."""
        if self.wipe[0] == _RECORDING:
            self.live.note_off(reason)
            self.wipe[0] = _OFF

    def stop(self) -> None:
        """Record no more in this process nor in what it forks from now on; `recorder.start` begins another session."""
        self.switch_off("")
        self.wipe = b"\x02"  # which no fork wipes
        use_recorder(self)

    def count(self, counter: str, by: int = 1, /) -> None:
        """Count something that could not be recorded (`layout.LIVE_COUNTERS`)."""
        self.live.count(counter, by)

    def before_fork(self) -> None:
        """Nothing: each child makes a live page of its own."""

    def announce(self) -> None:
        """This process is there, and its first thread."""
        try:
            if self.alive:
                self.meet()
        except BaseException as error:
            if not self.failed(error):
                raise

    def exits(self, time: int, value: int, outcome: int, /) -> None:
        """The image's own last breath."""
        self.emit(kinds.PROCESS_EXIT.number, time, 0, 0, 0, value, 0, outcome)
        self.live.note_end(time, value)

    def finalizes(self) -> None:
        """The interpreter ends by itself."""
        try:
            if self.alive:
                self.exits(monotonic_ns(), -1, kinds.EXIT_FINALIZED.number)
        except BaseException as error:
            if not self.failed(error):
                raise

    # Records -----------------------------------------------------------------------------------------------

    def emit(
        self, kind: int, time: int, duration: int = 0, thing: int = 0, other: int = 0, value: int = 0, stack: int = 0,
        outcome: int = 0, /,
    ) -> None:  # fmt: skip
        """Store one record of the current thread. Never blocks; what cannot be stored is counted."""
        if self.wipe[0] != _RECORDING and not self.alive:
            return
        try:
            thread = self.local.state.index
        except AttributeError:
            thread = self.state.index
        self.store(kind, thread, time, duration, thing, other, value, stack, outcome)

    def store(
        self, kind: int, thread: int, time: int, duration: int = 0, thing: int = 0, other: int = 0, value: int = 0,
        stack: int = 0, outcome: int = 0, cpu: int = 0, runq: int = 0,
    ) -> None:  # fmt: skip
        """Store one record of any thread (`events.schema.FIELDS`)."""
        if self.wipe[0] != _RECORDING and not self.alive:
            return
        segment = self._segment
        if segment is None:
            room = self._room_elsewhere(1)
        else:
            slot = segment.next
            segment.next = slot + 1
            room = (segment, slot) if slot < segment.limit else self._room_elsewhere(1)
        if room is None:
            return
        segment, slot = room
        _store(
            segment.view, slot << RECORD_SHIFT,
            time, duration, other, value, cpu, runq, thing, thread, stack, sched_getcpu() & NO_CORE, outcome, kind,
        )  # fmt: skip

    def define(self, definition: int, number: int, fields: tuple[str | int, ...], /) -> bool:
        """Say what a number stands for; False when there was no room: then it must not be taken for known."""
        if not self.alive:
            return False
        payload = pack_payload(fields)
        slots = more_slots(payload)
        room = self._room(1 + slots)
        if room is None:
            return False
        segment, slot = room
        segment.store_payload(slot + 1, payload, _MORE)
        _store(
            segment.view, slot << RECORD_SHIFT,
            monotonic_ns(), 0, 0, len(payload), 0, 0, number, 0, 0, NO_CORE, definition, _DEFINE,
        )  # fmt: skip
        return True

    def _room(self, slots: int) -> tuple[Segment, int] | None:
        segment = self._segment
        if segment is not None:
            slot = segment.next
            segment.next = slot + slots
            if slot + slots <= segment.limit:
                return segment, slot
        return self._room_elsewhere(slots)

    def _room_elsewhere(self, slots: int) -> tuple[Segment, int] | None:
        """Slots in the next segment; None, counted, when there is none to be had."""
        for _ in range(_SWITCH_TRIES):
            old = self._segment
            if old is not None and old.next + slots <= old.limit:
                slot = old.next
                old.next = slot + slots
                return old, slot
            try:
                if not self._may_grow():
                    break
                self._next_segment(old, slots)
            except FileExistsError:  # another thread is at it (or this one, below a signal handler)
                sleep(0)
            except OSError:
                self._no_room_until = monotonic_ns() + _RETRY_NS
                break
        self.count("dropped", slots)
        return None

    def _next_segment(self, old: Segment | None, slots: int) -> None:
        seq = max(self._skipped, -1 if old is None else old.seq) + 1
        size = segment_size(seq, (slots + 1) << RECORD_SHIFT)
        try:
            new = Segment(self._folder, self.live.nonce, seq, size)
            self._segment = new
        except OSError:
            raise
        except BaseException:  # the program's own, from a signal handler: the file may be there, so go on with the next
            self._skipped = seq
            raise
        self._waiting_segments.append((new.path, size))
        if old is not None:
            self.count("records", old.limit - 1)
            let_go(old.view)

    def _may_grow(self) -> bool:
        """At a segment switch: is the session on, does anyone read, and is what waits to be read below the caps?"""
        if monotonic_ns() < self._no_room_until:
            return False
        if not self._flags[layout.CONTROL_ON_OFFSET]:
            self.switch_off("the session is over")
        elif gone := self._control.no_collector():
            self.switch_off(gone)
        elif self._undrained() < self._control.per_process and not self._control.session_is_full():
            return True
        else:
            self._no_room_until = monotonic_ns() + _RETRY_NS
        return False

    def _undrained(self) -> int:
        waiting = self._waiting_segments
        while waiting and not os.path.exists(waiting[0][0]):
            del waiting[0]
        return sum(size for _, size in waiting)

    # Numbers and texts ----------------------------------------------------------------------------------------

    def number(self) -> int:
        """A new number of this image."""
        number = self._next_number
        self._next_number = number + 1
        return number

    def text(self, text: str, /) -> int:
        """Number of a string."""
        number = self._texts.get(text)
        if number is None:
            number = self.number()
            if not self.define(kinds.TEXT.number, number, (text,)):
                return 0
            # A short one needs some hundred bytes, too.
            size = self._texts_size + len(text) + 100
            if size <= TEXTS_MAX:
                self._texts_size = size
                self._texts[text] = number
        return number

    def site(self, frame: FrameType, /) -> int:
        """Number of the place where this frame is; 0 when the table is full."""
        return self.sites.site(frame)

    def stack(self, frame: FrameType | None, /) -> int:
        """Number of the stack from this frame outwards."""
        return self.sites.stack(frame)

    # Threads ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ThreadState:
        """The current thread's state; a thread that nobody announced is announced now."""
        if self.wipe[0] == _WIPED:
            self.reopen_in_child()
        try:
            state: ThreadState = self.local.state
        except AttributeError:
            state = self._meet_thread()
        return state

    def _meet_thread(self) -> ThreadState:
        index = self._next_thread
        first = index == 0
        outcome = 0 if first and self.epoch > self.session + 1 else kinds.NOT_FROM_START.number
        return self._announce(*self._thread_facts(), 0 if first else outcome)

    def meet(self) -> None:
        """Announce the current thread if nobody has."""
        _ = self.state

    def thread_begins(self, name: str, daemon: bool, thing: int, outcome: int = 0, /) -> None:
        """Announce the current thread: name, daemon, number of its Thread object."""
        self._announce(name, daemon, thing, outcome)

    def _announce(self, name: str, daemon: bool, thing: int, outcome: int) -> ThreadState:
        index = self._next_thread
        self._next_thread = index + 1
        state = ThreadState(self, index)
        self.local.state = state
        self.local.end = ThreadEnd(self, state)
        time = monotonic_ns() if index else self.live.born
        self._name_thread(state, name, daemon, thing)
        self.store(kinds.THREAD_BEGIN.number, index, time, 0, thing, 0, 0, 0, outcome)
        return state

    def _name_thread(self, state: ThreadState, name: str, daemon: bool, thing: int) -> None:
        state.thing = thing
        stored = self.define(kinds.THREAD.number, state.index + 1, (name, get_native_id(), int(daemon), thing))
        state.name = name if stored else None

    def thread_ends(self, name: str, daemon: bool, /) -> None:
        """The current thread's last record; its name again if it has changed."""
        state = self.state
        if name != state.name:
            self._name_thread(state, name, daemon, state.thing)
        self.store(kinds.THREAD_END.number, state.index, monotonic_ns(), 0, state.thing)
        state.thing = -1

    def thread_gone(self, state: ThreadState) -> None:
        """The interpreter let go of a thread's state: the thread is gone, or this is a forked child without it."""
        if self.wipe[0] != _RECORDING or state.epoch != self.epoch or not state.index:
            return
        if state.thing >= 0:
            self.store(kinds.THREAD_END.number, state.index, monotonic_ns(), 0, state.thing)
        state.close()

    # Tables -----------------------------------------------------------------------------------------------------

    def take_entry(self, table: str) -> Any:
        """A free entry of ``threads`` or ``totals``, or None when there is no room for another."""
        try:
            return self._table(table).take()
        except OSError:
            return None

    def give_entry(self, table: str, entry: Any) -> None:
        """Free an entry."""
        self._table(table).give(entry)

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            # setdefault: another thread may be here too, and there must be one table
            table = self._tables.setdefault(name, Table(self._folder, self.live.nonce, name, _ENTRY_SIZES[name]))
        return table

    # What patches record --------------------------------------------------------------------------------------------

    def call(
        self, kind: int, began: int, frame: FrameType | None, thing: int = 0, other: int = 0, value: int = 0,
        outcome: int = 0, /,
    ) -> None:  # fmt: skip
        """Record a call of the current thread that began at `began` and ends now, with its stack."""
        now = monotonic_ns()
        self.emit(kind, began, now - began, thing, other, value, self.sites.stack(frame), outcome)

    def begin_wait(self, kind: int, thing: int, frame: FrameType | None, other: int = 0, value: int = 0, /) -> int:
        """The current thread is about to block, called by `frame`; returns a token for `end_wait`."""
        since = monotonic_ns()
        if not self.alive:
            return 0
        state = self.state
        state.wait_begins(kind, thing, self.sites.stack(frame), since, other, value)
        return state.epoch

    def end_wait(self, token: int, outcome: int, other: int | None = None, value: int | None = None, /) -> None:
        """The innermost wait is over: record it, with `other` and `value` as known now, else as when it began."""
        end = monotonic_ns()
        _ = self.alive  # notices a fork
        if token != self.epoch:
            return
        state = self.state
        wait = state.current_wait()
        state.wait_ends()
        cpu, runq = state.reading(end)
        self.store(
            wait.kind, state.index, wait.since, end - wait.since, wait.thing,
            wait.other if other is None else other, wait.value if value is None else value,
            wait.stack, outcome, cpu, runq,
        )  # fmt: skip

    def new_lock(self, frame: FrameType, /) -> Any:
        """A Lock for the code in `frame`: a traced one, or a raw one for the standard library itself."""
        raw = allocate_lock()
        return raw if is_library_file(frame.f_code.co_filename) or not self.alive else traced(TracedLock, raw, frame)

    def new_rlock(self, frame: FrameType, /) -> Any:
        """An RLock for the code in `frame`, like `new_lock`."""
        raw = RLockType()
        return raw if is_library_file(frame.f_code.co_filename) or not self.alive else traced(TracedRLock, raw, frame)

    def stand_in(self, original: Any, place: str, in_python: Any, /) -> Any:  # noqa: ARG002
        """None: all are wrapped in Python."""
        return None

    @property
    def detail(self) -> int:
        """The session's detail level, an index into `layout.DETAILS`."""
        detail: int = self._control.detail
        return detail

    @property
    def values(self) -> bool:
        """Whether arguments of spans are recorded."""
        return self._control.values
