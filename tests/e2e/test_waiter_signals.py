"""Signals, job control and exit status under ``conctrace run`` are what they are without it.

Each test is a real program in a session of its own. A handler that ran twice is seen without waiting for it: the
program ends by a signal of a higher number, sent once conctrace has done with the first (`settle`), and both the
kernel and Python serve lower numbers first.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.run import TIMEOUT, Program, Runner, is_alive, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END = signal.SIGRTMIN + 3

#: Logs every signal that it is told to handle, says "ready", and ends with status 5 at END.
LOGGER = f"""
import os, signal, sys
log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
told = os.open("told", os.O_WRONLY)

def write(number, frame):
    os.write(log, signal.Signals(number).name.encode() + b"\\n")
    os.write(told, signal.Signals(number).name.encode() + b"\\n")

def end(number, frame):
    sys.exit(5)

for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), write)
signal.signal({END}, end)
os.write(told, f"ready {{os.getpid()}} {{os.getppid()}}\\n".encode())
while True:
    signal.pause()
"""


class Logger:
    """The program above, running below some command."""

    def __init__(self, runner: Runner) -> None:
        self.folder = runner.folder
        (self.folder / "logger.py").write_text(LOGGER)
        os.mkfifo(self.folder / "told")
        self._told = os.open(self.folder / "told", os.O_RDWR)
        self.pid = self.waiter = 0

    def ready(self) -> None:
        _, pid, waiter = self.hear("ready").split()
        self.pid, self.waiter = int(pid), int(waiter)

    def hear(self, word: str) -> str:
        """The program's next word, which must be this one."""
        heard = _read_line(self._told)
        assert heard.split()[0] == word
        return heard

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().split()

    def close(self) -> None:
        os.close(self._told)


@pytest.fixture
def logger(runner: Runner) -> Iterator[Logger]:
    made = Logger(runner)
    yield made
    made.close()


def _read_line(descriptor: int) -> str:
    line = b""
    with _alarm(f"nothing more came after {line!r}"):
        while not line.endswith(b"\n"):
            line += os.read(descriptor, 1)
    return line.decode()


@contextlib.contextmanager
def _alarm(message: str) -> Iterator[None]:
    """Ends a blocking call that would hang the tests."""

    def ring(_number: int, _frame: object) -> None:
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(TIMEOUT))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def conctrace(*target: str) -> list[str]:
    return [sys.executable, "-m", "conctrace", "run", "-q", "-o", "t.ctrace", *target]


def ctty(command: list[str]) -> list[str]:
    """The command, with the terminal of the runner as its controlling terminal."""
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", take, *command]


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def witness_of(waiter: int) -> int:
    """The pid of the waiter's witness."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8") as file:
            head, _, tail = file.read().rpartition(")")
            if head.endswith("(ctrace-witness") and int(tail.split()[1]) == waiter:
                return int(name)
    raise AssertionError(f"{waiter} has no witness")


def type_keys(program: Program, keys: bytes) -> None:
    assert program._terminal is not None
    os.write(program._terminal, keys)


def read_until(program: Program, pattern: str) -> str:
    """What the terminal shows, up to and with what this regular expression fits."""
    assert program._terminal is not None
    seen = ""
    with _alarm(f"no {pattern!r} on the terminal"):
        while not re.search(pattern, seen):
            seen += os.read(program._terminal, 4096).decode()
    return seen


# Signals -------------------------------------------------------------------------------------------------------


def send_to_pid(program: Program, number: int) -> None:
    program.signal(number)


def send_to_group(program: Program, number: int) -> None:
    program.signal_group(number)


@pytest.mark.parametrize("send", [send_to_pid, send_to_group], ids=["kill PID", "kill -- -PGID"])
@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGCONT", "SIGWINCH", "SIGTSTP"]
)
def test_a_signal_reaches_the_program_once(
    runner: Runner, logger: Logger, name: str, send: Callable[[Program, int], None]
) -> None:
    with runner.started(conctrace("logger.py", name)) as program:
        logger.ready()
        send(program, getattr(signal, name))
        logger.hear(name)
        settle(logger)
        send(program, END)
        program.communicate()
        assert logger.log == [name]
        assert program.status() == 5


def test_signals_to_the_group_and_to_conctrace_in_turn_each_arrive_once(runner: Runner, logger: Logger) -> None:
    """No mark of the witness outlives its signal: one that did would swallow the next `kill PID`."""
    with runner.started(conctrace("logger.py", "SIGTERM")) as program:
        logger.ready()
        for send in [send_to_group, send_to_pid] * 10:
            send(program, signal.SIGTERM)
            logger.hear("SIGTERM")
            settle(logger)
        send_to_pid(program, END)
        program.communicate()
        assert logger.log == ["SIGTERM"] * 20


def settle(logger: Logger) -> None:
    """Returns when the waiter has done with what it got: it waits for the next signal, and has none pending."""
    with _alarm("the waiter never came to rest"):
        while not waits_for_a_signal(logger.waiter) or is_pending(logger.waiter):
            os.sched_yield()


def waits_for_a_signal(pid: int) -> bool:
    """Whether a process is in sigwaitinfo without a time-out."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        words = file.read().split()
    rt_sigtimedwait = {"x86_64": "128", "aarch64": "137"}[os.uname().machine]
    # its third argument is the time-out
    return words[0] == rt_sigtimedwait and int(words[3], 16) == 0


