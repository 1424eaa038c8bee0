"""Starts a collector from inside the program that is to be traced, and leaves no mark on that program.

The collector must be no child of the program's: the program may wait for all its children, and be killed. So it is a
grandchild, and the child between them is gone and reaped before the program goes on. That child must be no fork of the
program either: of a process with several threads a fork has one, and the locks that the others held for ever. Therefore
``posix_spawn``, which runs nothing of the program's in the child, and of a shell, which is there and gone in a millisecond
where a Python would take twenty.

The collector's Python is isolated (``-I``): the folder of the program's script, which may have a ``queue.py``, is not where it
looks for modules; behind its own places it looks where the program does, so it finds the same conctrace.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import suppress

from .. import sessions
from .._stdlib import getpid, posix_spawn, waitpid
from ..errors import SessionError
from ..settings import SESSION_VARIABLE
from .launch import Collector

#: The collector's descriptors: the control page, which is locked already; commands to it; its results.
CONTROL, COMMANDS, RESULTS = 3, 4, 5

_START = (
    "import sys; sys.path += [p for p in sys.argv.pop().split(':') if p not in sys.path]; "
    "from conctrace.collector.__main__ import main; main()"
)
_SHELL = "/bin/sh"


def start(folder: str) -> Collector:
    """Starts the collector of a session; SessionError when it does not run."""
    control = sessions.take_control(folder)
    commands_out, commands_in = os.pipe()
    results_out, results_in = os.pipe()
    try:
        _spawn(folder, control, commands_out, results_in)
    except BaseException:
        os.close(commands_in)
        os.close(results_out)
        raise
    finally:
        for descriptor in (control, commands_out, results_in):
            os.close(descriptor)
    collector = Collector(0, commands_in, results_out)
    if not os.read(results_out, 1):
        collector.close()
        raise SessionError(f"the collector did not start{_last_words(folder)}")
    os.set_blocking(results_out, False)
    return collector


def _spawn(folder: str, *descriptors: int) -> None:
    """Runs it, and waits until it is nobody's child."""
    if not sys.executable:
        raise SessionError("the collector did not start: it is not known where Python is")
    known: list[object] = [*sys.path]  # anything may be there
    paths = [os.path.abspath(path) for path in known if isinstance(path, str) and path and ":" not in path]
    options = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    command = [sys.executable, *options, "-c", _START, folder, ":".join(paths)]
    environment = {name: value for name, value in os.environb.items() if name != os.fsencode(SESSION_VARIABLE)}
    # Above all that they are to become: else one would be overwritten before it is copied.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, RESULTS + 1) for descriptor in descriptors]
    log = os.path.join(folder, sessions.LOG_FILE)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        *((os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(high, CONTROL)),
    ]
    try:
        with _NoNews():
            pid = posix_spawn(
                _SHELL, ["sh", "-c", '"$@" &', "sh", *command], environment, file_actions=actions, setsid=True
            )
            with suppress(ChildProcessError):  # where SIGCHLD is ignored there is nothing to reap
                waitpid(pid, 0)
    except OSError as error:
        raise SessionError(f"the collector did not start: {error}") from error
    finally:
        for descriptor in high:
            os.close(descriptor)


class _NoNews:
    """The program's handler of SIGCHLD does not hear of a child that is none of its own.

    In the thread that has it blocked, that is; in a program with other threads the kernel may give it to one of those.
    """

    def __init__(self) -> None:
        self._before: set[int] = set()

    def __enter__(self) -> None:
        self._before = set(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD]))

    def __exit__(self, *_: object) -> None:
        if signal.SIGCHLD not in self._before:
            signal.sigtimedwait([signal.SIGCHLD], 0)
            if _has_ended_children():  # whose news was one with ours
                os.kill(getpid(), signal.SIGCHLD)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def _has_ended_children() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _last_words(folder: str) -> str:
    with suppress(OSError), open(os.path.join(folder, sessions.LOG_FILE), encoding="utf-8", errors="replace") as log:
        lines = log.read().split("\n")
        return next((f": {line}" for line in reversed(lines) if line.strip()), "")
    return ""
