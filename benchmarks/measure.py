"""Runs a workload by each tool in turn, round after round, and checks what the trace says of it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .tools import BARE, RECORDERS, VIZTRACER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .tools import Tool
    from .workloads import Workload

HERE = os.path.dirname(os.path.abspath(__file__))
#: Seconds for one command, viztracer takes tens of them for what takes a tenth of one bare; and for so many operations one
#: more.
TIMEOUT, OPERATIONS_A_SECOND = 600, 100_000
#: How far a trace's sum of holds may be from what the program itself measured.
NEAR = 0.2
#: What a program says of itself, and valgrind of it.
_SAID = re.compile(r"^operations=.*$", re.MULTILINE)
_WORD = re.compile(r"(\w+)=(\d+)")
_INSTRUCTIONS = re.compile(r"^==\d+== Collected : (\d+)$", re.MULTILINE)


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
    #: what the program says: operations, and ns of its loop by its own clock; and instructions, where they were counted
    said: dict[str, int]
    #: extension → bytes
    sizes: dict[str, int]

    @property
    def per_operation(self) -> float:
        """Time or instructions."""
        return self.said.get("instructions", self.said["ns"]) / self.said["operations"]


@dataclass(frozen=True)
class Python:
    """An interpreter that has conctrace, and perhaps viztracer."""

    executable: str
    version: str
    #: bare first
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
    #: tool's name → the rounds; of viztracer there may be only the first ones
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    #: load average at the start of each round
    loads: list[float] = field(default_factory=list)


#: Says what there is, and compiles what is to be measured.
_LOOK = """
import sys, compileall, importlib.util
names = [name for name in ("conctrace", "viztracer") if importlib.util.find_spec(name)]
if "conctrace" in names:
    import conctrace
    compileall.compile_dir(conctrace.__path__[0], quiet=2)
    names += ["native"] if importlib.util.find_spec("conctrace.recorder._recorder") else []
print(sys.version.split()[0], *names)
"""


def python(executable: str, recorder: str | None = None) -> Python:
    """What is known of an interpreter, and which tools to use with it (`tools_of`)."""
    # Its place is kept as it was given: a virtual environment's Python is a link.
    path = os.path.abspath(shutil.which(executable) or executable)
    try:
        done = subprocess.run([path, "-c", _LOOK], capture_output=True, text=True, check=True, env=environment("/"))
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError(f"{executable} does not work: {error}") from error
    version, *names = done.stdout.split()
    return Python(path, version, tools_of(executable, names, recorder))


def tools_of(executable: str, names: list[str], recorder: str | None) -> tuple[Tool, ...]:
    """The tools that an interpreter with these names has, bare first; BenchmarkError when it lacks what is asked for.

    `recorder` is the name of one, or ``both``; without it it is the one that conctrace would choose.
    """
    if "conctrace" not in names:
        raise BenchmarkError(f"{executable} has no conctrace: make a virtual environment, and pip install it there")
    if recorder in {"native", "both"} and "native" not in names:
        raise BenchmarkError(f"{executable} has no native recorder: its conctrace was installed without a C compiler")
    chosen = list(RECORDERS) if recorder == "both" else [recorder or ("native" if "native" in names else "python")]
    return BARE, *(RECORDERS[name] for name in chosen), *([VIZTRACER] if "viztracer" in names else [])


def environment(folder: str) -> dict[str, str]:
    """The environment of all that is measured: no variable changes what Python or conctrace do.

    In particular bytecode is cached, as at any user's; PYTHONDONTWRITEBYTECODE would make each start compile anew.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONCTRACE_"))}
    return {**kept, "CONCTRACE_DIR": os.path.join(folder, "sessions")}


def measure(
    python: Python, workload: Workload, pairs: int, with_viztracer: int, scale: float, tell: Callable[[str], None]
) -> Series:
    """So many rounds, after one that is thrown away: it fills the caches, of bytecode and of files.

    viztracer takes part in the first `with_viztracer` of them.
    """
    size = workload.scaled(scale)
    tools = [tool for tool in python.tools if tool != VIZTRACER or (workload.compared and with_viztracer)]
    series = Series(workload, python, size, {tool.name: [] for tool in tools})
    for number in range(pairs + 1):
        series.loads.append(os.getloadavg()[0])
        for tool in tools:
            if tool == VIZTRACER and number > with_viztracer:
                continue
            tell(f"{python.minor} {workload.name}: round {number or 'zero'} of {pairs}, {tool.name}")
            sample = (_count if workload.counted else run)(python, tool, workload, size)
            if number:
                series.samples[tool.name].append(sample)
    return series


