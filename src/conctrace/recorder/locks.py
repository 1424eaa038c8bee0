"""`Lock` and `RLock` that record: who held them, who waited, what let the waiter through.

A traced lock wraps a raw one and keeps beside it who holds it since when. Fast path: try the raw lock without
blocking; when that succeeds nobody waited, and all there is to do is to note owner, time and call site, and at the
release to add the hold to the exact totals (in the shared mapping, so a kill loses none). Whether the hold
gets a record of its own is the budget's affair (`settings.BUDGET_FIRST`).

What let a waiter through is stamped *under the lock*: a release that finds somebody waiting stores its time in the lock
before it lets go. Whoever gets the lock next after waiting reads the stamp while it holds the lock, so it is the release
that came just before; a stamp older than the wait is not its cause and is not used.

Two holds explain a wait: the one during which it began, and the one whose release ended it. Both get a record, whatever the
budget: the first because the waiter marks the lock as wanted, the second written by the waiter from the stamp (under heavy
contention most releases let nobody through: the releaser itself is back first).

A signal handler may raise inside our part of ``acquire``. Then the raw lock is let go again and the exception passes: as if
the signal had come just before the acquire; one that raises inside our part of ``release`` passes when the lock is free (`whole`
says how that is made sure of). Our own failures are swallowed and switch the recorder off; the raw lock's state is right in
either case.
"""

from __future__ import annotations

from itertools import repeat

from .._stdlib import TIMEOUT_MAX, LockType, RLockType, getframe, is_library_file, monotonic_ns
from ..events import kinds, layout
from ..settings import BUDGET_FIRST, BUDGET_LEAST, BUDGET_PER_SECOND, SHORT_NS
from .whole import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

    from .python import Recorder
    from .threads import ThreadState

_HALVES = layout.TOTALS_HALF_OFFSETS
_pack_totals = layout.TOTALS_HALF.pack_into
_WAIT = kinds.LOCK_WAIT.number
_HOLD = kinds.LOCK_HOLD.number
_ACQUIRED = kinds.ACQUIRED.number
_TIMEOUT = kinds.TIMEOUT.number
_ERROR = kinds.ERROR.number
_CONTENDED = kinds.CONTENDED.number
_SECOND = 1_000_000_000
_pack_held = layout.THREAD_HELD.pack_into
_HELD_SIZE = layout.THREAD_HELD.size
_BUDGET, _ALL, _WAITS = range(3)
_NEVER = 1 << 62
_NO_TIMEOUT = -1

_recorder: Recorder
#: `Recorder.wipe`; the same page as long as the process lives
_wipe: Any
#: The process's budget of individual records: [end of the current second, records left in it, its records].
_budget = [0, 0, 0]
#: Records that come before that, for each lock and thread.
_first = BUDGET_FIRST


def use_recorder(recorder: Recorder) -> None:
    """All traced locks of this process record with `recorder` from now on."""
    global _recorder, _wipe, _first
    _recorder = recorder
    _wipe = recorder.wipe
    if recorder.detail == _BUDGET:
        _budget[:], _first = (0, 0, 0), BUDGET_FIRST
    else:
        _budget[:], _first = (_NEVER, 0, 0), _NEVER if recorder.detail == _ALL else 0


