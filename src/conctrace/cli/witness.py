"""The witness: a child that tells whether a signal was sent to conctrace alone, or to its whole process group.

The waiter stands between a shell and the program it runs, in the program's own process group. A signal that
someone sends to conctrace's pid has to be passed on, or ``kill PID`` would never reach the program. One that
goes to the group (Ctrl-C, ``kill -- -PGID``, the end of the terminal) has reached the program already; passed on,
its handler would run twice. The waiter cannot see the difference: sender and code of both are the same.

So it keeps a child in the group that blocks every signal and handles none. What was sent to the group is pending
there too, for anyone to read in ``/proc/PID/status`` (ShdPnd); what was sent to the waiter alone is not. After it
was looked at, the child takes the signal out of its own queue (`forget`), ready for the next.

Three things make this less simple than it sounds.

*Delivery to a group takes a moment.* The kernel serves its members one by one, and ``timeout`` first signals its
child and then the group. So "not there" is believed only after `PATIENCE`. Such a pair counts as one signal, as it
does (by coalescing, almost always) for a program that is not traced.

*Signals of one number coalesce*, in the witness and in the waiter. `Waiter.pass_on` says in which order the marks are
removed, so that none survives the signal it stands for: a mark that did would swallow somebody's later ``kill``.

*It has to be in the way of nobody.* It lives on a pipe from the waiter and ends when that is closed, however the
waiter ended. It holds no other descriptor (a pipe kept open here would keep its reader waiting) and has a name of
its own, so that ``pkill conctrace`` means the waiter. If something kills or stops it, the waiter starts another.

While the waiter is stopped (Ctrl-Z) it cannot see its program run on, if someone continues the program's pid alone.
The witness looks four times a second, for as long as that lasts, and continues the waiter.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Looks at the pending signals, and seconds to the next; together, so long may a signal take to reach a whole group.
PATIENCE = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004)
#: So long the witness may take for an answer; then it is taken for stopped.
_ANSWER_MS = 200
_LOOK_MS = 250

_FORGET, _WATCH, _NOTHING = b"f", b"w", b"n"
_COMMAND_SIZE = 5


class Witness:
    """The witness, as the waiter sees it. Every signal must be blocked when it is made."""

    def __init__(self) -> None:
        self.pid = 0
        self._start()

    def _start(self) -> None:
        commands_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_witness(commands_out, answers_in)
        os.close(commands_out)
        os.close(answers_in)

    def has(self, number: int) -> bool:
        """Whether a signal is pending there now."""
        return bool(_pending(self.pid) >> (number - 1) & 1)

    def saw(self, number: int) -> bool:
        """Whether a signal that the waiter just got was for the whole group."""
        for pause in PATIENCE:
            if self.has(number):
                return True
            time.sleep(pause)
        return self.has(number)

    def forget(self, number: int) -> None:
        """Take a signal out of its queue."""
        self._tell(_FORGET, number)
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(_ANSWER_MS) or not os.read(self._answers, 1):
            self._restart()

    def watch(self, pid: int) -> None:
        """Continue this process when that one is seen not to be stopped (any more)."""
        self._tell(_WATCH, pid)

    def unwatch(self) -> None:
        """What `watch` asked for is no longer needed."""
        self._tell(_NOTHING, 0)

    def restart_if_dead(self) -> None:
        """Something may have killed it; every SIGCHLD is a reason to look."""
        if os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
            self._restart()

    def close(self) -> None:
        """Ends it."""
        os.close(self._commands)
        os.close(self._answers)
        if self.pid:
            # Stopped, it would not see that its pipe is closed.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _restart(self) -> None:
        self.close()
        self._start()

    def _tell(self, command: bytes, number: int) -> None:
        # Broken: it was killed, and the SIGCHLD that says so is on its way.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._commands, command + number.to_bytes(_COMMAND_SIZE - 1, "little"))


def _pending(pid: int) -> int:
    """The signals pending for a process as a whole, as a bit set."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            _, _, rest = file.read().partition(b"ShdPnd:")
    except OSError:
        return 0
    return int(rest.split(None, 1)[0], 16) if rest else 0


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command stands in parentheses and may hold some itself; the state follows.
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except OSError:
        return False


def _be_the_witness(commands: int, answers: int) -> NoReturn:
    """The child's side: never returns, and never touches what it shares with the waiter."""
    try:
        _let_go_of_everything_but(commands, answers)
        waiter = os.getppid()
        while len(command := os.read(commands, _COMMAND_SIZE)) == _COMMAND_SIZE:
            number = int.from_bytes(command[1:], "little")
            if command[:1] == _FORGET:
                signal.sigtimedwait([number], 0)
                os.write(answers, b".")
            elif command[:1] == _WATCH:
                _continue_when_it_runs(waiter, number, commands)
    finally:
        os._exit(0)


def _let_go_of_everything_but(commands: int, answers: int) -> None:
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb") as file:
        file.write(b"ctrace-witness")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in {commands, answers}:
            # The one that listed the others is closed already.
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _continue_when_it_runs(waiter: int, program: int, commands: int) -> None:
    poll = select.poll()
    poll.register(commands, select.POLLIN)
    while not poll.poll(_LOOK_MS):
        if not _is_stopped(program):
            os.kill(waiter, signal.SIGCONT)
            return
