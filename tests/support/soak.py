"""What must come out the same however often it is done: how processes end, kills at any moment, a lock with waiters.

A scenario is one run with its checks, which raise. Tests do each a few times; the slow tests and ``scripts/soak`` do
each many times, by `repeat`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from conctrace.events import layout
from tests.support.readback import TRUTH_MODULE, read_trace, record
from tests.support.run import Runner, is_alive, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from conctrace.model.trace import Process, Thread, Trace, Wait
    from tests.support.readback import Fact, Recorded

#: One run in this runner's folder; the number seeds what is random in it. Raises when something is not as it must be.
Scenario: TypeAlias = "Callable[[Runner, int], None]"


def repeat(scenario: Scenario, count: int, folder: Path, first: int = 0) -> list[str]:
    """Runs a scenario many times, two at once; what went wrong, a line for each run that failed."""

    def run(number: int) -> str:
        place = folder / str(number)
        place.mkdir()
        try:
            scenario(Runner(place), number)
        except Exception as error:  # noqa: BLE001  # the other runs are to be counted all the same
            lines = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            return f"run {number} in {place} ({' '.join(lines[-3:])}): {type(error).__name__}: {error}"
        shutil.rmtree(place)
        return ""

    with ThreadPoolExecutor(2) as pool:
        return [failure for failure in pool.map(run, range(first, first + count)) if failure]


# How processes end -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """What the trace must say of one process."""

    name: str
    #: None: nobody's child, the main process
    parent: str | None
    how: str
    status: int | None = None
    signal: int | None = None


@dataclass(frozen=True)
class Ending:
    """A program whose processes end in one way. Each says "alive" when it begins and "last" before it ends."""

    program: str
    processes: tuple[Ended, ...]
    #: How the run itself ends.
    status: int = 0

    def __call__(self, runner: Runner, _number: int) -> None:
        run = record(runner, self.program, json=False)
        assert run.result.status == self.status, run.result.stderr
        check_processes(run, self.processes)
        opens = [ended.name for ended in self.processes if ended.how == "open"]
        assert [loss.slug for loss in run.trace.losses] == ["open"] * bool(opens)
        if opens:
            check_open(run, opens)


def check_processes(run: Recorded, expected: tuple[Ended, ...]) -> None:
    """Every process is there once, with its name, parent, start, end and status."""
    shown = [process for process in run.trace.processes.values() if not process.hidden]
    by_name = {process.name: process for process in shown}
    names = sorted(process.name for process in shown)
    assert names == sorted(ended.name for ended in expected), names
    for ended in expected:
        process = by_name[ended.name]
        parent = run.trace.processes[process.parent].name if process.parent is not None else None
        found = (ended.name, parent, process.end.how, process.end.status, process.end.signal)
        told = (ended.name, ended.parent, ended.how, ended.status, ended.signal)
        assert found == told, (found, told)
        check_times(run, process)


def check_times(run: Recorded, process: Process) -> None:
    """It began before its first word, and ended after its last and before anybody knew of it."""
    said = {fact.what: fact for fact in run.truth if fact.thread == process.name}
    assert process.pid == said["alive"].pid
    assert process.start <= said["alive"].before
    if process.parent is not None:
        assert run.trace.processes[process.parent].start < process.start
    if process.end.time is None:
        return
    if "last" in said:
        assert said["last"].after <= process.end.time
    if "reaped" in said:
        assert process.end.time <= said["reaped"].before


def check_open(run: Recorded, names: list[str]) -> None:
    """What still ran is named on stderr, and `run` did not wait for it."""
    for name in names:
        (process,) = [process for process in run.trace.processes.values() if process.name == name]
        assert f"{name} ({process.pid})" in run.result.stderr or f"{name} {process.pid}" in run.result.stderr
    assert 0.5 <= run.result.seconds < 4


_ORPHAN = """
import os, select, time
from truth import say
say("alive", "MainProcess")
handle = os.pidfd_open(os.getpid())
if os.fork() == 0:
    say("alive", "Fork-1")
    for descriptor in range(3):
        os.dup2(handle, descriptor)  # whoever reads the output need not wait
    select.select([handle], [], [])
    time.sleep(DELAY)
    say("last", "Fork-1")
else:
    say("last", "MainProcess")
"""

_CHILD = """
import os, signal
from truth import say
say("alive", "MainProcess")
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    say("alive", "Fork-1")
    say("last", "Fork-1")
    os.write(writing, b"x")
    CHILD
