"""The command itself is killed, with the program or alone: what was recorded comes out all the same."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from conctrace.model.builder import build
from conctrace.model.validate import problems
from conctrace.tracefile.reader import read
from tests.support.run import wait_for_end

if TYPE_CHECKING:
    from tests.support.run import Runner

#: Says who collects (`layout.CONTROL_COLLECTOR_OFFSET`), takes a lock, and kills its whole group, the command included.
PROGRAM = """
import os, signal, threading

lock = threading.Lock()
with lock:
    with open(os.environ["CONCTRACE_SESSION"] + "/control", "rb") as control:
        page = control.read()
print(int.from_bytes(page[28:32], "little"), flush=True)
lock.acquire()
os.killpg(0, signal.SIGKILL)
"""


def test_outputs_are_written_though_the_command_died_with_the_program(runner: Runner) -> None:
    (runner.folder / "program.py").write_text(PROGRAM)
    outputs = ["-o", "kept.ctrace", "-o", "kept.json", "-o", "kept.html"]
    with runner.started([sys.executable, "-m", "conctrace", "run", *outputs, "program.py"]) as command:
        out, _ = command.communicate()
        assert command.status() == -signal.SIGKILL
        wait_for_end(int(out))
    trace = build(read(str(runner.folder / "kept.ctrace")))
    (process,) = trace.processes.values()
    assert process.end.how == "ended", "nobody who could tell the status is left"
    assert process.end.doing == ("MainThread was holding lock",)
    assert problems(trace) == []
    assert (runner.folder / "kept.json").stat().st_size > 0
    assert b"was holding lock" in (runner.folder / "kept.html").read_bytes()
    assert list(runner.sessions.iterdir()) == []