def is_pending(pid: int) -> bool:
    """Whether a signal waits to be taken by a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(file.read().partition("ShdPnd:")[2].split()[0], 16) != 0


def test_ctrl_c_reaches_the_program_once(runner: Runner, logger: Logger) -> None:
    with replace(runner, terminal=True).started(ctty(conctrace("logger.py", "SIGINT"))) as program:
        logger.ready()
        type_keys(program, b"\x03")
        logger.hear("SIGINT")
        settle(logger)
        program.signal(END)
        assert program.status() == 5
        assert logger.log == ["SIGINT"]


def test_ctrl_c_on_a_program_without_a_handler_ends_both_by_sigint(runner: Runner) -> None:
    text = "import sys; print('ready', flush=True); sys.stdin.read()"
    with replace(runner, terminal=True).started(ctty(conctrace("-c", text))) as program:
        read_until(program, "ready")
        type_keys(program, b"\x03")
        assert read_until(program, "KeyboardInterrupt").count("Traceback") == 1
        assert program.status() == -signal.SIGINT


def test_timeout_lets_the_handler_run_once(runner: Runner, logger: Logger) -> None:
    """It signals its child, and then the whole group."""
    with runner.started(["timeout", "1", *conctrace("logger.py", "SIGTERM")]) as program:
        logger.ready()
        logger.hear("SIGTERM")
        settle(logger)
        os.kill(logger.waiter, END)
        program.communicate()
        assert logger.log == ["SIGTERM"]
        assert program.status() == 124


def test_a_signal_to_conctrace_and_then_to_its_group_is_one(runner: Runner, logger: Logger) -> None:
    """As `timeout` sends them; here the waiter has the first before the second is sent."""
    with runner.started(conctrace("logger.py", "SIGTERM")) as program:
        logger.ready()
        settle(logger)
        sent = time.monotonic()
        program.signal(signal.SIGTERM)
        with _alarm("the waiter did not take the signal"):
            while is_pending(program.pid):
                pass
        program.signal_group(signal.SIGTERM)
        if time.monotonic() - sent > 0.005:
            pytest.skip("this machine was too busy to send two signals within 5 ms")
        logger.hear("SIGTERM")
        settle(logger)
        program.signal(END)
        program.communicate()
        assert logger.log == ["SIGTERM"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_program_that_kills_its_own_group_takes_conctrace_along(runner: Runner, number: signal.Signals) -> None:
    text = f"import os; os.killpg(0, {int(number)})"
    with runner.started(conctrace("-c", text)) as program:
        program.communicate()
        assert program.status() == -number


def test_a_program_that_signals_its_own_group_handles_that_once(runner: Runner, logger: Logger) -> None:
    text = LOGGER.replace("while True:", "os.killpg(0, signal.SIGUSR1)\nwhile True:")
    (runner.folder / "logger.py").write_text(text)
    with runner.started(conctrace("logger.py", "SIGUSR1")) as program:
        logger.ready()
        logger.hear("SIGUSR1")
        settle(logger)
        program.signal(END)
        program.communicate()
        assert logger.log == ["SIGUSR1"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_witness_that_was_killed_or_stopped_is_replaced(
    runner: Runner, logger: Logger, number: signal.Signals
) -> None:
    with runner.started(conctrace("logger.py", "SIGTERM")) as program:
        logger.ready()
        witness = witness_of(program.pid)
        os.kill(witness, number)
        if number == signal.SIGKILL:
            wait_for_end(witness)
            settle(logger)
        for send in (send_to_group, send_to_pid, send_to_group, send_to_pid):
            send(program, signal.SIGTERM)
            logger.hear("SIGTERM")
            settle(logger)
        send_to_pid(program, END)
        program.communicate()
        assert logger.log == ["SIGTERM"] * 4


def test_a_program_survives_the_death_of_conctrace_and_the_witness_does_not(runner: Runner, logger: Logger) -> None:
    with runner.started(conctrace("logger.py", "SIGTERM")) as program:
        logger.ready()
        witness = witness_of(program.pid)
        program.signal(signal.SIGKILL)
        assert program.status() == -signal.SIGKILL
        wait_for_end(witness)
        assert is_alive(logger.pid)
        os.kill(logger.pid, signal.SIGTERM)
        logger.hear("SIGTERM")
        assert is_alive(logger.pid)


def test_conctrace_does_nothing_while_the_program_runs(runner: Runner, logger: Logger) -> None:
    spin = "import time\nend = time.monotonic() + 0.4\nwhile time.monotonic() < end: pass\n"
    text = LOGGER.replace("while True:", spin + "os.write(told, b'spun\\n')\nwhile True:")
    (runner.folder / "logger.py").write_text(text)
    with runner.started(conctrace("logger.py")) as program:
        logger.ready()
        settle(logger)
        before = switches(program.pid), switches(witness_of(program.pid))
        logger.hear("spun")
        assert (switches(program.pid), switches(witness_of(program.pid))) == before


def switches(pid: int) -> int:
    """How often a process went to sleep; it must have woken up before."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(file.read().partition("\nvoluntary_ctxt_switches:")[2].split()[0])


