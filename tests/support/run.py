"""Running programs for tests, bare and under conctrace, so that nothing outlives a test.

Every program gets a session of its own (`setsid`), a folder for its sessions of conctrace inside the
test's temp folder, and a time-out after which its whole tree is killed: all that share its session, and all
that name the test's folder in their environment, as conctrace's collector does, which leaves the session.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

#: Says in the environment of each process to which test it belongs.
MARK = "CONCTRACE_TEST_MARK"
TIMEOUT = 30.0


@dataclass(frozen=True)
class Result:
    """How a program ended, and what it wrote. On a terminal stdout and stderr both are in `stdout`."""

    #: Exit status, or minus the number of the signal that ended it.
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


class ProgramTimeoutError(AssertionError):
    """A program did not end in time; the message holds what it had written by then."""


@dataclass(frozen=True)
class Runner:
    """Starts programs in `folder`, which is their current folder, too."""

    folder: Path
    #: Whether `PYTHONUNBUFFERED` is set for the programs.
    unbuffered: bool = True
    #: Whether stdin, stdout and stderr are a terminal.
    terminal: bool = False
    timeout: float = TIMEOUT
    #: Set in the environment besides; None takes a variable out.
    variables: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def sessions(self) -> Path:
        """Where conctrace keeps its session folders (`CONCTRACE_DIR`)."""
        return self.folder / "sessions"

    def bare(self, *target: str, stdin: str = "") -> Result:
        """Runs ``python TARGET…`` with no conctrace about it."""
        return self.command([sys.executable, *target], stdin=stdin)

    def traced(self, *target: str, options: Sequence[str] = (), stdin: str = "") -> Result:
        """Runs ``conctrace run OPTIONS… TARGET…``."""
        return self.conctrace("run", *options, *target, stdin=stdin)

    def conctrace(self, *arguments: str, stdin: str = "") -> Result:
        """Runs the conctrace of this interpreter."""
        return self.command([sys.executable, "-m", "conctrace", *arguments], stdin=stdin)

    def command(self, command: Sequence[str], stdin: str = "") -> Result:
        """Runs any command to its end."""
        started = time.monotonic()
        with self.started(command) as program:
            out, err = program.communicate(stdin, self.timeout)
            return Result(program.status(), out, err, time.monotonic() - started)

    @contextlib.contextmanager
    def started(self, command: Sequence[str]) -> Iterator[Program]:
        """A running program, for tests that send it signals; its tree is killed at the end."""
        program = Program(command, self)
        try:
            yield program
        finally:
            program.kill_tree()

    def environment(self) -> dict[str, str]:
        """The environment of the programs: this one's, less what would change what is tested."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if name == "CONCTRACE_RECORDER"  # which of the two is tested
            or not (name.startswith("CONCTRACE_") or name in {"PYTHONUNBUFFERED", "PYTHONPATH", "NO_COLOR"})
        }
        environment["CONCTRACE_DIR"] = str(self.sessions)
        environment[MARK] = str(self.folder)
        if self.unbuffered:
            environment["PYTHONUNBUFFERED"] = "1"
        for name, value in self.variables.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        return environment


class Program:
    """A started program: `process` is the Popen, `pid` leads a session and process group of its own."""

    def __init__(self, command: Sequence[str], runner: Runner) -> None:
        self._command = command
        self._mark = f"{MARK}={runner.folder}".encode()
        self._terminal: int | None = None
        if runner.terminal:
            self._terminal, ends = pty.openpty()
        else:
            ends = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            stdin=ends,
            stdout=ends,
            stderr=ends,
            cwd=runner.folder,
            env=runner.environment(),
            start_new_session=True,
        )
        if runner.terminal:
            os.close(ends)

    @property
    def pid(self) -> int:
        return self.process.pid

    def communicate(self, stdin: str = "", timeout: float = TIMEOUT) -> tuple[str, str]:
        """What the program writes until it ends, to stdout and to stderr."""
        try:
            if self._terminal is not None:
                return self._talk(self._terminal, stdin.encode(), timeout), ""
            out, err = self.process.communicate(stdin.encode(), timeout)
        except subprocess.TimeoutExpired as late:
            self.kill_tree()
            written = (late.stdout or b"") + (late.stderr or b"")
            raise ProgramTimeoutError(
                f"{self._command} still ran after {timeout} s; so far it wrote:\n{written.decode(errors='replace')}"
            ) from None
        return out.decode(errors="replace"), err.decode(errors="replace")

    def status(self) -> int:
        """Exit status, or minus the number of the signal that ended it."""
        return self.process.wait(TIMEOUT)

    def signal(self, number: int) -> None:
        """Sends a signal to the program alone, as ``kill PID`` does."""
        os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Sends a signal to the program's process group, as the terminal does on Ctrl-C."""
        os.killpg(self.pid, number)

    def kill_tree(self) -> None:
        """Kills all that is left of the program, those that left its session included."""
        while left := [pid for pid in self._tree() if self._kill(pid)]:
            # A process killed but not yet gone still has its environment: wait for its end, not a while.
            for pid in left:
                wait_for_end(pid)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def _tree(self) -> list[int]:
        return [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and self._is_ours(int(pid))]

    def _is_ours(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                marked = self._mark in file.read().split(b"\0")
            return (marked or os.getsid(pid) == self.pid) and is_alive(pid)
        except OSError:
            return False

    @staticmethod
    def _kill(pid: int) -> bool:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _talk(self, terminal: int, stdin: bytes, timeout: float) -> str:
        """Types `stdin` on the terminal, reads until all who have it open are gone."""
        os.write(terminal, stdin)
        written = b""
        deadline = time.monotonic() + timeout
        while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # EIO: nobody has the other end any more
                return written.decode(errors="replace").replace("\r\n", "\n")
            written += chunk
        raise subprocess.TimeoutExpired(self._command, timeout, written)


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def wait_for_end(pid: int, timeout: float = TIMEOUT) -> None:
    """Returns when the process has ended (a zombie has), whoever's child it is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([handle], [], [], timeout)[0]:
            raise ProgramTimeoutError(f"process {pid} still runs after {timeout} s")
    finally:
        os.close(handle)


def without_pids(lines: Sequence[str], pids: Sequence[int] | None = None) -> list[str]:
    """`lines` with each pid replaced by ``<pid N>``, N counting pids in order of appearance.

    Without `pids`, every number from 100 up that stands alone is taken for a pid.
    """
    order: dict[str, str] = {}
    known = None if pids is None else {str(pid) for pid in pids}

    def name(match: re.Match[str]) -> str:
        number = match.group()
        if (int(number) < 100) if known is None else (number not in known):
            return number
        return order.setdefault(number, f"<pid {len(order) + 1}>")

    return [re.sub(r"(?<![\w.])\d+(?!\w|\.\d)", name, line) for line in lines]
