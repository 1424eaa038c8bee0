"""Runs a workload by each tool in turn, round after round, and checks what the trace says of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .tools import CONCTRACE, TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .tools import Tool
    from .workloads import Workload

HERE = os.path.dirname(os.path.abspath(__file__))
#: Seconds for one command; viztracer takes tens of them for what takes a tenth of one bare.
TIMEOUT = 600
_RESULT = re.compile(r"^operations=(\d+) ns=(\d+)$", re.MULTILINE)


class BenchmarkError(Exception):
    """A command failed, or a trace is not what the program did: there is nothing to compare."""


@dataclass(frozen=True)
class Sample:
    """One run of one command."""

    #: from the start of the command to its end
    wall_ns: int
    #: CPU time of the command and of all the processes it waited for
    cpu_ns: int
    #: of the largest of these processes
    peak_bytes: int
    #: by the program's own clock: its loop, and how many operations that was; 0 for a program without one
    loop_ns: int
    operations: int
    #: extension → bytes
    sizes: dict[str, int]


@dataclass(frozen=True)
class Python:
    """An interpreter that has conctrace, and perhaps viztracer."""

    executable: str
    version: str
    tools: tuple[Tool, ...]

    @property
    def minor(self) -> str:
        """As people call it: 3.12."""
        return self.version.rpartition(".")[0]


@dataclass
class Series:
    """All rounds of one workload on one Python."""

    workload: Workload
    python: Python
    size: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)


def python(executable: str) -> Python:
    """What is known of an interpreter; BenchmarkError when it lacks conctrace."""
    # Its place is kept as it was given: a virtual environment's Python is a link.
    path = os.path.abspath(shutil.which(executable) or executable)
    code = (
        "import sys, importlib.util as u; "
        "print(sys.version.split()[0], *(n for n in ('conctrace', 'viztracer') if u.find_spec(n)))"
    )
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=True, env=environment("/"))
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError(f"{executable} does not work: {error}") from error
    version, *modules = done.stdout.split()
    if CONCTRACE not in modules:
        raise BenchmarkError(f"{executable} has no conctrace: make a virtual environment, and pip install it there")
    return Python(path, version, tuple(tool for tool in TOOLS if tool.name in {"bare", *modules}))


def environment(folder: str) -> dict[str, str]:
    """The environment of all that is measured: no variable changes what Python or conctrace do.

    In particular bytecode is cached, as at any user's; PYTHONDONTWRITEBYTECODE would make each start compile anew.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONCTRACE_"))}
    return {**kept, "CONCTRACE_DIR": os.path.join(folder, "sessions")}


def measure(python: Python, workload: Workload, pairs: int, scale: float, tell: Callable[[str], None]) -> Series:
    """So many rounds, after one that is thrown away: it fills the caches, of bytecode and of files."""
    size = workload.scaled(scale)
    series = Series(workload, python, size, {tool.name: [] for tool in python.tools})
    for number in range(pairs + 1):
        for tool in python.tools:
            tell(f"{python.minor} {workload.name}: round {number or 'zero'} of {pairs}, {tool.name}")
            sample = run(python, tool, workload, size)
            if number:
                series.samples[tool.name].append(sample)
    return series


def run(python: Python, tool: Tool, workload: Workload, size: int) -> Sample:
    """One command, in a folder of its own that is gone afterwards: what is not yet on the disk never gets there."""
    folder = tempfile.mkdtemp(prefix="benchmark-")
    try:
        command = tool.command(python.executable, workload, workload.command(size), folder)
        sample = _sample(python, command, folder)
        if tool.name == CONCTRACE:
            check(workload, size, sample, _counts(python, folder))
        return sample
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(workload: Workload, size: int, sample: Sample, counts: dict[str, Any]) -> None:
    """BenchmarkError unless the trace is whole and says exactly what the program did."""
    expected = {**workload.expected(size), "complete": True, "lost": []}
    found = {name: counts[name] for name in expected}
    if found != expected:
        raise BenchmarkError(f"{workload.name}: the trace should say {expected}, and says {found}")
    # One lock at a time is held by one thread at a time: all holds together fit into the loop.
    if workload.is_lock and not 0 < counts["hold_ns"] <= sample.loop_ns:
        raise BenchmarkError(f"{workload.name}: holds of {counts['hold_ns']} ns in a loop of {sample.loop_ns} ns")


def _sample(python: Python, command: list[str], folder: str) -> Sample:
    output, errors = os.path.join(folder, "stdout"), os.path.join(folder, "stderr")
    stopwatch = [python.executable, "-I", "-S", os.path.join(HERE, "stopwatch.py"), output, errors, *command]
    status, wall, cpu, peak = map(int, _run(stopwatch, folder).split())
    if status:
        with open(errors, encoding="utf-8", errors="replace") as file:
            raise BenchmarkError(f"{' '.join(command)} ended with {status}:\n{file.read()}")
    with open(output, encoding="utf-8", errors="replace") as file:
        result = _RESULT.search(file.read())
    operations, loop = map(int, result.groups()) if result else (0, 0)
    return Sample(wall, cpu, peak * 1024, loop, operations, dict(_sizes(folder)))


def _sizes(folder: str) -> Iterator[tuple[str, int]]:
    for name in os.listdir(folder):
        if name.startswith("x."):
            yield os.path.splitext(name)[1], os.path.getsize(os.path.join(folder, name))


def _counts(python: Python, folder: str) -> dict[str, Any]:
    words = [python.executable, os.path.join(HERE, "counts.py"), os.path.join(folder, "x.ctrace")]
    counts: dict[str, Any] = json.loads(_run(words, folder))
    return counts


def _run(command: list[str], folder: str) -> str:
    """The output of a command that must succeed; it and its group do not outlive the time-out."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment(folder), start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{' '.join(command)} still ran after {TIMEOUT} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise BenchmarkError(f"{' '.join(command)} ended with {process.returncode}")
    return output
