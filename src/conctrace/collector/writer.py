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
from contextlib import suppress
from importlib import import_module

from .. import sessions, settings
from ..tracefile import format as form
from ..tracefile.writer import TraceWriter
from .launch import log_failure
from .names import NameFinder
from .outputs import export, modules_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..events.ids import Nonce
    from ..sessions import Plan
    from .channel import WriterEnd


def run(folder: str, plan: Plan, results: int, end: WriterEnd) -> None:
    """Writes a session's trace and outputs; leaves the process with status 0 when all of it is safe."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        safe = _Writer(folder, plan, results, end).run()
    except EOFError:
        # The collector is gone: so is whoever would wait for more.
        safe = False
    except BaseException:  # noqa: BLE001  # there is nobody above to raise it to
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
        # The program's environment is this one: whoever wants the Python recorder has asked for it here.
        asked = os.environ.get(settings.RECORDER_VARIABLE, "")
        self._file.write_facts(form.PLAN, 0, {**plan.as_dict(), "recorder_asked": asked})
        self._names = NameFinder(plan.cwd, plan.code)
        self._to_import: list[str] = []
        # Only to be quick at the end: what is wrong with an output is said when it is written.
        with suppress(Exception):
            self._to_import = list(modules_for(plan.outputs))

    def run(self) -> bool:
        """Everything up to the outputs; True when the session folder is not needed any more."""
        while (message := self._next())[0] != "finish":
            self._write(message)
            self._end.ack(message[1])
        self._finish(message[2])
        return self._export()

    def _next(self) -> tuple[Any, ...]:
        """The next message; while there is none, what the end will need is imported, a module at a time."""
        while self._to_import:
            message = self._end.receive(0)
            if message is not None:
                return message
            prepare(self._to_import.pop(0))
        message = self._end.receive()
        assert message is not None
        return message

    def _write(self, message: tuple[Any, ...]) -> None:
        what, _, *rest = message
        if what == "records":
            nonce, _segment, _first, rows = rest
            self._file.write_records(*rest)
            self._names.look_at(nonce, rows)
        elif what == "calls":
            self._write_calls(*rest)
        else:
            self._write_facts(*rest)

    def _write_facts(self, together: list[tuple[int, int, dict[str, Any]]]) -> None:
        # The last facts of an image say who it was, too.
        ended = {nonce for kind, nonce, _ in together if kind == form.FINAL}
        for kind, nonce, facts in together:
            if kind == form.IMAGE:
                self._names.meet(nonce, facts["facts"])
            if kind != form.IMAGE or nonce not in ended:
                self._file.write_facts(kind, nonce, facts)

    def _write_calls(self, nonce: Nonce) -> None:
        if self._plan.functions is not None:
            from . import functions

            for part in functions.parts(self._folder, nonce, self._plan.functions):
                self._file.write_calls(nonce, part)
            functions.unlink(self._folder, nonce)

    def _finish(self, facts: dict[str, Any]) -> None:
        self._file.write_facts(form.NAMES, 0, self._names.found())
        self._file.write_facts(form.END, 0, {"ended_ns": facts["ended_ns"]})
        self._file.close()
        if facts["open"]:
            processes = [self._names.describe(nonce, facts["main_pid"]) for nonce in facts["open"]]
            self._say({"event": "open", "processes": processes})

    def _export(self) -> bool:
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


def prepare(module: str) -> None:
    """Imports one module. What fails here fails again at the end, where it is reported."""
    with suppress(Exception):
        import_module(module)