class Cell:
    """Totals of one lock, one thread, one call site; `save` puts them into the shared mapping."""

    __slots__ = (
        "_entry", "code", "failed", "first", "hold_max_ns", "hold_ns", "holds", "lasti", "offset", "seq",
        "site", "state", "view", "wait_max_ns", "wait_ns", "waits", "word",
    )  # fmt: skip

    def __init__(self, number: int, state: ThreadState, frame: FrameType, first: list[int], *, known: bool) -> None:
        self.holds = self.hold_ns = self.hold_max_ns = 0
        self.waits = self.wait_ns = self.wait_max_ns = 0
        self.failed = self.seq = 0
        self.state = state
        #: where lock and site could not be defined, no call site: another cell is made the next time, and this one is counted out
        self.code = frame.f_code if known else None
        self.lasti = frame.f_lasti
        self.site = site = _recorder.sites.site(frame)
        self.word = number << 32 | site
        #: [records of this lock by this thread that are left before the budget counts], shared by its call sites
        self.first = first
        self.view: Any = None
        self._entry = entry = _recorder.take_entry("totals") if known else None
        if entry is not None:
            self.view, _, self.offset = entry
            layout.TOTALS_KEY.pack_into(self.view, self.offset, 1, number, state.index, site)

    def save(self) -> None:
        if self.view is None:
            _recorder.count("totals_dropped")
            return
        seq = self.seq = self.seq + 1
        _pack_totals(
            self.view, self.offset + _HALVES[seq & 1], seq, self.holds, self.hold_ns, self.hold_max_ns,
            self.waits, self.wait_ns, self.wait_max_ns, self.failed, seq,
        )  # fmt: skip

    def close(self, number: int, thread: int) -> None:
        """The lock is gone: its totals become a definition, the entry is free again."""
        if self._entry is not None:
            stored = _recorder.define(
                kinds.TOTALS.number, number,
                (number, thread, self.site, self.holds, self.hold_ns, self.hold_max_ns, self.waits, self.wait_ns,
                 self.wait_max_ns, self.failed),
            )  # fmt: skip
            if stored:  # else the entry stays and says it
                _recorder.give_entry("totals", self._entry)
            self._entry = self.view = None