os.read(reading, 1)
PARENT
os.waitpid(pid, 0)
say("reaped", "Fork-1")
say("last", "MainProcess")
"""

_MAIN_KILLED = """
import os, select
from truth import say
say("alive", "MainProcess")
handle = os.pidfd_open(os.getpid())
if os.fork() == 0:
    say("alive", "Fork-1")
    select.select([handle], [], [])
    say("last", "Fork-1")
    os._exit(4)
say("last", "MainProcess")
os.kill(os.getpid(), 9)
"""

_PROCESS = """
import multiprocessing, sys
from truth import say

def work():
    say("alive", "worker")
    say("last", "worker")
    sys.exit(3)

if __name__ == "__main__":
    say("alive", "MainProcess")
    multiprocessing.set_start_method("METHOD")
    worker = multiprocessing.Process(target=work, name="worker")
    worker.start()
    worker.join()
    say("reaped", "worker")
    say("last", "MainProcess")
"""

_FORKS = """
import os
from truth import say

def level(name, depth):
    say("alive", name)
    if depth < 3:
        below = name + ":1" if depth else "Fork-1"
        pid = os.fork()
        if pid == 0:
            level(below, depth + 1)
        os.waitpid(pid, 0)
        say("reaped", below)
    say("last", name)
    if depth:
        os._exit(depth)

level("MainProcess", 0)
"""

_PROCESSES = """
import multiprocessing, sys
from truth import say

NAMES = ["MainProcess", "one", "two", "three"]

def level(depth):
    say("alive", NAMES[depth])
    if depth < 3:
        process = multiprocessing.Process(target=level, args=(depth + 1,), name=NAMES[depth + 1])
        process.start()
        process.join()
        say("reaped", NAMES[depth + 1])
    say("last", NAMES[depth])
    sys.exit(depth)

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    level(0)
"""

_MAIN = Ended("MainProcess", None, "exited", 0)


def _worker(method: str) -> Ending:
    return Ending(_PROCESS.replace("METHOD", method), (_MAIN, Ended("worker", "MainProcess", "exited", 3)))


def _child(child: str, parent: str, end: Ended) -> Ending:
    return Ending(_CHILD.replace("CHILD", child).replace("PARENT", parent), (_MAIN, end))


#: Every way of ending that a trace must tell right, each time.
ENDINGS: dict[str, Ending] = {
    "orphan that ends 0.1 s later": Ending(
        _ORPHAN.replace("DELAY", "0.1"), (_MAIN, Ended("Fork-1", "MainProcess", "ended"))
    ),
    "orphan that ends 5 s later": Ending(
        _ORPHAN.replace("DELAY", "5"), (_MAIN, Ended("Fork-1", "MainProcess", "open"))
    ),
    "os._exit in a child": _child("os._exit(5)", "", Ended("Fork-1", "MainProcess", "exited", 5)),
    "child killed": _child("signal.pause()", "os.kill(pid, 9)", Ended("Fork-1", "MainProcess", "killed", signal=9)),
    "main process killed": Ending(
        _MAIN_KILLED,
        (Ended("MainProcess", None, "killed", signal=9), Ended("Fork-1", "MainProcess", "exited", 4)),
        status=-9,
    ),
    "spawn": _worker("spawn"),
    "forkserver": _worker("forkserver"),
    "three levels of fork": Ending(
        _FORKS,
        (
            _MAIN,
            Ended("Fork-1", "MainProcess", "exited", 1),
            Ended("Fork-1:1", "Fork-1", "exited", 2),
            Ended("Fork-1:1:1", "Fork-1:1", "exited", 3),
        ),
    ),
    "three levels of Process": Ending(
        _PROCESSES,
        (
            _MAIN,
            Ended("one", "MainProcess", "exited", 1),
            Ended("two", "one", "exited", 2),
            Ended("three", "two", "exited", 3),
        ),
    ),
}

# Kills -----------------------------------------------------------------------------------------------------------

SPANS = 10_000

#: Counts its spans in a page, and has the kernel kill it a moment after a random one of them: in the middle of anything.
_KILLED = """
import ctypes, mmap, os, random, struct, sys
import conctrace

page = mmap.mmap(os.open("page", os.O_RDWR), mmap.PAGESIZE)
chance = random.Random(int(sys.argv[1]))
at, delay = chance.randrange(10_000), chance.randrange(1, 300_000)
libc = ctypes.CDLL(None, use_errno=True)
event = struct.pack("Pii48x", 0, 9, 0)  # SIGKILL, by signal
timer = ctypes.c_void_p()
assert libc.timer_create(1, event, ctypes.byref(timer)) == 0

