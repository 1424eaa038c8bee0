"""The writer: a process that takes messages off the queue and puts them into the trace file, in order.

It acknowledges a message when the file has it, which is when the collector may unlink the segment it came from.
What the exports need is imported while the target still runs, in pauses between messages, so that at the end
only the exporting itself is left to do. And it is the writer that exports and writes the outputs: so they come out
even when the waiter was killed together with the target's group.

When the collector dies, the queue ends; the file then has every whole message and no end, for ``recover``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from ..session import folder as sessions
from ..session.folder import Plan
from ..tracefile import format as form
from ..tracefile.writer import TraceWriter
from .channel import WriterEnd
from .launch import log_failure
from .names import NameFinder

#: The target starts first: it gets the processors to itself for so long.
PATIENCE_SECONDS = 0.03


def run(folder: str, plan: Plan, results: int, end: WriterEnd) -> None:
    """Writes a session's trace and outputs; leaves the process with status 0 when all of it is safe."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        safe = _Writer(folder, plan, results, end).run()
    except EOFError:
        # The collector is gone: so is whoever would wait for more.
        safe = False
    except BaseException:
        log_failure(folder, "writer")
        safe = False
    sys.exit(0 if safe else 1)


class _Writer:
    def __init__(self, folder: str, plan: Plan, results: int, end: WriterEnd) -> None:
        self._folder = folder
        self._plan = plan
        self._results = results
        self._end = end
        self._path = os.path.join(folder, sessions.TRACE_FILE)
        self._file = TraceWriter(self._path)
        self._file.write_facts(form.PLAN, 0, plan.as_dict())
        self._names = NameFinder(plan.cwd, plan.code)
        self._prepared = False

    def run(self) -> bool:
        """Everything up to the outputs; True when the session folder is not needed any more."""
        while (message := self._next())[0] != "finish":
            self._write(message)
            self._end.ack(message[1])
        self._finish(message[2])
        return self._export()

    def _next(self) -> tuple[Any, ...]:
        while True:
            message = self._end.receive(None if self._prepared else PATIENCE_SECONDS)
            if message is not None:
                return message
            self._prepared = True
            prepare(self._plan.outputs)

    def _write(self, message: tuple[Any, ...]) -> None:
        what, _, *rest = message
        if what == "records":
            nonce, _segment, _first, rows = rest
            self._file.write_records(*rest)
            self._names.look_at(nonce, rows)
        else:
            kind, nonce, facts = rest
            self._file.write_facts(kind, nonce, facts)
            if kind == form.IMAGE:
                self._names.meet(nonce, facts["facts"])

    def _finish(self, facts: dict[str, Any]) -> None:
        self._file.write_facts(form.NAMES, 0, self._names.found())
        self._file.write_facts(form.END, 0, {"ended_ns": facts["ended_ns"]})
        self._file.close()
        if facts["open"]:
            processes = [self._names.describe(nonce, facts["main_pid"]) for nonce in facts["open"]]
            self._say({"event": "open", "processes": processes})

    def _export(self) -> bool:
        from .outputs import export

        self._say({"event": "exporting"})
        result = export(self._path, self._plan)
        self._say({"event": "done", **result.as_dict()})
        return result.safe

    def _say(self, result: dict[str, Any]) -> None:
        rest = memoryview(json.dumps(result).encode() + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._results, rest) :]
        except BrokenPipeError:
            # The waiter was killed; the files are there all the same.
            pass


def prepare(outputs: list[str]) -> None:
    """Imports what exporting will need. What fails here fails again at the end, where it is reported."""
    try:
        from .outputs import import_all

        import_all(outputs)
    except Exception:
        pass