class _Traced:
    """What Lock and RLock have in common.

    What begins with ``_ct_`` or ``ct_`` is ours; the rest is the raw lock's interface. A program's class may be derived from
    that of an RLock, with attributes and methods by any other names.
    """

    __slots__ = (
        "__weakref__", "_ct_cell", "_ct_cells", "_ct_epoch", "_ct_free", "_ct_made_at", "_ct_number", "_ct_raw",
        "_ct_released", "_ct_session", "_ct_state", "_ct_tries", "_ct_try", "_ct_unrecorded", "_ct_waiters", "_ct_wanted",
        "ct_held_since", "ct_held_word",
    )  # fmt: skip

    _ct_kind: str
    _ct_real: Any

    def _ct_wrap(self, raw: Any, frame: FrameType) -> None:
        """Stand in for `raw`, made by `frame`. Not ``__init__``, which a derived class may have of its own."""
        self._ct_raw = raw
        self._ct_try = raw.acquire
        #: each item tries to get the lock, and says whether it did
        self._ct_tries = map(raw.acquire, repeat(False))
        self._ct_free = raw.release
        self._ct_waiters = 0
        #: somebody found it taken since it was got: this hold explains a wait
        self._ct_wanted = False
        #: moment of the last release that left somebody waiting …
        self._ct_released = 0
        #: … and the arguments of its hold's record, if it has none
        self._ct_unrecorded: tuple[int, ...] | None = None
        #: the thread that holds it, if it was got while recording; else None
        self._ct_state: ThreadState | None = None
        self._ct_cell: Cell | None = None
        self._ct_cells: list[tuple[ThreadState, Any, Cell]] = []
        self._ct_epoch = 0  # of the image in which it is defined
        self._ct_made_at = 0
        self._ct_number = _recorder.number()
        self._ct_session = _recorder.session
        if _recorder.alive:
            self._ct_made_at = _recorder.sites.site(frame)

    # Taken and let go ---------------------------------------------------------------------------------------

    # These two are the hot path (some 0.5 us each): everything that is needed every time stands inline.

    def _ct_took(self, frame: FrameType) -> None:
        """The raw lock was just got by this thread: note it. Raises nothing of ours; who calls it lets go of the lock."""
        try:
            if _wipe[0] == 1:
                try:
                    state = _recorder.local.state
                except AttributeError:
                    state = _recorder.state
            elif _recorder.alive:
                state = _recorder.state
            else:
                return
            cell = self._ct_cell
            if cell is None or cell.lasti != frame.f_lasti or cell.state is not state or cell.code is not frame.f_code:
                self._ct_cell = cell = self._ct_cell_of(state, frame)
            self.ct_held_word = cell.word
            self.ct_held_since = since = monotonic_ns()
            state.held.append(self)
            if (at := state.held_at) < state.held_end:
                _pack_held(state.held_view, at, since, cell.word)
                state.held_at = at + _HELD_SIZE
            else:
                state.show_held(since, cell.word)
            self._ct_state = state
        except BaseException as error:
            if not _recorder.failed(error):
                raise
            self._ct_state = None

    @whole
    def _ct_forget(self) -> None:
        # The program's own exception ends an acquire that had got the lock, which is let go again: as if it had come before.
        # (Near the recursion limit no function of ours can be called any more. Therefore whoever calls this releases the raw
        # lock itself, in the frame in which it got it.)
        try:
            self._ct_state = None
        finally:
            if (state := _recorder.state).held:
                state.drop_held(self)

    def _ct_let_go(self, state: ThreadState) -> None:
        """The raw lock is about to be released: note it, under the lock. Raises nothing of ours."""
        try:
            end = monotonic_ns()
            self._ct_state = None
            cell = self._ct_cell
            if _wipe[0] != 1 or cell is None or cell.state.epoch != _recorder.epoch:
                return  # switched off since, or got before a fork, by the parent's image
            hold = end - self.ct_held_since
            cell.holds += 1
            cell.hold_ns += hold
            if hold > cell.hold_max_ns:  # noqa: PLR1730  # max() costs a call here
                cell.hold_max_ns = hold
            if (
                self._ct_waiters
                or self._ct_wanted
                or hold >= SHORT_NS
                or cell.first[0]
                or _budget[1]
                or end >= _budget[0]
            ):
                self._ct_record_hold(state, cell, end, hold)
            if cell.view is not None:
                seq = cell.seq = cell.seq + 1
                _pack_totals(
                    cell.view, cell.offset + _HALVES[seq & 1], seq, cell.holds, cell.hold_ns, cell.hold_max_ns,
                    cell.waits, cell.wait_ns, cell.wait_max_ns, cell.failed, seq,
                )  # fmt: skip
            else:
                cell.save()
            held = state.held
            if held and held[-1] is self:
                held.pop()
                state.held_at = at = state.held_at - _HELD_SIZE
                if at < state.held_end:
                    _pack_held(state.held_view, at, 0, 0)
            else:
                state.drop_held(self)
        except BaseException as error:
            state.drop_held(self)
            if not _recorder.failed(error):
                raise

    def _ct_cell_of(self, state: ThreadState, frame: FrameType) -> Cell:
        if self._ct_session != _recorder.session:
            # Made in an earlier session, whose numbers mean nothing in this one.
            self._ct_session = _recorder.session
            self._ct_number = _recorder.number()
            self._ct_made_at = 0
            self._ct_unrecorded = None
        key = (self._ct_number, id(frame.f_code), frame.f_lasti)
        return state.cells.get(key) or self._ct_new_cell(state, key, frame)

    def _ct_new_cell(self, state: ThreadState, key: Any, frame: FrameType) -> Cell:
        recorder = _recorder
        if self._ct_epoch != recorder.epoch:
            self._ct_cells = []
            if recorder.define(kinds.OBJECT.number, self._ct_number, (self._ct_kind, "", self._ct_made_at, "")):
                self._ct_epoch = recorder.epoch
        if self._ct_epoch != recorder.epoch or not (recorder.sites.site(frame) or recorder.sites.full):
            return Cell(self._ct_number, state, frame, [0], known=False)
        # Those of threads that have ended are closed.
        self._ct_cells = [entry for entry in self._ct_cells if entry[0].cells.get(entry[1]) is entry[2]]
        first = next((cell.first for other, _, cell in self._ct_cells if other is state), None)
        cell = Cell(self._ct_number, state, frame, first or [_first], known=True)
        state.cells[key] = cell
        self._ct_cells.append((state, key, cell))
        return cell

    def _ct_record_hold(self, state: ThreadState, cell: Cell, end: int, hold: int) -> None:
        """Give this hold a record if it explains a wait, was long, or the budget has room; else stamp it for a waiter."""
        recorder = _recorder
        releaser = recorder.state
        waiters = self._ct_waiters
        record = (
            _HOLD, state.index, self.ct_held_since, hold, self._ct_number, 0 if releaser is state else 1 + releaser.index,
            recorder.sites.site(_caller()), cell.site, _CONTENDED if waiters or self._ct_wanted else 0,
        )  # fmt: skip
        recorded = self._ct_wanted or hold >= SHORT_NS or _in_budget(cell.first, end)
        if recorded:
            self._ct_wanted = False
            recorder.store(*record)
        if waiters:
            self._ct_released = end
            self._ct_unrecorded = None if recorded else record

    # Waiting -------------------------------------------------------------------------------------------------

    def _ct_wait(self, attempt: Iterator[Any], frame: FrameType) -> Iterator[bool]:
        """The lock is taken: make an attempt to get it the slow way, and record the wait with what ended it.

        Yields once, whether it was got.
        """
        # First the mark, then the stamp, with no chance for a thread switch between them: whoever holds the lock at that
        # moment finds the mark at its release, so the trace knows who held it when the wait began.
        self._ct_waiters += 1
        self._ct_wanted = True
        state, got, outcome = None, False, _ERROR
        try:
            try:
                state = self._ct_begin_wait(frame, monotonic_ns())
                for got in attempt:  # noqa: B007  # see `whole`
                    break
                outcome = _ACQUIRED if got else _TIMEOUT
            finally:
                self._ct_waiters -= 1
                if state is not None:
                    self._ct_end_wait(state, monotonic_ns(), outcome, frame)
        except BaseException:
            if got:
                try:
                    self._ct_forget()
                finally:
                    self._ct_free()
            raise
        yield got

    def _ct_attempts(self, blocking: Any, timeout: Any, frame: FrameType) -> Iterator[Any]:
        """What `acquire` with these arguments does, yielding at last whether the lock was got."""
        if not self._ct_is_patient(blocking, timeout):
            for got in map(self._ct_try, (blocking,), (timeout,)):
                if not got:
                    self._ct_missed(frame)
                yield got
                return
        for got in self._ct_tries:
            if got:
                yield got
            break
        yield from self._ct_wait(map(self._ct_try, (blocking,), (timeout,)), frame)

    def _ct_begin_wait(self, frame: FrameType, since: int) -> ThreadState | None:
        try:
            if not _recorder.alive:
                return None
            state = _recorder.state
            self._ct_cell_of(state, frame)
            state.wait_begins(_WAIT, self._ct_number, _recorder.sites.stack(frame), since)
        except BaseException as error:
            if not _recorder.failed(error):
                raise
            return None
        return state

    def _ct_end_wait(self, state: ThreadState, end: int, outcome: int, frame: FrameType) -> None:
        try:
            _ = _recorder.alive  # notices a fork
            if state.epoch != _recorder.epoch:  # a child, forked in a signal's handler: the wait shown is its parent's
                return
            wait = state.current_wait()
            since = wait.since
            state.wait_ends()
            released = self._ct_released if outcome == _ACQUIRED and self._ct_released >= since else 0
            if released and self._ct_unrecorded is not None:
                _recorder.store(*self._ct_unrecorded)
                self._ct_unrecorded = None
            cpu, runq = state.reading(end)
            _recorder.store(
                _WAIT, state.index, since, end - since, self._ct_number, released, 0, wait.stack, outcome, cpu, runq
            )
            cell = self._ct_cell_of(state, frame)
            waited = end - since
            cell.waits += 1
            cell.wait_ns += waited
            cell.wait_max_ns = max(cell.wait_max_ns, waited)
            cell.failed += outcome == _TIMEOUT
            cell.save()
        except BaseException as error:
            if not _recorder.failed(error):
                raise

    def _ct_missed(self, frame: FrameType) -> None:
        """acquire(False) found the lock taken: counted, and recorded as far as the budget goes.

        Not when the standard library asked: that is how `Condition` finds out whether its Lock is held.
        """
        try:
            if not _recorder.alive or is_library_file(frame.f_code.co_filename):
                return
            state = _recorder.state
            cell = self._ct_cell_of(state, frame)
            cell.failed += 1
            cell.save()
            now = monotonic_ns()
            self._ct_wanted = True
            if _in_budget(cell.first, now):
                _recorder.store(_WAIT, state.index, now, 0, self._ct_number, 0, 0, cell.site, _TIMEOUT)
        except BaseException as error:
            if not _recorder.failed(error):
                raise

    # The raw lock's interface ------------------------------------------------------------------------------------

    def locked(self) -> bool:
        """Return whether the lock is in the locked state."""
        return bool(self._ct_raw.locked())

    def _ct_is_patient(self, blocking: Any, timeout: Any) -> bool:
        """Whether these arguments are valid ones that may wait; the raw lock itself judges all others."""
        return bool(blocking) and isinstance(timeout, (int, float)) and (timeout == -1 or 0 <= timeout < TIMEOUT_MAX)

    def __repr__(self) -> str:
        raw, kind = self._ct_raw, type(self)
        text = repr(raw).replace(hex(id(raw)), hex(id(self)))
        return text if kind in _STAND_INS else text.replace("_thread.RLock", kind.__name__)

    @property  # type: ignore[misc]  # isinstance(lock, _thread.LockType) stays true
    def __class__(self) -> Any:
        kind = type(self)
        return self._ct_real if kind in _STAND_INS else kind

    def __reduce_ex__(self, protocol: Any) -> Any:
        kind: Any = type(self)
        if kind in _STAND_INS:
            return self._ct_raw.__reduce_ex__(protocol)
        # Our slots look as if they could be pickled; only a derived class can say how.
        if kind.__reduce__ is object.__reduce__ and not _has_own(kind, "__getstate__"):
            raise TypeError(f"cannot pickle {kind.__name__!r} object")
        return super().__reduce_ex__(protocol)

    def __del__(self) -> None:
        try:
            recorder = _recorder
            cells = getattr(self, "_ct_cells", None)  # there are none where it was not wrapped to the end
            if cells and self._ct_epoch == recorder.epoch and recorder.alive:
                for state, key, cell in cells:
                    state.cells.pop(key, None)
                    cell.close(self._ct_number, state.index)
        except BaseException as error:
            if not _recorder.failed(error):
                raise


