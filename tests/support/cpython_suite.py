"""CPython's own tests of what conctrace replaces, under conctrace: the same ones pass, fail and are skipped as bare.

python -m tests.support.cpython_suite PYTHON [MODULE...]

PYTHON has conctrace and the package ``test`` installed. Each module is run by ``python -m test`` in processes of its own,
three times bare and once under ``conctrace run``. The package is found by way of a link outside of the standard library, whose
own locks are not recorded: the tests' locks are to be. A test that does not come out the same in the bare runs says nothing about
conctrace, and is listed apart. `CONCTRACE_RECORDER` chooses the recorder as for any program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conctrace.model.builder import build
from conctrace.settings import RECORDER_VARIABLE
from conctrace.tracefile.reader import read
from tests.support.run import ProgramTimeoutError, Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Those that test threads, locks, queues and forks. ``lock_tests`` has no tests of its own: test_thread, test_threading and
#: test_importlib run what is in it.
MODULES = (
    "test_thread", "test_threading", "test_threading_local", "test_queue", "test_importlib", "test_fork1",
    "test_threadsignals", "test_concurrent_futures", "test_logging",
    # Programs, processes and their ends, and how a Python starts.
    "test_subprocess", "test_os", "test_posix", "test_signal", "test_atexit", "test_cmd_line_script", "test_site", "test_sys",
)  # fmt: skip
BARE_RUNS = 3
#: Seconds for one run of a module; bare, test_concurrent_futures takes three minutes of them.
TIMEOUT = 900.0

#: What a module's run as a whole came to, beside its tests.
WHOLE = "(the module)"
#: What the recorder came to.
RECORDING = "(the recording)"

#: Test → how it came out; several times where several tests have one id.
Outcomes = dict[str, tuple[str, ...]]


class Recorded(NamedTuple):
    """How much the recorder saw of a module's run: without it all comparing would be vain."""

    locks: int
    threads: int


NOTHING = Recorded(0, 0)


@dataclass
class Compared:
    """A module's runs side by side."""

    module: str
    bare: Outcomes
    traced: Outcomes
    #: tests that did not come out the same in all bare runs: each run's outcome
    unsteady: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    #: locks and threads of the main process that were recorded
    recorded: Recorded = NOTHING

    @property
    def differences(self) -> list[str]:
        """The steady tests that came out otherwise under conctrace."""
        return [
            f"{self.module}: {test}: {_told(self.bare, test)} bare, {_told(self.traced, test)} under conctrace"
            for test in sorted(self.bare.keys() | self.traced.keys())
            if test not in self.unsteady and self.bare.get(test) != self.traced.get(test)
        ]

    def count(self, outcome: str) -> int:
        """How many tests came out so in the bare runs, where those agree."""
        return sum(
            found.count(outcome)
            for test, found in self.bare.items()
            if test not in self.unsteady and not test.startswith("(")
        )


def _told(outcomes: Outcomes, test: str) -> str:
    return ", ".join(outcomes[test]) if test in outcomes else "not run"


def compare(module: str, bare: Sequence[Outcomes], traced: Outcomes) -> Compared:
    """What the bare runs agree in, beside the traced one."""
    tests = {test for run in bare for test in run}
    unsteady = {
        test: [run.get(test, ("not run",)) for run in bare]
        for test in tests
        if len({run.get(test) for run in bare}) > 1
    }
    return Compared(module, bare[0], traced, unsteady)


def run_module(python: str, module: str, folder: Path, bare_runs: int = BARE_RUNS) -> Compared:
    """Runs a module as often as needed, in `folder`."""
    bare = [_outcomes(python, module, folder / f"bare-{number}", traced=False) for number in range(bare_runs)]
    traced = _outcomes(python, module, folder / "traced", traced=True)
    compared = compare(module, bare, traced)
    compared.recorded = _recorded(folder / "traced" / "t.ctrace")
    return compared