for number in range(10_000):
    if number == at:
        assert libc.timer_settime(timer, 0, struct.pack("llll", 0, 0, 0, delay), None) == 0
    with conctrace.span("step", number=number):
        pass
    page[:8] = struct.pack("<Q", number + 1)  # in one go; pack_into would clear it first
os.kill(os.getpid(), 9)
"""


def killed_at_random(runner: Runner, number: int) -> None:
    """Every span that was over before the process was killed is in the trace."""
    page = runner.folder / "page"
    page.write_bytes(bytes(4096))
    run = record(runner, _KILLED, str(number), json=False)
    assert run.result.status == -signal.SIGKILL
    (counted,) = struct.unpack_from("<Q", page.read_bytes())
    check_spans(run.trace, counted, counted + 1)
    (process,) = run.trace.processes.values()
    assert (process.end.how, process.end.signal) == ("killed", signal.SIGKILL)


def check_spans(trace: Trace, at_least: int, at_most: int) -> None:
    """The spans from the first on are there, each once."""
    numbers = sorted(int(span.args["number"]) for span in trace.spans if span.name == "step")
    assert numbers == list(range(len(numbers)))
    assert at_least <= len(numbers) <= at_most, (at_least, len(numbers), at_most)


#: Tells the test when some of its spans are done, and goes on when it is told to.
_COLLECTOR_KILLED = """
import os, sys, threading
import conctrace

lock = threading.Lock()

def step(number):
    with conctrace.span("step", number=number), lock:
        pass

before = int(sys.argv[1])
for number in range(before):
    step(number)
with open("told", "w") as told:
    told.write("done\\n")
with open("go") as go:
    go.read()
for number in range(before, before + 2000):
    step(number)
thread = threading.Thread(target=step, args=(before + 2000,))
thread.start()
thread.join()
if os.fork() == 0:
    print("child", flush=True)
    os._exit(3)
print("parent", os.waitstatus_to_exitcode(os.wait()[1]))
sys.exit(7)
"""


def collector_killed(runner: Runner, number: int) -> None:
    """The program ends as without us, and `recover` makes a trace of what was recorded until then."""
    before = random.Random(number).randrange(1, 5000)
    (runner.folder / "program.py").write_text(_COLLECTOR_KILLED)
    (runner.folder / "truth.py").write_text(TRUTH_MODULE)
    for name in ("told", "go"):
        os.mkfifo(runner.folder / name)
    command = [sys.executable, "-m", "conctrace", "run", "-o", "t.ctrace", "program.py", str(before)]
    with runner.started(command) as program:
        assert (runner.folder / "told").read_text() == "done\n"
        kill_collector(runner)
        (runner.folder / "go").write_text("")
        out, err = program.communicate(timeout=runner.timeout)
        assert (program.status(), out.splitlines()) == (7, ["child", "parent 3"]), err
    assert "recover" in err
    recovered = runner.conctrace("recover", "-o", "r.ctrace")
    assert recovered.status == 0, recovered.stderr
    assert os.listdir(runner.sessions) == []
    trace = read_trace(runner.folder / "r.ctrace")
    check_spans(trace, before, before + 2001)
    assert "switched-off" in {loss.slug for loss in trace.losses}


def kill_collector(runner: Runner) -> None:
    """Kills the collector of the one session that there is."""
    (session,) = os.listdir(runner.sessions)
    pid = collector_pid(runner.sessions / session)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


def collector_pid(session: Path) -> int:
    """Who collects, as it stands on the session's control page."""
    control = (session / layout.CONTROL_FILE).read_bytes()
    (pid,) = struct.unpack_from("<I", control, layout.CONTROL_COLLECTOR_OFFSET)
    return int(pid)


# A lock that is wanted -------------------------------------------------------------------------------------------

_CONTENDED = """
import threading, time
from truth import log, now, until_blocked

lock = threading.Lock()
taken = threading.Event()

def hold():
    with lock:
        taken.set()
        time.sleep(0.05)
        for thread in waiters:
            until_blocked(thread)

def want():
    taken.wait()
    before = now()
    with lock:
        after = now()
    log("Lock.acquire lock", before, after)

waiters = [threading.Thread(target=want, name=f"waiter-{number}") for number in (1, 2, 3)]
for thread in waiters:
    thread.start()
holder = threading.Thread(target=hold, name="holder")
holder.start()
for thread in (*waiters, holder):
    thread.join()
"""

#: A wait ends at most so long before the program's own stamp.
CLOSE_NS = 2_000_000


def contended(runner: Runner, _number: int) -> None:
    """Each wait names lock, holder and both places, and has an arrow from the release that ended it."""
    check_contended(record(runner, _CONTENDED, json=False))