# Stopped and continued -------------------------------------------------------------------------------------------


SHELL = ["bash", "--norc", "--noprofile", "-i"]
QUIET_SHELL = {"PS1": "prompt> ", "HISTFILE": "/dev/null"}


def test_ctrl_z_gives_the_terminal_back_to_the_shell_and_fg_continues_the_program(
    runner: Runner, logger: Logger
) -> None:
    with replace(runner, terminal=True, variables=QUIET_SHELL).started(ctty(SHELL)) as program:
        read_until(program, "prompt> ")
        type_keys(program, " ".join(conctrace("logger.py", "SIGCONT", "SIGINT")).encode() + b"\n")
        logger.ready()
        type_keys(program, b"\x1a")
        read_until(program, "Stopped")
        assert (state(logger.pid), state(logger.waiter)) == ("T", "T")
        type_keys(program, b"fg\n")
        logger.hear("SIGCONT")
        type_keys(program, b"\x03")
        logger.hear("SIGINT")
        settle(logger)
        os.kill(logger.waiter, END)
        read_until(program, "prompt> ")
        type_keys(program, b"echo status=$?\n")
        read_until(program, "status=5")
        assert logger.log == ["SIGCONT", "SIGINT"]
        type_keys(program, b"exit\n")
        program.status()


def test_a_program_in_the_background_that_reads_the_terminal_is_stopped_with_conctrace(runner: Runner) -> None:
    (runner.folder / "ask.py").write_text("print('got', input())\n")
    with replace(runner, terminal=True, variables=QUIET_SHELL).started(ctty(SHELL)) as program:
        read_until(program, "prompt> ")
        type_keys(program, " ".join(conctrace("ask.py")).encode() + b" & echo pid=$!.\n")
        waiter = int(re.findall(r"pid=(\d+)", read_until(program, r"pid=\d+\."))[-1])
        wait_until_stopped(waiter)
        type_keys(program, b"fg\n")
        read_until(program, "ask.py")
        type_keys(program, b"hello\n")
        read_until(program, "got hello")
        wait_for_end(waiter)
        type_keys(program, b"exit\n")
        program.status()


def wait_until_stopped(pid: int) -> None:
    with _alarm("it did not stop"):
        while state(pid) != "T":
            os.sched_yield()


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_conctrace_stops_as_its_program_does_and_goes_on_with_it(
    runner: Runner, logger: Logger, number: signal.Signals
) -> None:
    """Also when the program alone is continued, of which a stopped parent learns nothing."""
    # In a group of its own, below a parent in another: in an orphaned group the kernel ignores SIGTSTP.
    parent = "import os, subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], preexec_fn=os.setpgrp).returncode)"
    with runner.started([sys.executable, "-c", parent, *conctrace("logger.py")]) as program:
        logger.ready()
        os.kill(logger.pid, number)
        wait_until_stopped(logger.waiter)
        os.kill(logger.pid, signal.SIGCONT)
        os.kill(logger.pid, END)
        assert program.status() == 5


# Exit status -------------------------------------------------------------------------------------------------------

SOME = (0, 1, 2, 3, 42, 126, 127, 128, 130, 137, 143, 254, 255)


@pytest.mark.parametrize("status", SOME)
def test_the_exit_status_is_the_programs(runner: Runner, status: int) -> None:
    assert runner.command(conctrace("-c", f"import sys; sys.exit({status})")).status == status


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("status", sorted(set(range(256)) - set(SOME)))
def test_every_other_exit_status_is_the_programs(runner: Runner, status: int) -> None:
    assert runner.command(conctrace("sh", "-c", f"exit {status}")).status == status


