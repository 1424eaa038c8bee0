"""The runner of test programs reports what a program did, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.run import ProgramTimeoutError, is_alive, wait_for_end, without_pids

if TYPE_CHECKING:
    from tests.support.run import Runner

#: Starts a child in a session of its own, says its pid, and both stay.
LEAVES_A_CHILD = """
import os, signal
pid = os.fork()
if pid == 0:
    os.setsid()
    signal.pause()
print(pid, flush=True)
signal.pause()
"""


def test_status_and_both_streams_come_back(runner: Runner) -> None:
    result = runner.bare("-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (result.status, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_a_death_by_signal_is_minus_its_number(runner: Runner) -> None:
    assert runner.bare("-c", "import os; os.kill(os.getpid(), 9)").status == -signal.SIGKILL


def test_stdin_is_a_pipe_with_the_given_text(runner: Runner) -> None:
    assert runner.bare("-c", "print(input()[::-1])", stdin="abc\n").stdout == "cba\n"


def test_terminal_means_that_all_three_are_one(runner: Runner) -> None:
    on_terminal = dataclasses.replace(runner, terminal=True)
    result = on_terminal.bare("-c", "import os; print([os.isatty(n) for n in (0, 1, 2)])")
    assert result.lines == ["[True, True, True]"]


def test_what_is_typed_on_the_terminal_arrives(runner: Runner) -> None:
    result = dataclasses.replace(runner, terminal=True).bare("-c", "print(input()[::-1])", stdin="abc\n")
    assert result.lines[-1] == "cba"


@pytest.mark.parametrize("unbuffered", [True, False])
def test_unbuffered_is_as_asked(runner: Runner, unbuffered: bool) -> None:
    result = dataclasses.replace(runner, unbuffered=unbuffered).bare(
        "-c", "import os; print(os.environ.get('PYTHONUNBUFFERED'))"
    )
    assert result.stdout == ("1\n" if unbuffered else "None\n")


def test_the_recorder_that_is_tested_is_the_programs(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCTRACE_RECORDER", "python")
    monkeypatch.setenv("CONCTRACE_SESSION", "/somebody's")
    asked = "import os; print(os.environ.get('CONCTRACE_RECORDER'), os.environ.get('CONCTRACE_SESSION'))"
    assert runner.bare("-c", asked).stdout == "python None\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_time_out_says_what_was_written_so_far(runner: Runner, terminal: bool) -> None:
    short = dataclasses.replace(runner, timeout=0.7, terminal=terminal)
    with pytest.raises(ProgramTimeoutError, match="so far"):
        short.bare("-c", "import signal; print('so ' 'far'); signal.pause()")


def test_leaving_kills_children_in_other_sessions_too(runner: Runner) -> None:
    with runner.started([sys.executable, "-c", LEAVES_A_CHILD]) as program:
        assert program.process.stdout is not None
        child = int(program.process.stdout.readline())
        os.kill(child, 0)
    wait_for_end(child)
    assert not is_alive(child)
    assert program.status() == -signal.SIGKILL


def test_pids_are_named_in_order_of_appearance() -> None:
    assert without_pids(["I (876) made 877.", "877 of 876 in 3 steps, 0.1234 s"]) == [
        "I (<pid 1>) made <pid 2>.",
        "<pid 2> of <pid 1> in 3 steps, 0.1234 s",
    ]


def test_only_known_pids_are_named_when_they_are_given() -> None:
    assert without_pids(["876 877 878"], pids=[878, 876]) == ["<pid 1> 877 <pid 2>"]
