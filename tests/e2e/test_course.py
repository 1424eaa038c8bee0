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
