"""What both recorders have in common: their interface, and what of it is the same in both and not hot."""

from __future__ import annotations

import os
import sys

from .._stdlib import get_ident, is_library_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Protocol

    class Interface(Protocol):
        """What patches, session and tests use of a recorder. Kinds, outcomes and definitions are given by number."""

        @property
        def name(self) -> str:
            """One of `layout.RECORDERS`."""

        @property
        def alive(self) -> bool:
            """Whether it records; in a forked child it becomes an image of its own first."""

        @property
        def detail(self) -> int:
            """The session's detail level, an index into `layout.DETAILS`."""

        @property
        def values(self) -> bool:
            """Whether arguments of spans are recorded."""

        @property
        def epoch(self) -> int:
            """Counts the images of this process, so that what belongs to an earlier one is known."""

        @property
        def nonce(self) -> int:
            """The image's, once it is `alive`."""

        @property
        def lock_type(self) -> type[Any]:
            """The type of what `new_lock` makes."""

        # Records

        def emit(
            self, kind: int, time: int, duration: int = 0, thing: int = 0, other: int = 0, value: int = 0, stack: int = 0,
            outcome: int = 0, /,
        ) -> None:  # fmt: skip
            """Store one record of the current thread. Never blocks; what cannot be stored is counted."""

        def call(
            self, kind: int, began: int, frame: FrameType | None, thing: int = 0, other: int = 0, value: int = 0,
            outcome: int = 0, /,
        ) -> None:  # fmt: skip
            """Record a call of the current thread that began at `began` and ends now, with its stack."""

        def begin_wait(self, kind: int, thing: int, frame: FrameType | None, other: int = 0, value: int = 0, /) -> int:
            """The current thread is about to block, called by `frame`; all can read it from now on.

            Returns a token for `end_wait`: the epoch, or 0 when nothing is recorded.
            """

        def end_wait(self, token: int, outcome: int, other: int | None = None, value: int | None = None, /) -> None:
            """The innermost wait is over: record it, with `other` and `value` as known now, else as when it began.

            Does nothing when the token is of another image: this is a child, forked while its parent's thread waited.
            """

        def define(self, definition: int, number: int, fields: tuple[str | int, ...], /) -> bool:
            """Say what a number stands for; False when there was no room: then it must not be taken for known."""

        def number(self) -> int:
            """A new number of this image."""

        def text(self, text: str, /) -> int:
            """Number of a string."""

        def object_number(self, thing: object, define: Any, /) -> int:
            """Number of a Thread or Process, kept while the thing lives; `define` gives the fields of its `OBJECT`.

            Only while `alive`.
            """

        def thread_number(self, thread: Any, /) -> int:
            """Number of a Thread object; 0 while nothing is recorded."""

        def site(self, frame: FrameType, /) -> int:
            """Number of the place where this frame is; 0 when the table is full."""

        def stack(self, frame: FrameType | None, /) -> int:
            """Number of the stack from this frame outwards."""

        # Threads

        def meet(self) -> None:
            """Announce the current thread if nobody has."""

        def thread_begins(self, name: str, daemon: bool, thing: int, outcome: int = 0, /) -> None:
            """Announce the current thread: name, daemon, number of its Thread object."""

        def thread_ends(self, name: str, daemon: bool, /) -> None:
            """The current thread's last record; its name again if it has changed."""

        # What happens to Thread objects; none of these does anything while nothing is recorded

        def starting(self, thread: Any, /) -> int:
            """The current thread is about to start it: when that began, for `started`; 0 when nothing is recorded."""

        def started(self, thread: Any, began: int, /) -> None:
            """The current thread has started it; the place is where our caller was called."""

        def running(self, thread: Any, /) -> None:
            """It is the current thread, which has just begun."""

        def ended(self, thread: Any, /) -> None:
            """It is the current thread, and over."""

        def joining(self, thread: Any, /) -> int:
            """The current thread is about to wait for its end; a token for `end_wait`, 0 when nothing is recorded."""

        # The image

        def count(self, counter: str, by: int = 1, /) -> None:
            """Count something that could not be recorded (`layout.LIVE_COUNTERS`)."""

        def switch_off(self, reason: str, /) -> None:
            """Stop recording for good in this image; the program goes on. The first reason stays."""

        def stop(self) -> None:
            """Record no more in this process nor in what it forks from now on; `recorder.start` begins another session."""

        def failed(self, error: BaseException, /) -> bool:
            """What to do about an exception that came out of our code: True to swallow it, False to let it pass."""

        def before_fork(self) -> None:
            """Called by a process that is about to fork: what it can do beforehand, its child need not. Raises nothing."""

        def announce(self) -> None:
            """Called at the start, and in a forked child: this process is there. Raises nothing of ours."""

        def exits(self, time: int, value: int, outcome: int, /) -> None:
            """The image's own last breath: `kinds.PROCESS_EXIT`."""

        def finalizes(self) -> None:
            """Called when the interpreter ends by itself, with a status that is not known. Raises nothing of ours."""

        # Locks

        def new_lock(self, frame: FrameType, /) -> Any:
            """A Lock for the code in `frame`: one that records, or a raw one for the standard library or when off."""

        def new_rlock(self, frame: FrameType, /) -> Any:
            """An RLock for the code in `frame`, like `new_lock`."""

        # Builtin functions

        def stand_in(self, original: Any, place: str, in_python: Any, /) -> Any:
            """What is to stand in for the builtin function at `place` ("os:fork"), recording; None: wrap it in Python.

            It looks like the original. What it leaves to Python it does by what `in_python(original)` returns.
            """


class Shared:
    """Mixed into each recorder."""

    __slots__ = ()

    def failed(self: Interface, error: BaseException, /) -> bool:
        """What to do about an exception that came out of our code: True to swallow it, False to let it pass.

        A signal handler of the program can raise in the middle of ours; that is the program's exception.
        """
        if not isinstance(error, Exception) or is_the_programs(error):
            return False
        if isinstance(error, (RecursionError, MemoryError)):  # the program's straits, not our mistake
            self.count("dropped")
        elif self.alive:  # else nothing of it is new: some of us are called even when it is off
            self.count("errors")
            self.switch_off(f"{type(error).__name__}: {error}{_where(error)}")
        return True

    def _thread_facts(self) -> tuple[str, bool, int]:
        """Name, daemon flag and object number of the current thread, as far as `threading` knows it."""
        threading = sys.modules.get("threading")
        thread = getattr(threading, "_active", {}).get(get_ident())
        if thread is None:
            return "", False, 0
        # Not by their properties, which a class of the program may have made its own.
        return str(getattr(thread, "_name", "")), bool(getattr(thread, "_daemonic", False)), 0


def is_the_programs(error: BaseException) -> bool:
    """Whether code that is neither ours nor the standard library's has a part in this traceback."""
    trace = error.__traceback__
    while trace is not None:
        if not is_library_file(trace.tb_frame.f_code.co_filename):
            return True
        trace = trace.tb_next
    return False


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
