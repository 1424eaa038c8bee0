"""Keeping our own failures away from the program.

A wrapper calls the original exactly once, outside of any ``except`` of ours, and does its own work before and after it in
functions marked `guarded`: what these raise switches the recorder off and is swallowed, unless the program itself
raised it in the middle of them (a signal handler).
"""

from __future__ import annotations

from .. import recorder as _recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from ..recorder.shared import Interface

    P = ParamSpec("P")
    R = TypeVar("R")


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """`function`, returning None where our own code fails or nothing is recorded."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        recorder = _recorder.current
        if recorder is None:
            return None
        try:
            # In a forked child this opens its files, which may fail, too.
            return function(*args, **kwargs) if recorder.alive else None
        except BaseException as error:
            if not recorder.failed(error):
                raise
            return None

    return call


def active() -> Interface:
    """The running recorder, inside a `guarded` function."""
    recorder = _recorder.current
    if recorder is None:
        raise RuntimeError("no recorder")
    return recorder
