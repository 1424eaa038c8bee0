"""conctrace finds in each example what its docstring says."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.readback import Perfetto, Recorded, read_trace

if TYPE_CHECKING:
    from tests.support.run import Runner

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("*.py"))


def run_example(runner: Runner, name: str) -> Recorded:
    """Records the example; its trace has no contradictions, and Perfetto nothing against it."""
    shutil.copy(FOLDER / name, runner.folder)
    run = Recorded(runner.traced(name, options=["-o", "t.ctrace", "-o", "t.json"]), runner, "t")
    assert run.result.status == 0, run.result.stderr
    return run


def arrows(run: Recorded) -> Counter[str]:
    return Counter(flow.name for flow in run.perfetto.flows)


def labels(run: Recorded) -> Counter[tuple[str, str]]:
    return Counter((wait.label, wait.outcome) for wait in run.trace.waits)


def ends(run: Recorded) -> dict[str, str]:
    """How each process ended, by its name."""
    lives = [piece for piece in run.perfetto.of("process") if "ended" in piece.args]
    return {life.process.rpartition(" ")[0]: life.args["ended"] for life in lives}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_conctrace_finds_in_it(name: str) -> None:
    source = (FOLDER / name).read_text()
    assert source.startswith('"""')
    assert "What conctrace should find: " in source.replace("\n", " ")


def test_fork(runner: Runner) -> None:
    run = run_example(runner, "01_fork.py")
    assert ends(run) == {"MainProcess": "exit 0", "Fork-1": "exit 3"}
    assert labels(run) == {("os.waitpid Fork-1", "acquired"): 1}
    assert arrows(run) == {"fork": 1, "end": 1}


def test_process(runner: Runner) -> None:
    run = run_example(runner, "02_process.py")
    assert ends(run) == {
        "MainProcess": "exit 0", "reader": "exit 0", "writer": "exit 3",
        "sleeper": "killed by SIGTERM from MainProcess",
    }  # fmt: skip
    assert labels(run) == {
        ("Process.join reader", "timeout"): 1, ("Process.join reader", "acquired"): 1,
        ("Process.join writer", "acquired"): 1, ("Process.join sleeper", "acquired"): 1,
    }  # fmt: skip
    assert arrows(run) == {"start": 3, "end": 3}


def test_subprocess(runner: Runner) -> None:
    run = run_example(runner, "04_subprocess.py")
    assert ends(run) == {"MainProcess": "exit 0", "cat": "exit 0", "sleep": "killed by SIGKILL from MainProcess"}
    assert labels(run) == {
        ("Popen.communicate cat", "acquired"): 1, ("Popen.communicate sleep", "timeout"): 1,
        ("Popen.wait sleep", "acquired"): 1,
    }  # fmt: skip
    assert arrows(run) == {"start": 2, "end": 2}
    (talk,) = (piece for piece in run.perfetto.slices if piece.name == "Popen.communicate cat")
    assert (talk.args["bytes_in"], talk.args["bytes_out"]) == ("6", "6")
    (failed,) = (piece for piece in run.perfetto.slices if piece.args.get("outcome") == "error")
    assert failed.name == "Popen there-is-no-such-program"
    assert failed.args["error"].startswith("FileNotFoundError: ")


def test_thread(runner: Runner) -> None:
    run = run_example(runner, "06_thread.py")
    names = ["LoopThread", "MainThread", "failing", "timer"]
    assert [name for _, name in run.perfetto.threads] == names
    assert arrows(run) == {"start": 3, "end": 3}
    failed = {thread.name: thread.error for thread in run.trace.threads.values() if thread.error}
    assert failed == {"failing": "ZeroDivisionError: division by zero"}


def test_race(runner: Runner) -> None:
    run = run_example(runner, "07_race.py")
    assert len(run.trace.threads) == 11
    assert arrows(run) == {"start": 10, "end": 10}
    assert {wait.category for wait in run.trace.waits} == {"thread"}


def test_locked(runner: Runner) -> None:
    run = run_example(runner, "07_locked.py")
    assert run.result.stdout == "1000 of 1000\n"
    assert [thing.name for thing in run.trace.objects.values() if thing.kind == "Lock"] == ["lock"]
    assert sum(row.holds for row in run.trace.totals) == 1000
    waits = [wait for wait in run.trace.waits if wait.category == "lock"]
    assert waits
    assert {wait.label for wait in waits} == {"Lock.acquire lock"}
    # A lock may be let go between the moment it was found taken and the moment the wait began.
    ended_by_release = [wait for wait in waits if wait.cause is not None]
    assert len(ended_by_release) > len(waits) / 2 > 100
    assert arrows(run)["release"] == len(ended_by_release)


def test_contended(runner: Runner) -> None:
    run = run_example(runner, "07_contended.py")
    waits = [wait for wait in run.trace.waits if wait.category == "lock"]
    assert len(waits) == 3
    assert {run.trace.threads[wait.holder].name for wait in waits if wait.holder} == {"holder"}
    assert arrows(run)["release"] == 3


def test_inside(runner: Runner) -> None:
    run = run_example(runner, "10_inside.py")
    spans = Counter(span.name for span in run.trace.spans if span.category == "span")
    assert spans == {"before": 1, "trace 10_inside": 1, "download": 2, "check": 2, "after": 1}
    assert [value.value for value in run.trace.counters] == [1, 2]
    part = read_trace(runner.folder / "part.ctrace")
    spans = Counter(span.name for span in part.spans if span.category == "span")
    assert spans == {"trace 10_inside": 1, "download": 2, "check": 2}
    assert Perfetto(runner.folder / "part.json").of("span")
