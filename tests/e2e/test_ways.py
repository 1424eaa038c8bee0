"""However a Python is started, it is in the trace: name, parent, start, end and status."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.readback import read_trace, record
from tests.support.soak import repeat
from tests.support.ways import WAYS, nested

if TYPE_CHECKING:
    from tests.support.run import Runner


@pytest.mark.parametrize("way", WAYS)
def test_a_python_is_in_the_trace_however_it_was_started(way: str, runner: Runner) -> None:
    WAYS[way](runner, 0)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_a_python_is_in_the_trace_however_it_was_started_50_of_50_times(way: str, tmp_path: Path) -> None:
    assert repeat(WAYS[way], 50, tmp_path) == []


# What did not start the recorder ----------------------------------------------------------------------------------

PYTHON = sys.executable
NESTED = "nested/bin/python"
#: Command → what is said of it.
SILENT = {
    f"{PYTHON} -S say.py": "nothing was recorded: its option -S keeps the recorder from starting",
    f"{PYTHON} -BES say.py": "nothing was recorded: its option -S keeps the recorder from starting",
    f"{PYTHON} -S -c 'import os; os.kill(os.getpid(), 9)'": "nothing was recorded: its option -S",
    f"env -i {PYTHON} say.py": f"nothing was recorded: {PYTHON} did not start the recorder",
    f"env -u CONCTRACE_SESSION {PYTHON} say.py": f"nothing was recorded: {PYTHON} did not start the recorder",
    f"{NESTED} say.py": f"nothing was recorded: {NESTED} has no conctrace; to install it there: {NESTED} -m pip",
    "./tool": "/nested/bin/python has no conctrace",
}


@pytest.mark.parametrize("command", SILENT)
def test_a_python_in_which_nothing_was_recorded_is_told_with_the_cause_as_far_as_it_is_known(
    command: str, runner: Runner
) -> None:
    prepare_silent(runner.folder)
    words = shlex.split(command)
    bare = runner.command([word.replace(NESTED, f"{runner.folder}/{NESTED}") for word in words])
    traced = runner.traced("--", *words, options=["-o", "t.ctrace"])
    assert (traced.status, traced.stdout) == (bare.status, bare.stdout)
    (line, *_) = [line for line in traced.stderr.splitlines() if "recorded" in line]
    assert SILENT[command] in line
    assert line.startswith("conctrace: nothing was recorded")
    assert "recorded" not in runner.traced("--", *words, options=["-q", "-o", "t.ctrace"]).stderr


def prepare_silent(folder: Path) -> None:
    """A Python without conctrace, a script that is to be run by it, and a program."""
    nested(folder, hook=False)
    (folder / "say.py").write_text("print('said')\n")
    (folder / "tool").write_text(f"#!{folder}/{NESTED} -B\nprint('said')\n")
    (folder / "tool").chmod(0o755)


@pytest.mark.parametrize(
    "command", [f"{PYTHON} -V", f"{PYTHON} --version", f"{PYTHON} -h", "true", "sh -c true", "env", "env true"]
)
def test_nothing_is_said_of_what_runs_no_python_program(command: str, runner: Runner) -> None:
    result = runner.traced("--", *shlex.split(command), options=["-o", "t.ctrace"])
    assert result.status == 0
    assert "nothing was recorded" not in result.stderr
    assert "no process of it was recorded" in result.stderr


def test_of_a_python_whose_children_alone_were_recorded_just_that_is_said(runner: Runner) -> None:
    (runner.folder / "parent.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)\n"
    )
    result = runner.traced("--", PYTHON, "-S", "parent.py", options=["-o", "t.ctrace"])
    assert f"conctrace: {Path(PYTHON).name} itself was not recorded: its option -S" in result.stderr
    trace = read_trace(runner.folder / "t.ctrace")
    assert [process.name for process in trace.processes.values()] == ["python -c"]


# What escapes ------------------------------------------------------------------------------------------------------

NAME = Path(PYTHON).name
CODE = "import sys; print('unseen', flush=True); sys.exit(7)"
#: A start of a Python that escapes → what is said of it.
ESCAPES = {
    f"[PYTHON, '-S', '-c', {CODE!r}]": f"{NAME} -S",
    f"[PYTHON, '-c', {CODE!r}], env={{}}": NAME,
    f"['nested/bin/python', '-c', {CODE!r}]": "python",
    f"['nested/bin/python', '-ISc', {CODE!r}]": "python -S",
}
_ESCAPE = """
import os, signal, subprocess, sys
PYTHON = sys.executable
for argument in ("-V", "--version", "-h"):
    subprocess.run([PYTHON, argument], stdout=subprocess.DEVNULL)
process = subprocess.Popen([PYTHON, "-S", "-c", "import signal; signal.pause()"])
process.kill()
process.wait()
subprocess.run(["true"])
print(subprocess.run(COMMAND).returncode)
"""


@pytest.mark.parametrize("command", ESCAPES)
def test_a_python_that_escapes_is_there_as_its_parent_saw_it_and_named_in_one_line(
    command: str, runner: Runner
) -> None:
    nested(runner.folder, hook=False)
    run = record(runner, _ESCAPE.replace("COMMAND", command), json=False)
    assert (run.result.status, run.result.lines) == (0, ["unseen", "7"]), run.result.stderr
    (loss,) = run.trace.losses
    *_, process = run.trace.processes.values()
    assert (process.origin, process.end.how, process.end.status) == ("unrecorded", "exited", 7)
    assert process.parent is not None
    (main,) = [each for each in run.trace.processes.values() if each.origin == "main"]
    assert process.parent == main.key
    assert loss.sentence == (
        f"1 Python process was not recorded: {ESCAPES[command]} {process.pid}, started by MainProcess {main.pid} "
        "at program.py:10; see docs/fidelity.md."
    )
    words = " ".join(run.result.stderr.split())
    assert loss.sentence in words
    assert words.count("was not recorded") == 1
