"""Makes a trace of what a collector left behind when it died: does in one process what two would have done.

What the dead collector had not taken is still in the session folder; what it had taken, up to its last whole
block, is in the trace file. Rows may be in both, if it died between writing and unlinking; the reader of the trace
drops those. A process that still runs is switched off and stays open in the trace.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any

from .. import sessions
from ..errors import SessionError, TraceFileError
from ..events import layout
from ..tracefile import format as form
from ..tracefile.reader import read_blocks
from ..tracefile.writer import TraceWriter
from . import functions
from .drain import Drain
from .loop import CLOSING_MS
from .names import NameFinder
from .outputs import export

if TYPE_CHECKING:
    from ..events.ids import Nanoseconds, Nonce
    from ..sessions import Plan

#: A writer that has lost its collector goes on until its queue is empty; it is given so long.
_WRITER_SECONDS = 5.0


def recover(folder: str, outputs: list[str] | None) -> dict[str, Any]:
    """Finishes the trace of a dead session and writes `outputs` (None: what was asked for then); removes the folder.

    Returns what a "done" result holds: summary, written, failed, fallback.
    """
    folder = os.path.abspath(folder)
    plan = sessions.load(folder)
    if outputs is not None:
        plan.outputs = outputs
    control = sessions.open_control(folder)
    try:
        if not sessions.lock(control):
            raise SessionError(f"{folder} is still being recorded")
        with tempfile.TemporaryDirectory(prefix="conctrace-") as spare:
            result = export(_completed(folder, spare, plan, control), plan)
        if result.safe:
            sessions.remove(folder)
    except OSError as error:
        raise SessionError(f"{folder} cannot be recovered: {error}") from error
    finally:
        os.close(control)
    return result.as_dict()


def _completed(folder: str, spare: str, plan: Plan, control: int) -> str:
    """Path of the finished trace file: in the session's folder, or in a spare one where that has no room for it.

    (What is recorded may have filled the disk. What the trace file has so far goes along; what it has taken is unlinked.)
    """
    path = os.path.join(folder, sessions.TRACE_FILE)
    try:
        _complete(folder, path, plan, control)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        elsewhere = os.path.join(spare, sessions.TRACE_FILE)
        if os.path.exists(path):
            shutil.copyfile(path, elsewhere)
        path = elsewhere
        _complete(folder, path, plan, control)
    return path


def _complete(folder: str, path: str, plan: Plan, control: int) -> None:
    so_far = _SoFar(path)
    file = _open(path, so_far.end)
    sink = _FileSink(file, folder, plan)
    try:
        if not so_far.end:
            file.write_facts(form.PLAN, 0, plan.as_dict())
        if not so_far.complete:
            sink.learn(so_far)
            ended_ns = _drain(Drain(folder, control, sink, frozenset(so_far.closed)), control)
            file.write_facts(form.NAMES, 0, sink.names.found())
            file.write_facts(form.END, 0, {"ended_ns": ended_ns, "recovered": True})
    finally:
        file.close()


def _drain(drain: Drain, control: int) -> Nanoseconds:
    """Everything that is left in the folder; returns the moment it was taken."""
    os.pwrite(control, bytes(4), layout.CONTROL_ON_OFFSET)
    now = time.monotonic_ns()
    drain.scan(now, force=True)
    for image in drain.arrived:
        if image.life.ended():
            drain.died(image, None)
    while drain.open():
        if drain.begin_close():
            select.select((), (), (), CLOSING_MS / 1000)
        drain.drain(now)
    drain.close()
    return now


def _open(path: str, end: int) -> TraceWriter:
    """The trace file, cut to its last whole block."""
    give_up = time.monotonic() + _WRITER_SECONDS
    while True:
        try:
            return TraceWriter(path, resume_at=end)
        except SessionError:
            if time.monotonic() > give_up:
                raise
            select.select((), (), (), 0.01)


class _SoFar:
    """What the trace file has already."""

    def __init__(self, path: str) -> None:
        #: end of the last whole block, 0 when not even the plan is whole
        self.end = 0
        self.complete = False
        #: images that were taken to their end
        self.closed: set[Nonce] = set()
        #: identity of every image
        self.facts: dict[Nonce, dict[str, Any]] = {}
        try:
            blocks = read_blocks(path)
            for block in blocks:
                self._look_at(block.kind, block.nonce, {} if block.kind in form.BINARY else block.facts())
                self.end = block.end
        except TraceFileError:
            # None, or cut inside its head: it is begun anew.
            pass

    def _look_at(self, kind: int, nonce: Nonce, facts: dict[str, Any]) -> None:
        self.complete = kind == form.END
        if kind == form.FINAL:
            self.closed.add(nonce)
        if kind in (form.FINAL, form.IMAGE):
            self.facts[nonce] = facts["facts"]


class _FileSink:
    """Puts everything straight into the trace file."""

    def __init__(self, file: TraceWriter, folder: str, plan: Plan) -> None:
        self._file = file
        self._folder = folder
        self._plan = plan
        self.names = NameFinder(plan.cwd, plan.code)
        self.acked = 0

    def learn(self, so_far: _SoFar) -> None:
        """Images whose facts are in the file: children refer to them."""
        for nonce, facts in so_far.facts.items():
            self.names.meet(nonce, facts)

    def room(self) -> bool:
        return True

    def records(self, nonce: Nonce, segment: int, first: int, rows: bytes) -> int:
        self._file.write_records(nonce, segment, first, rows)
        self.names.look_at(nonce, rows)
        return self.acked

    def facts(self, kind: int, nonce: Nonce, facts: dict[str, Any]) -> int:
        self._file.write_facts(kind, nonce, facts)
        if kind == form.IMAGE:
            self.names.meet(nonce, facts["facts"])
        return self.acked

    def calls(self, nonce: Nonce) -> int:
        if self._plan.functions is not None:
            for part in functions.parts(self._folder, nonce, self._plan.functions):
                self._file.write_calls(nonce, part)
        return self.acked