def test_sys_exit_with_a_text_prints_it_and_ends_with_1(runner: Runner) -> None:
    result = runner.command(conctrace("-c", "import sys; sys.exit('the text')"))
    assert (result.status, result.stdout, result.stderr) == (1, "", "the text\n")


def test_an_uncaught_exception_looks_as_without_conctrace(runner: Runner) -> None:
    (runner.folder / "fail.py").write_text("def f():\n    raise ValueError('bad')\nf()\n")
    bare, traced = runner.bare("fail.py"), runner.command(conctrace("fail.py"))
    assert (traced.status, traced.stdout, traced.stderr) == (bare.status, bare.stdout, bare.stderr)
    assert "ValueError: bad" in bare.stderr


@pytest.mark.parametrize(
    "name",
    ["SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV", "SIGPIPE",
     "SIGALRM", "SIGTERM", "SIGXCPU", "SIGSYS"],
)  # fmt: skip
def test_conctrace_dies_by_the_signal_that_killed_the_program(runner: Runner, name: str) -> None:
    number = getattr(signal, name)
    text = f"import os, signal; signal.signal({int(number)}, signal.SIG_DFL); os.kill(os.getpid(), {int(number)})"
    if name == "SIGKILL":
        text = "import os; os.kill(os.getpid(), 9)"
    assert runner.command(conctrace("-c", text)).status == -number


# What the program is given -------------------------------------------------------------------------------------------

SIGNALS = "print([l for l in open('/proc/self/status') if l.startswith(('SigIgn', 'SigBlk', 'SigCgt'))])"


@pytest.mark.parametrize(
    "shell",
    ['exec "$@"', 'trap "" INT; exec "$@"', 'trap "" HUP CHLD USR1; exec "$@"', 'trap "" TSTP TTOU; exec "$@"'],
)
@pytest.mark.parametrize("target", [[sys.executable, "-c", SIGNALS], ["grep", "^Sig[BIC]", "/proc/self/status"]])
def test_dispositions_and_mask_are_those_it_would_have(runner: Runner, shell: str, target: list[str]) -> None:
    bare = runner.command(["bash", "-c", shell, "-", *target])
    traced = runner.command(["bash", "-c", shell, "-", *conctrace(*target)])
    assert traced.stdout == bare.stdout
    assert bare.stdout.count("Sig") == 3


def test_the_status_is_known_though_the_parent_ignores_its_children(runner: Runner) -> None:
    """With SIGCHLD ignored, the kernel would reap the program before anyone could ask."""
    result = runner.command(["bash", "-c", 'trap "" CHLD; exec "$@"', "-", *conctrace("sh", "-c", "exit 9")])
    assert result.status == 9


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": None, "LANG": None, "LC_CTYPE": None}, {"LC_CTYPE": "C.UTF-8"}])
def test_the_environment_is_its_own_and_the_session(runner: Runner, locale: dict[str, str | None]) -> None:
    here = replace(runner, variables=locale)
    bare, traced = here.command(["env"]), here.command(conctrace("env"))
    added = set(traced.lines) - set(bare.lines)
    assert [line.split("=")[0] for line in added] == ["CONCTRACE_SESSION"]
    assert set(bare.lines) <= set(traced.lines)


def test_no_descriptor_of_ours_is_open_in_it(runner: Runner) -> None:
    text = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    for close in ("", "<&-", ">&2 <&-", "<&- 2>&-"):
        bare = runner.command(["sh", "-c", f'exec "$@" {close}', "-", sys.executable, "-c", text])
        traced = runner.command(["sh", "-c", f'exec "$@" {close}', "-", *conctrace("-c", text)])
        assert (traced.stdout, traced.status) == (bare.stdout, bare.status)


def test_a_reader_sees_the_end_when_the_program_closes_its_stdout(runner: Runner, logger: Logger) -> None:
    text = LOGGER.replace("while True:", "os.close(1)\nwhile True:")
    (runner.folder / "logger.py").write_text(text)
    with runner.started(conctrace("logger.py")) as program:
        logger.ready()
        assert program.process.stdout is not None
        with _alarm("somebody keeps the program's stdout open"):
            assert program.process.stdout.read() == b""
        program.signal(END)
        assert program.status() == 5


def test_stdin_from_a_pipe_is_the_programs(runner: Runner) -> None:
    text = "import sys; print(len(sys.stdin.read()))"
    assert runner.command(conctrace("-c", text), stdin="x" * 100_000).stdout == "100000\n"


def test_input_works_on_a_terminal(runner: Runner) -> None:
    with replace(runner, terminal=True).started(ctty(conctrace("-c", "print('hello', input('name? '))"))) as program:
        read_until(program, r"name\?")
        type_keys(program, b"Ann\n")
        read_until(program, "hello Ann")
        assert program.status() == 0
