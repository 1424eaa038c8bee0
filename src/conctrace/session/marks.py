"""Marks that a program sets itself: spans, instants, counters. Near to nothing while nothing is recorded."""

from __future__ import annotations

import struct

from .. import recorder as _recorder
from .._stdlib import getframe, monotonic_ns
from ..events import kinds
from ..patches.guard import active, guarded
from .values import safe_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class span:  # noqa: N801  # reads as a keyword: with conctrace.span("load"):
    """Context manager: names the stretch of this thread between entering and leaving.

    Arguments are kept as text (`session.values.safe_repr`). A span is recorded when it is left, also by an exception.
    """

    __slots__ = ("_args", "_began", "_name")

    def __init__(self, name: str, **args: Any) -> None:
        self._name = name
        self._args = args
        self._began = 0

    def __enter__(self) -> span:  # noqa: PYI034  # typing.Self is not in 3.10
        self._began = monotonic_ns() if _recorder.current is not None else 0
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._began:
            _record_span(self._name, self._args, self._began, kind is not None)


@guarded
def _record_span(name: str, args: dict[str, Any], began: int, failed: bool) -> None:
    recorder = active()
    now = monotonic_ns()
    recorder.emit(
        kinds.SPAN.number, began, now - began, recorder.text(name), _arguments(args), 0,
        recorder.site(getframe(3)), kinds.ERROR.number if failed else 0,
    )  # fmt: skip


def _arguments(args: dict[str, Any]) -> int:
    if not args or not active().values:
        return 0
    recorder = active()
    return recorder.text("\n".join(f"{key}={safe_repr(value)}" for key, value in args.items()))


def instant(name: str, **args: Any) -> None:
    """Name this moment of this thread."""
    if _recorder.current is not None:
        _record_instant(name, args)


@guarded
def _record_instant(name: str, args: dict[str, Any]) -> None:
    recorder = active()
    text = recorder.text(name)
    recorder.emit(kinds.INSTANT.number, monotonic_ns(), 0, text, _arguments(args))


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
