"""The waiter: what stands between the shell and the program, and must not be noticed by either.

It is the process the user started. The program is its child, in the same process group, so that the terminal
treats both alike; see `witness` for the signals. Everything is done by one loop that blocks all signals and
sleeps in ``sigwaitinfo``: while the program runs, is stopped, or waits, conctrace uses no CPU.

=====================  ======================================================================================
it gets                it does
=====================  ======================================================================================
SIGCHLD                looks at its own children, by pid: the program ended, or stopped; the witness is gone
a signal to the group  nothing: the program has it
a signal to itself     passes it on
the program stopped    stops itself by the same signal, so that the shell takes its terminal back; ``fg``
                       continues the whole group. The kernel does the rest: SIGTTIN and SIGTTOU too stop the
                       program first, and the waiter when it sees that
SIGSTOP, SIGKILL       are not seen. Killed, its program runs on and the collector finishes the trace
=====================  ======================================================================================

The program starts with the signals that a shell would have given it: the mask conctrace was started with, and
the dispositions too (SIGINT stays ignored in a background job of a script, SIGHUP under nohup). Python itself
ignores SIGPIPE and SIGXFSZ, so that what conctrace was started with is not to be seen any more; the program gets
the default, as from any shell and from `subprocess`. A traced Python ignores them again anyway.
That is why the program is started by fork and exec rather than posix_spawn: conctrace itself needs SIGCHLD at
its default (else the kernel reaps the program and its status is lost), the program has a right to SIGCHLD ignored
if its parent wanted that, and posix_spawn can reset dispositions but not set them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ..errors import UsageError
from .witness import Witness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .target import Target

#: All that can be blocked. SIGCHLD is among them: the loop waits for it like for the others.
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class StartError(UsageError):
    """The target could not be executed."""


class Waiter:
    """Runs one program to its end."""

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._ignores_children = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._witness = Witness()
        self.pid = 0

    def start(self, target: Target, environment: dict[bytes, bytes]) -> int:
        """Starts the program and returns its pid; StartError when it cannot be executed."""
        failed_out, failed_in = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(target, environment, failed_in)
        os.close(failed_in)
        try:
            # Ends without a word when the exec succeeds and closes the other end.
            failed = os.read(failed_out, 16)
        finally:
            os.close(failed_out)
        if failed:
            os.waitpid(self.pid, 0)
            self._witness.close()
            raise StartError(f"cannot run {target.executable}: {os.strerror(int(failed))}")
        _let_go_of_stdin_and_stdout()
        return self.pid

    def _become(self, target: Target, environment: dict[bytes, bytes], failed: int) -> NoReturn:
        """The child's side of the fork: executes the program."""
        try:
            self._restore_signals()
            _execute(target, environment)
        except OSError as error:
            os.write(failed, str(error.errno).encode())
        finally:
            os._exit(127)

    def _restore_signals(self) -> None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            # Python's own, set when it was not ignored; exec would reset it, but a signal may come before that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def wait(self) -> int:
        """Waits until the program has ended: 0 to 255, or minus the number of the signal that killed it."""
        while True:
            got = signal.sigwaitinfo(SIGNALS)
            if got.si_signo == signal.SIGCHLD:
                status = self._look_at_children()
                if status is not None:
                    return status
            elif got.si_pid != self._witness.pid:
                self._pass_on(got.si_signo)

    def finish(self, on_signal: Callable[[], None]) -> None:
        """From now on there is no program to pass signals on to: the next ones call this instead."""
        self._witness.close()
        while signal.sigtimedwait(SIGNALS, 0):
            pass
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda _number, _frame: on_signal())
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _look_at_children(self) -> int | None:
        self._witness.restart_if_dead()
        # Several may have happened since the last SIGCHLD, and all of them are one signal.
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return None
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            self._stop(os.WSTOPSIG(status))

    def _pass_on(self, number: int) -> None:
        if not self._witness.saw(number):
            # A set-uid program may not be signalled by us; it would not have been by most others either.
            with contextlib.suppress(PermissionError):
                os.kill(self.pid, number)
            return
        self._witness.forget(number)
        # The group's copy may still be in our queue, when what woke us was one to us alone just before (`timeout`
        # sends both). It has no mark any more. With a mark, it is a newer one, to the group again, and the loop's.
        if number in signal.sigpending() and not self._witness.has(number):
            signal.sigtimedwait([number], 0)

    def _stop(self, number: int) -> None:
        """Stop as the program did; returns when continued."""
        self._witness.watch(self.pid)
        if number != signal.SIGSTOP:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        self._witness.unwatch()


def _execute(target: Target, environment: dict[bytes, bytes]) -> None:
    try:
        os.execve(target.executable, target.arguments, environment)
    except OSError as error:
        # A script without a #! line; every shell runs it so.
        if error.errno == 8:
            os.execve("/bin/sh", ["sh", target.executable, *target.arguments[1:]], environment)
        raise


def _let_go_of_stdin_and_stdout() -> None:
    """They are the program's. A copy kept here would keep its reader waiting after the program closed its own."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)


def occupy_standard_descriptors() -> None:
    """Put something there where conctrace was started without stdin, stdout or stderr.

    Otherwise the next file opened gets the number, and is taken for the standard one. It does not survive the exec:
    the program finds them closed as it would have.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


def die_by(number: int) -> int:
    """Ends this process by a signal, as the program was ended; without a core of its own.

    Returns the status to exit with, as a shell would call it, where that is not possible (pid 1 of a container).
    """
    import resource

    # Not 0: a core that is piped to a program knows no limit but this one (core(5), do_coredump).
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, hard))
    if number not in {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    # A signal to oneself arrives before kill returns; with several threads it need not, so give it a moment.
    time.sleep(0.05)
    return 128 + number
