"""The collector as its waiter sees it: one fork, a pipe of commands to it, a pipe of results back.

Imported by ``conctrace run`` before the target starts, so it imports next to nothing; what the collector
itself needs is imported on its own side of the fork, while the target starts.

Commands and results are JSON, one a line. The waiter's death closes the pipe of commands, the collector's and
writer's death that of results: nobody has to be told.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress

from .. import sessions
from ..events import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

#: Meant for the waiter's group; between the fork and `setsid` they would still reach the collector.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP)


class Collector:
    """A running collector: tell it what happened to the target, read what it has to say.

    Whoever forks from the waiter and lives on must close `commands` and `results`, or the collector will not notice
    the waiter's death.
    """

    def __init__(self, pid: int, commands: int, results: int) -> None:
        self.pid = pid
        self.commands = commands
        self.results = results
        #: True once `read_result` met the end of the pipe: collector and writer are gone
        self.dead = False
        self._unread = b""

    def main_started(self, pid: int) -> None:
        """The target runs, and this is its pid."""
        self._send({"command": "main_started", "pid": pid})

    def main_ended(self, status: int | None, time_ns: int) -> None:
        """The target was reaped: exit status 0 to 255 or minus a signal's number; None: it goes on, untraced."""
        self._send({"command": "main_ended", "status": status, "time_ns": time_ns})

    def hurry(self) -> None:
        """Stop waiting for the target's descendants."""
        self._send({"command": "hurry"})

    def read_result(self) -> list[dict[str, Any]]:
        """The results that have come in since, complete lines only; never blocks."""
        try:
            data = os.read(self.results, 1 << 16)
        except BlockingIOError:
            return []
        self.dead = not data
        *lines, self._unread = (self._unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Gives both pipes up; the collector itself goes on to its end."""
        for descriptor in (self.commands, self.results):
            if descriptor >= 0:
                os.close(descriptor)
        self.commands = self.results = -1

    def _send(self, command: dict[str, Any]) -> None:
        # A dead collector is noticed at the other pipe, whose end `read_result` meets.
        with suppress(BrokenPipeError):
            os.write(self.commands, json.dumps(command).encode() + b"\n")


def launch(folder: str) -> Collector:
    """Starts the collector of a session; from here on it holds the lock of the session's control page."""
    control = sessions.take_control(folder)
    commands_out, commands_in = os.pipe()
    results_out, results_in = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    pid = os.fork()
    if pid == 0:
        become_collector(folder, control, commands_out, results_in)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    # Said here, so that it stands there before the target runs.
    os.pwrite(control, pid.to_bytes(4, "little"), layout.CONTROL_COLLECTOR_OFFSET)
    for descriptor in (control, commands_out, results_in):
        os.close(descriptor)
    # Until it has left the group, a kill of the group would take it along, and with it what was recorded.
    os.read(results_out, 1)
    os.set_blocking(results_out, False)
    return Collector(pid, commands_in, results_out)


def become_collector(folder: str, control: int, commands: int, results: int) -> NoReturn:
    """The collector's side of the fork: leaves the waiter's session and files behind, and never returns."""
    status = 1
    try:
        detach(keep=(control, commands, results))
        os.write(results, b".")
        status = _collect(folder, control, commands, results)
    except BaseException:  # noqa: BLE001  # there is nobody above to raise it to
        log_failure(folder, "collector")
    finally:
        os._exit(status)


def _collect(folder: str, control: int, commands: int, results: int) -> int:
    """Starts the writer before it imports what the collector itself needs: both then import at the same time."""
    import gc
    from functools import partial

    # Both processes are short-lived or hold little; importing is a tenth faster without it.
    gc.disable()
    from . import writer
    from .channel import Channel

    plan = sessions.load(folder)
    channel = Channel()
    channel.start_writer(partial(writer.run, folder, plan, results), close=(control, commands))
    from .loop import run

    return run(folder, plan, channel, control, commands, results)


def detach(keep: tuple[int, ...]) -> None:
    """Leaves the session, the signals, the environment and the descriptors of the process this was forked from.

    A collector that kept the waiter's stdout would keep ``conctrace run x | head`` waiting.
    """
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (*GROUP_SIGNALS, signal.SIGPIPE, signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCONT, signal.SIGWINCH):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.environ.pop("CONCTRACE_SESSION", None)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            _close_quietly(int(name))


def log_failure(folder: str, who: str) -> None:
    """Puts the traceback of the exception at hand into the session folder, where ``recover`` finds it."""
    import traceback

    with suppress(OSError), open(os.path.join(folder, sessions.LOG_FILE), "a", encoding="utf-8") as log:
        log.write(f"{who} {os.getpid()}:\n{traceback.format_exc()}\n")


def _close_quietly(descriptor: int) -> None:
    # The one that listed the descriptors is closed already.
    with suppress(OSError):
        os.close(descriptor)