def _outcomes(python: str, module: str, folder: Path, *, traced: bool) -> Outcomes:
    folder.mkdir()
    (folder / "suite").mkdir()
    (folder / "suite" / "test").symlink_to(_test_package(python))
    variables = {"PYTHONPATH": str(folder / "suite"), RECORDER_VARIABLE: os.environ.get(RECORDER_VARIABLE)}
    runner = Runner(folder, unbuffered=False, timeout=TIMEOUT, variables=variables)
    suite = ["-m", "test", "--fail-env-changed", "--junit-xml", str(folder / "results.xml"), module]
    command = [python, "-m", "conctrace", "run", "-o", str(folder / "t.ctrace"), *suite] if traced else [python, *suite]
    try:
        status = f"exit {runner.command(command).status}"
    except ProgramTimeoutError:
        status = "did not end in time"
    found: dict[str, list[str]] = defaultdict(list)
    for test, outcome in _results(folder / "results.xml"):
        found[test].append(outcome)
    found[WHOLE].append(status)
    found[RECORDING].append(_recording(folder / "t.ctrace") if traced else "whole")
    return {test: tuple(sorted(outcomes)) for test, outcomes in found.items()}


def _test_package(python: str) -> str:
    code = "import os, test; print(os.path.dirname(test.__file__))"
    return subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout.rstrip("\n")


def _recorded(path: Path) -> Recorded:
    if not path.exists():
        return NOTHING
    trace = build(read(str(path)))
    main = {process.key for process in trace.processes.values() if process.origin == "main"}
    locks = [thing for thing in trace.objects.values() if thing.key[0] in main and thing.kind.endswith("Lock")]
    return Recorded(len(locks), sum(1 for key in trace.threads if key[0] in main))


def _results(path: Path) -> Iterator[tuple[str, str]]:
    """Test and outcome; nothing when the run did not get so far."""
    if not path.exists():
        return
    for case in ET.parse(path).iter("testcase"):
        children = {child.tag for child in case}
        failed = bool(children & {"failure", "error"})
        yield case.get("name", ""), "failed" if failed else "skipped" if "skipped" in children else "passed"


def _recording(path: Path) -> str:
    """Whether there was one to the end: a recorder that switches itself off would be no test."""
    if not path.exists():
        return "no trace"
    trace = build(read(str(path)))
    main = [process for process in trace.processes.values() if process.origin == "main"]
    if not main or main[0].off_reason:
        return f"switched off: {main[0].off_reason}" if main else "no main process"
    reasons = {process.off_reason for process in trace.processes.values() if process.counters.get("errors")}
    return f"failed in a child: {reasons}" if reasons else "whole"


def main(arguments: list[str]) -> int:
    """Compares, prints a table; 1 when something differs."""
    python, *modules = arguments
    print(
        f"{'passed':>7} {'failed':>7} {'skipped':>7} {'not steady':>11} {'conctrace':>10} {'locks':>6} {'threads':>7}"
    )
    compared = []
    with tempfile.TemporaryDirectory(prefix="conctrace-cpython-") as folder:
        for module in modules or MODULES:
            place = Path(folder, module)
            place.mkdir()
            each = run_module(python, module, place)
            compared.append(each)
            print(_line(each), flush=True)
            shutil.rmtree(place, ignore_errors=True)
    for each in compared:
        for test, outcomes in sorted(each.unsteady.items()):
            runs = Counter(", ".join(outcome) for outcome in outcomes)
            told = ", ".join(f"{count} × {outcome}" for outcome, count in runs.items())
            print(f"not steady: {each.module}: {test}: {told} bare, {_told(each.traced, test)} under conctrace")
    differences = [difference for each in compared for difference in each.differences]
    for difference in differences:
        print(f"DIFFERS: {difference}")
    return int(bool(differences))


def _line(each: Compared) -> str:
    counts = " ".join(f"{each.count(outcome):7}" for outcome in ("passed", "failed", "skipped"))
    differences = len(each.differences)
    return f"{counts}  {len(each.unsteady):9} {f'{differences} differ' if differences else 'the same':>10} {each.recorded.locks:6} {each.recorded.threads:7}  {each.module}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
