"""Programs of a Python course, copied unchanged, do under conctrace what they do without it.

Bare against traced, with ``PYTHONUNBUFFERED`` set and not, stdout a pipe and a terminal: the same exit status and the
same lines, whoever wrote them (a program's processes write in any order), with pids replaced by their order of appearance.
"""

from __future__ import annotations

import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.perfetto import stats_problems
from tests.support.readback import read_trace
from tests.support.run import Result, Runner, without_pids

COURSE = Path(__file__).with_name("course")

#: (PYTHONUNBUFFERED set, stdout a terminal)
SURROUNDINGS = ((True, False), (False, False), (True, True), (False, True))

#: Exit status and sorted lines.
Outcome = tuple[int, tuple[str, ...]]

#: What a bare program may print in place of another line, by the order in which its processes happen to run.
ALTERNATIVES = {
    # The parent may be gone by then, and whoever adopts orphans here is the parent.
    "01_fork.py": ("and the parent is <pid 1>", "and the parent is <adopter>"),
}

#: How the lines begin of programs that print in two processes at once. Without a buffer ``print`` writes a line and its end one
#: after the other, and the other process's line may come between them.
BEGINNINGS = {"01_fork.py": r"(?=This is |Process\()"}


def written(script: str, result: Result) -> list[str]:
    """The lines as they were printed, whatever came between a line and its end; and how many ended."""
    if script not in BEGINNINGS:
        return list(result.lines)
    lines = re.split(BEGINNINGS[script], "".join(result.lines))
    return [*filter(None, lines), f"{len(result.lines)} line ends"]


def outcome(script: str, result: Result) -> Outcome:
    """What came of a run; a child adopted meanwhile is told by its adopter's having no other line."""
    lines = without_pids(sorted(written(script, result), key=lambda line: "start..." not in line))
    usual, other = ALTERNATIVES.get(script, ("", ""))
    if usual:
        lines = [line if usual in line else _adopted(line, other) for line in lines]
    return result.status, tuple(sorted(lines))


def _adopted(line: str, other: str) -> str:
    marker = other.rpartition(" ")[0]
    return line.partition(marker)[0] + other if marker in line else line


def possible(script: str, bare: set[Outcome]) -> set[Outcome]:
    """What a bare run may give: what was seen, and that in the other order."""
    usual, other = ALTERNATIVES.get(script, ("", ""))
    both = {
        (status, tuple(line.replace(old, new) if old else line for line in lines))
        for status, lines in bare
        for old, new in ((usual, other), (other, usual))
    }
    return bare | both


@pytest.mark.parametrize("script", ["01_fork.py", "02_process.py", "06_thread.py", "07_race.py"])
def test_a_program_of_the_course_does_what_it_does_without_conctrace(script: str, tmp_path: Path) -> None:
    repeats = 1 if script == "06_thread.py" else 3  # it takes five seconds, and has one outcome
    with ThreadPoolExecutor(len(SURROUNDINGS) * 2) as pool:
        bare, traced = {}, {}
        for unbuffered, terminal in SURROUNDINGS:
            folder = tmp_path / f"{unbuffered}-{terminal}"
            folder.mkdir()
            runner = Runner(folder, unbuffered=unbuffered, terminal=terminal)
            bare[folder] = pool.submit(run_bare, runner, script, repeats)
            traced[folder] = pool.submit(run_traced, runner, script)
    for folder, results in bare.items():
        seen = {outcome(script, result) for result in results.result()}
        assert outcome(script, traced[folder].result()) in possible(script, seen), folder.name
        read_trace(folder / "traced" / "t.ctrace")
        assert stats_problems(folder / "traced" / "t.json") == []


NSLOOKUP = """#!/bin/sh
if [ $# -gt 0 ]; then
    printf 'Server:\\t127.0.0.1\\nName:\\t%s\\n' "$1"
    exit 3
fi
while read -r line; do
    printf '> %s\\n' "$line"
    if [ "$line" = exit ]; then break; fi
done
echo "nslookup: done" >&2
"""


@pytest.mark.parametrize("installed", [True, False])
def test_the_courses_subprocess_does_what_it_does_without_conctrace(tmp_path: Path, installed: bool) -> None:
    """To the byte, on stdout and stderr, with a buffer and without: a traceback of a start that fails is part of it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if installed:
        (folder / "nslookup").write_text(NSLOOKUP)
        (folder / "nslookup").chmod(0o755)
    path = f"{folder}:/usr/bin:/bin" if installed or not shutil.which("nslookup") else str(folder)
    shutil.copy(COURSE / "04_subprocess.py", tmp_path)
    for unbuffered in (True, False):
        runner = Runner(tmp_path, unbuffered=unbuffered, variables={"PATH": path})
        bare = runner.bare("04_subprocess.py")
        traced = runner.traced("04_subprocess.py", options=["-q", "-o", "t.ctrace", "-o", "t.json"])
        assert (traced.status, traced.stdout, traced.stderr) == (bare.status, bare.stdout, bare.stderr)
        assert ("Exit code: 3" in bare.stdout) == installed
        assert stats_problems(tmp_path / "t.json") == []
        trace = read_trace(tmp_path / "t.ctrace")
        lanes = [(process.name, process.end.how, process.end.status) for process in trace.processes.values()][1:]
        waits = [(wait.label, wait.outcome) for wait in trace.waits]
        failures = [mark.name for mark in trace.instants if mark.name.startswith("FileNotFoundError")]
        if installed:
            assert lanes == [("nslookup", "exited", 3), ("nslookup", "exited", 0)]
            assert waits == [("Popen.wait nslookup", "acquired"), ("Popen.communicate nslookup", "acquired")]
            assert dict(trace.waits[1].args) == {"command": "nslookup", "bytes_in": "26", "bytes_out": "47"}
            assert failures == []
        else:
            assert (lanes, waits) == ([], [])
            assert failures == ["FileNotFoundError: [Errno 2] No such file or directory: 'nslookup'"]


def run_bare(runner: Runner, script: str, repeats: int) -> list[Result]:
    """Several bare runs, one after the other."""
    runner = in_own_folder(runner, "bare", script)
    return [runner.command([sys.executable, script]) for _ in range(repeats)]


def run_traced(runner: Runner, script: str) -> Result:
    """One run under conctrace, which says nothing of its own."""
    runner = in_own_folder(runner, "traced", script)
    return runner.traced(script, options=["-q", "-o", "t.ctrace", "-o", "t.json"])


def in_own_folder(runner: Runner, name: str, script: str) -> Runner:
    """The runner in a folder of its own, beside a copy of the script: what it started is killed by its folder."""
    folder = runner.folder / name
    folder.mkdir()
    shutil.copy(COURSE / script, folder)
    return replace(runner, folder=folder)