def _has_own(kind: type[Any], name: str) -> bool:
    """Whether a class has this method otherwise than from `object`."""
    return getattr(kind, name, None) is not getattr(object, name, None)


def traced(kind: type[_Traced], raw: Any, frame: FrameType) -> Any:
    """A traced lock of this kind around `raw`, made by `frame`."""
    lock = object.__new__(kind)
    lock._ct_wrap(raw, frame)
    return lock


def _called(kind: type[_Traced], raw: Any, frame: FrameType) -> Any:
    """The same for a program that calls the type of a lock, or a class that it has derived from that; a lock in any case."""
    lock = object.__new__(kind)
    try:
        lock._ct_wrap(raw, frame)
    except BaseException as error:
        if not _recorder.failed(error):
            raise
    return lock


def _in_budget(first: list[int], now: int) -> bool:
    """Whether an uncontended, short operation gets a record of its own; takes it off the budget."""
    if first[0]:
        first[0] -= 1
        return True
    if now >= _budget[0]:
        _renew_budget(now)
    if not _budget[1]:
        return False
    _budget[1] -= 1
    return True


def _renew_budget(now: int) -> None:
    """A second begins. A program that does the same for hours is not worth the same number of records all the while."""
    until, left, rate = _budget
    if now - until >= _SECOND:  # the first one, or there was none for a while
        rate = BUDGET_PER_SECOND
    else:
        rate = min(2 * rate, BUDGET_PER_SECOND) if left else max(rate // 2, BUDGET_LEAST)
    _budget[:] = (now + _SECOND, rate, rate)


def _caller() -> FrameType:
    """The innermost frame that is not of this file."""
    frame = getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame


class TracedLock(_Traced):
    """Stands in for `_thread.lock`."""

    __slots__ = ()
    _ct_kind = "Lock"
    _ct_real = LockType

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Raises before 3.13, where these cannot be made so.
        return _called(cls, LockType(*args, **kwargs), getframe(1))

    def __init_subclass__(cls, **_: Any) -> None:
        raise TypeError("type '_thread.lock' is not an acceptable base type")

    def __enter__(self) -> bool:
        got = False
        try:
            for got in self._ct_tries:  # noqa: B007  # see `whole`
                break
            if not got:
                for got in self._ct_wait(map(self._ct_try, (True,)), getframe(1)):  # noqa: B007
                    break
            self._ct_took(getframe(1))
        except BaseException:
            if got:
                try:
                    self._ct_forget()
                finally:
                    self._ct_free()
            raise
        return True

    @whole
    def __exit__(self, *_: object) -> None:
        try:
            if (state := self._ct_state) is not None:
                self._ct_let_go(state)
        finally:
            self._ct_free()

    def acquire(self, blocking: Any = True, timeout: Any = _NO_TIMEOUT) -> bool:
        """Acquire the lock; see `threading.Lock.acquire`."""
        frame = getframe(1)
        got = False
        try:
            if blocking is True and timeout is _NO_TIMEOUT:  # as nearly always
                for got in self._ct_tries:  # noqa: B007
                    break
            if not got:
                for got in self._ct_attempts(blocking, timeout, frame):  # noqa: B007
                    break
            if got:
                self._ct_took(frame)
        except BaseException:
            if got:
                try:
                    self._ct_forget()
                finally:
                    self._ct_free()
            raise
        return bool(got)

    @whole
    def release(self) -> None:  # no docstring: see `whole`
        try:
            if (state := self._ct_state) is not None:
                self._ct_let_go(state)
        finally:
            self._ct_free()

    acquire_lock = acquire
    release_lock = release

    def locked_lock(self) -> bool:
        """Return whether the lock is in the locked state."""
        return bool(self._ct_raw.locked())

    def _at_fork_reinit(self) -> None:
        self._ct_state = None
        self._ct_waiters = 0
        self._ct_wanted = False
        self._ct_unrecorded = None
        self._ct_raw._at_fork_reinit()


class TracedRLock(_Traced):
    """Stands in for `_thread.RLock`. A hold is from the first acquire to the last release."""

    __slots__ = ("_ct_depth",)
    _ct_kind = "RLock"
    _ct_real = RLockType

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _called(cls, RLockType.__new__(RLockType, *args, **kwargs), getframe(1))

    def _ct_wrap(self, raw: Any, frame: FrameType) -> None:
        self._ct_depth = 0
        super()._ct_wrap(raw, frame)

    def __enter__(self) -> bool:
        got = counted = False
        try:
            for got in self._ct_tries:  # noqa: B007  # see `whole`
                break
            if not got:
                for got in self._ct_wait(map(self._ct_try, (True,)), getframe(1)):  # noqa: B007
                    break
            # Only its owner can have got it while the depth is not 0.
            self._ct_depth = depth = self._ct_depth + 1
            counted = True
            if depth == 1:
                self._ct_took(getframe(1))
        except BaseException:
            if got:
                self._ct_depth -= counted
                try:
                    if not self._ct_depth:
                        self._ct_forget()
                finally:
                    self._ct_free()
            raise
        return True

    def acquire(self, blocking: Any = True, timeout: Any = _NO_TIMEOUT) -> bool:
        """Acquire the lock; see `threading.RLock.acquire`."""
        frame = getframe(1)
        got = counted = False
        try:
            if blocking is True and timeout is _NO_TIMEOUT:  # as nearly always
                for got in self._ct_tries:  # noqa: B007
                    break
            if not got:
                for got in self._ct_attempts(blocking, timeout, frame):  # noqa: B007
                    break
            if got:
                self._ct_depth = depth = self._ct_depth + 1
                counted = True
                if depth == 1:
                    self._ct_took(frame)
        except BaseException:
            if got:
                self._ct_depth -= counted
                try:
                    if not self._ct_depth:
                        self._ct_forget()
                finally:
                    self._ct_free()
            raise
        return bool(got)

    @whole
    def __exit__(self, *_: object) -> None:
        # The same as `release`, and not a call of it: near the recursion limit that might fail.
        try:
            counted = False
            if self._ct_raw._is_owned():
                self._ct_depth = depth = self._ct_depth - 1
                counted = True
                if not depth and (state := self._ct_state) is not None:
                    self._ct_let_go(state)
        finally:
            try:
                if not counted and self._ct_raw._is_owned():
                    self._ct_depth -= 1
            finally:
                self._ct_free()

    @whole
    def release(self) -> None:  # no docstring: see `whole`
        try:
            counted = False
            if self._ct_raw._is_owned():
                self._ct_depth = depth = self._ct_depth - 1
                counted = True
                if not depth and (state := self._ct_state) is not None:
                    self._ct_let_go(state)
        finally:
            try:
                if not counted and self._ct_raw._is_owned():
                    self._ct_depth -= 1
            finally:
                self._ct_free()

    # What `threading.Condition` uses -----------------------------------------------------------------------------

    def _is_owned(self) -> bool:
        return bool(self._ct_raw._is_owned())

    def _recursion_count(self) -> int:
        return int(self._ct_raw._recursion_count())

    def _release_save(self) -> Any:
        if (state := self._ct_state) is not None and self._ct_raw._is_owned():
            self._ct_let_go(state)
            self._ct_depth = 0
        return self._ct_raw._release_save()

    @whole
    def _acquire_restore(self, saved: Any) -> None:
        # Whatever handlers of signals do meanwhile, it ends with the lock taken: so does the raw one.
        try:
            state, waits = None, False
            if self._ct_state is not None:
                self._ct_waiters += 1
                waits = self._ct_wanted = True
                state = self._ct_begin_wait(getframe(1), monotonic_ns())
        finally:
            try:
                self._ct_raw._acquire_restore(saved)
            finally:
                self._ct_waiters -= waits
                self._ct_depth = saved[0]
        if state is not None:
            self._ct_end_wait(state, monotonic_ns(), _ACQUIRED, getframe(1))
        self._ct_took(getframe(1))

    def _at_fork_reinit(self) -> None:
        self._ct_state = None
        self._ct_depth = 0
        self._ct_waiters = 0
        self._ct_wanted = False
        self._ct_unrecorded = None
        self._ct_raw._at_fork_reinit()


_STAND_INS = (TracedLock, TracedRLock)

for _stand_in in _STAND_INS:
    _real = _stand_in._ct_real
    # type(lock).__name__ and the errors that name it, as without us
    _stand_in.__name__, _stand_in.__qualname__, _stand_in.__module__ = _real.__name__, _real.__qualname__, "_thread"
    _stand_in.__doc__ = _real.__doc__