def contended_and_close(runner: Runner, _number: int) -> None:
    """The same, and each wait ends where the program says that it got the lock."""
    run = record(runner, _CONTENDED, json=False)
    for wait, fact in check_contended(run):
        assert wait.end is not None
        assert fact.after - wait.end <= CLOSE_NS, f"{fact.thread}: {fact.after - wait.end} ns"


def check_contended(run: Recorded) -> list[tuple[Wait, Fact]]:
    """The waits of the three, in the order in which they got the lock, with what the program says of them."""
    assert run.result.status == 0, run.result.stderr
    waits = [wait for wait in run.trace.waits if wait.category == "lock"]
    told = {fact.thread: fact for fact in run.truth}
    ordered = sorted(((wait, told.pop(thread_of(run, wait).name)) for wait in waits), key=lambda pair: pair[1].after)
    assert not told
    releaser = "holder"
    for wait, fact in ordered:
        check_wait(run, wait, fact, releaser)
        releaser = fact.thread
    check_release_arrows(run, [wait for wait, _ in ordered])
    return ordered


def thread_of(run: Recorded, wait: Wait) -> Thread:
    """Who waited."""
    return run.trace.threads[wait.thread]


def check_wait(run: Recorded, wait: Wait, fact: Fact, releaser: str) -> None:
    """One wait: what for, within the program's stamps, who held the lock, who let it through, from where."""
    trace = run.trace
    lines = (run.runner.folder / "program.py").read_text().splitlines()
    assert wait.object is not None
    thing = trace.objects[wait.object]
    assert (wait.label, wait.outcome, thing.name) == (fact.what, "acquired", "lock")
    assert thing.site is not None
    assert thing.site.line == lines.index("lock = threading.Lock()") + 1
    assert wait.end is not None
    assert fact.before <= wait.start < wait.end <= fact.after
    assert (wait.stack[0].function, lines[wait.stack[0].line - 1].strip()) == ("want", "with lock:")
    assert wait.holder is not None
    assert wait.holder_site is not None
    assert (trace.threads[wait.holder].name, wait.holder_site.function) == ("holder", "hold")
    assert wait.cause is not None
    assert (wait.cause.kind, trace.threads[wait.cause.thread].name) == ("release", releaser)
    assert wait.cause.site is not None
    assert wait.cause.site.function == ("hold" if releaser == "holder" else "want")
    assert wait.start < wait.cause.time <= wait.end


def check_release_arrows(run: Recorded, waits: list[Wait]) -> None:
    """An arrow from each release to the end of the wait that it ended."""
    arrows = [arrow for arrow in run.trace.arrows if arrow.name == "release"]
    found = sorted((arrow.source, arrow.source_time, arrow.target, arrow.target_time) for arrow in arrows)
    causes = [(wait.cause, wait) for wait in waits]
    assert found == sorted((cause.thread, cause.time, wait.thread, wait.end) for cause, wait in causes if cause)


#: All that ``scripts/soak`` knows, by name.
SCENARIOS: dict[str, Scenario] = {
    **ENDINGS,
    "killed at a random moment": killed_at_random,
    "collector killed": collector_killed,
    "contended lock": contended_and_close,
}

#: How often the slow tests do each.
COUNTS = {"killed at a random moment": 200}
COUNT = 50


def main(arguments: list[str]) -> int:
    """Does scenarios as often as asked, prints a table; 1 when a run failed."""
    failed = False
    for name, count in wanted(arguments).items():
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="conctrace-soak-") as folder:
            failures = repeat(SCENARIOS[name], count, Path(folder))
        print(f"{count - len(failures):4} of {count:4}  {time.monotonic() - started:6.1f} s  {name}", flush=True)
        for failure in failures:
            print(f"    {failure}", flush=True)
        failed = failed or bool(failures)
    return int(failed)


def wanted(arguments: list[str]) -> dict[str, int]:
    """How often to do which: all, or those whose names begin as an argument says."""
    everything = {name: COUNTS.get(name, COUNT) for name in SCENARIOS}
    if not arguments:
        return everything
    if len(arguments) == 1 and arguments[0].isdecimal():
        return dict.fromkeys(everything, int(arguments[0]))
    chosen = {}
    for argument in arguments:
        beginning, _, count = argument.partition("=")
        found = [name for name in everything if name.startswith(beginning)]
        if not found or not (count or "1").isdecimal():
            sys.exit(f"{argument}: no such scenario; there are: {', '.join(everything)}")
        chosen.update({name: int(count) if count else everything[name] for name in found})
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