def _count(python: Python, tool: Tool, workload: Workload, size: int) -> Sample:
    """Instructions of what a run of four times the size does more: those of start and end cancel out."""
    less, more = (run(python, tool, workload, each) for each in (size, 4 * size))
    said = {name: more.said[name] - less.said[name] for name in ("operations", "instructions")}
    return dataclasses.replace(more, said={**more.said, **said})


def run(python: Python, tool: Tool, workload: Workload, size: int) -> Sample:
    """One command, in a folder of its own that is gone afterwards: what is not yet on the disk never gets there."""
    folder = tempfile.mkdtemp(prefix="benchmark-")
    try:
        command = tool.command(python.executable, workload, workload.command(size), folder)
        sample = _sample(python, tool, command, folder, TIMEOUT + size / OPERATIONS_A_SECOND)
        if tool.recorder:
            check(workload, size, tool.recorder, sample, _counts(python, folder))
        return sample
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(workload: Workload, size: int, recorder: str, sample: Sample, counts: dict[str, Any]) -> None:
    """BenchmarkError unless the trace is whole and says exactly what the program did."""
    expected = {**workload.expected(size), "complete": True, "lost": [], "recorder": recorder}
    found = {name: counts[name] for name in expected}
    if found != expected:
        raise BenchmarkError(f"{workload.name}: the trace should say {expected}, and says {found}")
    for name, each in workload.least.items():
        if counts[name] < int(each * size):
            raise BenchmarkError(
                f"{workload.name}: the trace should have {each * size:.0f} {name}, and has {counts[name]}"
            )
    # One lock at a time is held by one thread at a time: all holds together fit into the loop.
    if workload.sums_holds and not 0 < counts["hold_ns"] <= sample.said["ns"]:
        raise BenchmarkError(f"{workload.name}: holds of {counts['hold_ns']} ns in a loop of {sample.said['ns']} ns")
    held = sample.said.get("held", 0)
    if abs(counts["timed_ns"] - held) > NEAR * held:
        raise BenchmarkError(f"{workload.name}: it held for {held} ns, and the trace says {counts['timed_ns']}")


def _sample(python: Python, tool: Tool, command: list[str], folder: str, timeout: float) -> Sample:
    output, errors = os.path.join(folder, "stdout"), os.path.join(folder, "stderr")
    stopwatch = [python.executable, "-I", "-S", os.path.join(HERE, "stopwatch.py"), output, errors, *command]
    settings = {"CONCTRACE_RECORDER": tool.recorder} if tool.recorder else {}
    status, wall, cpu, peak = map(int, _run(stopwatch, folder, timeout, settings).split())
    told = _text(errors)
    if status:
        raise BenchmarkError(f"{' '.join(command)} ended with {status}:\n{told}")
    return Sample(wall, cpu, peak * 1024, said(_text(output), told), dict(_sizes(folder)))


def said(output: str, errors: str) -> dict[str, int]:
    """What the program says of itself in its output, and valgrind of it among the errors."""
    line = _SAID.search(output)
    words = {name: int(value) for name, value in _WORD.findall(line[0] if line else "")}
    instructions = _INSTRUCTIONS.search(errors)
    return {**words, "instructions": int(instructions[1])} if instructions else words


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _sizes(folder: str) -> Iterator[tuple[str, int]]:
    for name in os.listdir(folder):
        if name.startswith("x."):
            yield os.path.splitext(name)[1], os.path.getsize(os.path.join(folder, name))


def _counts(python: Python, folder: str) -> dict[str, Any]:
    words = [python.executable, os.path.join(HERE, "counts.py"), os.path.join(folder, "x.ctrace")]
    counts: dict[str, Any] = json.loads(_run(words, folder, TIMEOUT, {}))
    return counts


def _run(command: list[str], folder: str, timeout: float, settings: dict[str, str]) -> str:
    """The output of a command that must succeed; it and its group do not outlive the time-out."""
    variables = {**environment(folder), **settings}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env=variables, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{' '.join(command)} still ran after {timeout:.0f} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise BenchmarkError(f"{' '.join(command)} ended with {process.returncode}")
    return output
