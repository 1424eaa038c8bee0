"""Reading a trace file on behalf of a verb, and writing what it makes of it."""

from __future__ import annotations

import os
import shutil
import sys

from .. import exporters
from ..collector.outputs import write_file, write_whole
from ..errors import ConctraceError
from ..model.builder import build
from ..tracefile.reader import read
from .terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.trace import Trace
    from ..tracefile.reader import RawTrace

__all__ = ["build", "read", "tell_cut", "write_all"]


def tell_cut(raw: RawTrace) -> int:
    """The exit status after a trace was used: 2, and a line about it, when it is not whole."""
    if raw.cut is None:
        return 0
    sys.stdout.flush()
    say(f"conctrace: {raw.cut}")
    return 2


def write_all(source: str, trace: Trace, paths: list[str], include: frozenset[str]) -> None:
    """Writes the trace in the format of each path; a file that is there is replaced when the new one is whole."""
    for path in paths:
        _write(source, trace, path, include)


def _write(source: str, trace: Trace, path: str, include: frozenset[str]) -> None:
    export = exporters.format_for(path).export
    path = os.path.realpath(path)
    try:
        if export is None:
            write_whole(path, lambda unfinished: shutil.copyfile(source, unfinished))
        else:
            data = export(trace, include)
            write_whole(path, lambda unfinished: write_file(unfinished, data))
    except OSError as error:
        raise ConctraceError(f"cannot write {path}: {error.strerror}") from error
