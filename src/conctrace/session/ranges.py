"""Ranges: blocks of `conctrace.trace` inside of a trace that is being recorded already."""

from __future__ import annotations

import json

from .._stdlib import monotonic_ns
from ..events import kinds
from ..patches.guard import active, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    #: epoch, number, and the number of the name
    Mark: TypeAlias = "tuple[int, int, int]"


@guarded
def begin(name: str, files: list[str], include: list[str]) -> Mark:
    """A range begins, of which these files are to be made."""
    recorder = active()
    now = monotonic_ns()
    mark = recorder.epoch, recorder.number(), recorder.text(name)
    asked = recorder.text(json.dumps({"files": files, "include": include}))
    recorder.emit(kinds.RANGE_BEGIN.number, now, 0, mark[2], asked, mark[1])
    return mark


@guarded
def end(mark: Mark) -> None:
    """It is over. Not in a child that was forked inside: there it is the parent's to end."""
    recorder = active()
    epoch, number, name = mark
    if epoch == recorder.epoch:
        recorder.emit(kinds.RANGE_END.number, monotonic_ns(), 0, name, 0, number)
