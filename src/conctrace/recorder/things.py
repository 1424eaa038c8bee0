"""Numbers of Thread and Process objects, kept while these live, and what happens to Threads; of the Python recorder."""

from __future__ import annotations

from _weakref import ref as weak_reference

from .._stdlib import getframe, monotonic_ns
from ..events import kinds
from .names import callable_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .shared import Interface

    class _Whole(Interface, Protocol):
        """A recorder as `Things` sees it."""

        _objects: dict[int, Any]


_OBJECT = kinds.OBJECT.number


class Things:
    """Mixed into the recorder."""

    __slots__ = ()

    def object_number(self: _Whole, thing: object, define: Any, /) -> int:
        """Number of a Thread or Process, kept while the thing lives, without touching it.

        `define` gives the fields of its `OBJECT` definition; it is called once in each image that meets the thing.
        """
        known = self._objects.get(id(thing))
        if known is None or known[1]() is not thing:
            forget = self._objects.pop
            key = id(thing)
            known = [self.number(), weak_reference(thing, lambda _: forget(key, None)), 0]
            self._objects[key] = known
        if known[2] != self.epoch and self.define(_OBJECT, known[0], define(thing)):
            known[2] = self.epoch
        number: int = known[0]
        return number

    def thread_number(self: _Whole, thread: Any, /) -> int:
        """Number of a Thread object; 0 while nothing is recorded."""
        return self.object_number(thread, _define_thread) if self.alive else 0

    def starting(self: _Whole, thread: Any, /) -> int:
        """The current thread is about to start it."""
        return monotonic_ns() if self.thread_number(thread) else 0

    def started(self: _Whole, thread: Any, began: int, /) -> None:
        """The current thread has started it."""
        if began and self.alive:
            self.call(kinds.THREAD_START.number, began, getframe(1), self.thread_number(thread))

    def running(self: _Whole, thread: Any, /) -> None:
        """It is the current thread, which has just begun."""
        if self.alive:
            self.thread_begins(str(thread._name), bool(thread._daemonic), self.thread_number(thread))

    def ended(self: _Whole, thread: Any, /) -> None:
        """It is the current thread, and over."""
        if self.alive:
            self.thread_ends(str(thread._name), bool(thread._daemonic))

    def joining(self: _Whole, thread: Any, /) -> int:
        """The current thread is about to wait for its end."""
        number = self.thread_number(thread)
        return self.begin_wait(kinds.THREAD_JOIN.number, number, getframe(1)) if number else 0


def _define_thread(thread: Any) -> tuple[str, str, int, str]:
    """The OBJECT definition of a Thread. Reads only what `Thread.__init__` sets."""
    target = getattr(thread, "_target", None)
    if target is None:
        # A Timer has a function of its own, a subclass its `run`.
        is_library = type(thread).__module__ == "threading"
        target = getattr(thread, "function", None) if is_library else type(thread).run
    return "Thread", str(getattr(thread, "_name", "")), 0, callable_name(target)
