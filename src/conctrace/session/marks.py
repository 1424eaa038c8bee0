"""Marks that a program sets itself: spans, instants, counters. Near to nothing while nothing is recorded.

A span is recorded twice: when it is entered, so that a killed process shows what it was in, and when it is left. What
`traced` makes of functions is in `traced`.
"""

from __future__ import annotations

import struct

from .. import recorder as _recorder
from .._stdlib import getframe, monotonic_ns
from ..events import kinds
from ..patches.guard import active, guarded
from .values import safe_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Any, TypeAlias

    #: What leaving a span has to know: epoch of the image that entered it, when, numbers of name, arguments, site, and life.
    Mark: TypeAlias = "tuple[int, int, int, int, int, int]"


def span(name: str, /, **args: Any) -> _Span | _Nothing:
    """Context manager: names the stretch of this thread between entering and leaving.

    Arguments are kept as text (`session.values.safe_repr`), as they are when it is entered.
    """
    return _NOTHING if _recorder.current is None else _Span(name, args)


class _Nothing:
    """A span while nothing is recorded."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, trace: object, /) -> None: ...


_NOTHING = _Nothing()


class _Span:
    __slots__ = ("_args", "_mark", "_name")

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        self._name = name
        self._args = args

    def __enter__(self) -> None:
        self._mark = begin(self._name, self._args.items(), getframe(1))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._mark is not None:
            end(self._mark, kinds.NO_OUTCOME if kind is None else kinds.ERROR)


@guarded
def begin(name: str, args: Iterable[tuple[str, Any]], frame: FrameType) -> Mark:
    """The current thread enters a span, in `frame`."""
    recorder = active()
    now = monotonic_ns()
    mark = recorder.epoch, now, recorder.text(name), arguments(args), recorder.site(frame), 0
    recorder.emit(kinds.SPAN_BEGIN.number, now, 0, mark[2], mark[3], 0, mark[4])
    return mark


@guarded
def end(mark: Mark, outcome: kinds.OutcomeKind) -> None:
    """The current thread leaves a span. Not in a child that was forked inside it: there it is the parent's to leave."""
    recorder = active()
    now = monotonic_ns()
    epoch, began, name, args, site, life = mark
    if epoch == recorder.epoch:
        recorder.emit(kinds.SPAN.number, began, now - began, name, args, life, site, outcome.number)


def arguments(args: Iterable[tuple[str, Any]]) -> int:
    """Number of the text that says what was passed; 0 where nothing was, or values are not wanted."""
    if not active().values:
        return 0
    text = "\n".join([f"{key}={safe_repr(value)}" for key, value in args])
    return active().text(text) if text else 0


def instant(name: str, /, **args: Any) -> None:
    """Name this moment of this thread."""
    if _recorder.current is not None:
        _record_instant(name, args)


@guarded
def _record_instant(name: str, args: dict[str, Any]) -> None:
    recorder = active()
    text = recorder.text(name)
    recorder.emit(kinds.INSTANT.number, monotonic_ns(), 0, text, arguments(args.items()))


def counter(name: str, value: float) -> None:
    """Give the counter `name` a value from now on; it becomes a curve."""
    if _recorder.current is not None:
        _record_counter(name, value)


@guarded
def _record_counter(name: str, value: float) -> None:
    recorder = active()
    is_float = not (isinstance(value, int) and -(2**63) <= value < 2**63)
    bits = struct.unpack("<q", struct.pack("<d", value))[0] if is_float else int(value)
    outcome = kinds.FLOAT.number if is_float else 0
    text = recorder.text(name)
    recorder.emit(kinds.COUNTER.number, monotonic_ns(), 0, text, 0, bits, 0, outcome)
