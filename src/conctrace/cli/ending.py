"""After the program has ended: wait for the collector, and say what became of the trace.

The program's own status is settled by now, and nothing here changes it.
"""

from __future__ import annotations

import os
import select

from . import terminal
from .places import interrupted_sessions
from .terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..collector.launch import Collector
    from .target import Target

#: The prompt is back before that, normally, and nobody has to be told why not.
_SILENT_MS = 500


class _GaveUp(BaseException):
    """The user does not want to wait any longer. (Like KeyboardInterrupt: nothing on the way may catch it.)"""


class Ending:
    """The end of a run, as the collector tells it."""

    def __init__(self, collector: Collector, program: Target, folder: str, status: int) -> None:
        self.status = status
        self._collector = collector
        self._program = program
        self._folder = folder
        self._events: dict[str, dict[str, Any]] = {}
        self._signals = 0
        self._gave_up = False

    def on_signal(self) -> None:
        """The first signal: do not wait for the program's descendants. The second: do not wait at all."""
        self._signals += 1
        if self._signals > 1:
            raise _GaveUp
        self._collector.hurry()

    def wait(self) -> None:
        """Returns when the outputs are written, or will not be."""
        try:
            self._read_to_the_end()
        except _GaveUp:
            self._gave_up = True

    def _read_to_the_end(self) -> None:
        poll = select.poll()
        poll.register(self._collector.results, select.POLLIN)
        shown = False
        while "done" not in self._events and not self._collector.dead:
            if not poll.poll(None if shown else _SILENT_MS):
                shown = True
            if shown:
                self._show_progress()
            for event in self._collector.read_result():
                self._events[event["event"]] = event
        if shown and terminal.is_terminal():
            terminal.erase_line()
        os.waitpid(self._collector.pid, 0)

    def _show_progress(self) -> None:
        if terminal.is_terminal():
            doing = "writing …" if "exporting" in self._events else "waiting for child processes … (Ctrl-C: don't)"
            terminal.show_line(f"conctrace: {doing}")

    def report(self, *, quiet: bool) -> None:
        """Say how it went. Being quiet does not extend to a trace that is not where it was asked for."""
        done = self._events.get("done")
        if self._gave_up:
            say(f"conctrace: not waiting any longer; the trace is being finished in {self._folder}")
        elif done is None and not os.path.isdir(self._folder):
            say(f"conctrace: the recording is lost: its folder was removed ({self._folder})")
        elif done is None:
            say(f"conctrace: the recording was interrupted; to see what there is: conctrace recover {self._folder}")
        else:
            say_failures(done)
        if quiet:
            return
        if done is not None:
            self._say_what_is_not_there(done)
            say_summary(done)
        self._mention_earlier_ones()

    def _say_what_is_not_there(self, done: dict[str, Any]) -> None:
        if "hook" not in self._events:
            from . import missing

            line = missing.line(self._program, others=bool(done["summary"] and done["summary"]["process_count"]))
            if line:
                say(line)
        processes = self._events.get("open", {}).get("processes", [])
        if processes:
            # The summary names them.
            run = "process still runs and is" if len(processes) == 1 else "processes still run and are"
            say(f"conctrace: {len(processes)} {run} marked open in the trace (to wait longer: --wait SECONDS)")

    def _mention_earlier_ones(self) -> None:
        count = sum(1 for folder in interrupted_sessions() if folder != self._folder)
        if count:
            runs = "an earlier recording was" if count == 1 else f"{count} earlier recordings were"
            say(f"conctrace: {runs} interrupted; to see: conctrace recover --list")


def say_failures(result: dict[str, Any]) -> None:
    """A line for each output that could not be written, and where the trace is instead."""
    for failure in result["failed"]:
        say(f"conctrace: cannot write {failure['path']}: {failure['error']}")
    if result["fallback"]:
        say(f"conctrace: the trace is in {result['fallback']} instead")


def say_summary(result: dict[str, Any]) -> None:
    """What the run was, and the files that tell more; of a trace that could not be read, only the files."""
    if not result["summary"]:
        for path in result["written"]:
            say(f"conctrace: wrote {short(path)}")
        return
    from ..exporters.summary import render

    about = {**result["summary"], "files": [short(path) for path in result["written"]]}
    say(render(about, width=terminal.width(), colour=terminal.colour()).rstrip("\n"))


def short(path: str) -> str:
    """A path as the user would type it here."""
    here = os.getcwd().rstrip("/") + "/"
    return path.removeprefix(here)
