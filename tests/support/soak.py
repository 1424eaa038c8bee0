"""What must come out the same however often it is done: how processes start and end, kills at any moment, a lock with waiters.

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
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from conctrace.events import kinds, layout
from conctrace.model.rows import Row
from conctrace.settings import BUDGET_FIRST, RECORDER_VARIABLE
from conctrace.tracefile.reader import read
from tests.support.readback import TRUTH_MODULE, read_trace, record
from tests.support.run import Runner, is_alive, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from conctrace.model.trace import Process, Thread, ThreadKey, Trace, Wait
    from conctrace.tracefile.reader import RawTrace
    from tests.support.readback import Fact, Recorded

#: One run in this runner's folder; the number seeds what is random in it. Raises when something is not as it must be.
Scenario: TypeAlias = "Callable[[Runner, int], None]"


def repeat(scenario: Scenario, count: int, folder: Path, first: int = 0) -> list[str]:
    """Runs a scenario many times, two at once; what went wrong, a line for each run that failed."""

    def run(number: int) -> str:
        place = folder / str(number)
        place.mkdir()
        try:
            scenario(Runner(place, variables={RECORDER_VARIABLE: os.environ.get(RECORDER_VARIABLE)}), number)
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
    if process.origin == "other":  # no Python, so it says nothing
        return
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


def check_spans(trace: Trace, at_least: int, at_most: int) -> int:
    """The spans from the first on are there, each once; how many."""
    numbers = sorted(int(span.args["number"]) for span in trace.spans if span.name == "step")
    assert numbers == list(range(len(numbers)))
    assert at_least <= len(numbers) <= at_most, (at_least, len(numbers), at_most)
    return len(numbers)


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
    recorded = check_spans(trace, before, before + 2001)
    told = {loss.slug for loss in trace.losses}
    assert "incomplete" in told
    # It notices when it needs another segment.
    assert "switched-off" in told or recorded == before + 2001


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


# Kills of threads that use locks ---------------------------------------------------------------------------------

#: Victims that one run kills, one after the other: forks of one program, because a program's start takes longer than a kill.
KILLS = 50
#: How many threads they have.
CREWS = (1, 4, 32)

#: A slot of the page: what one thread has done and is about to do, in 64-bit words, each stored in one go.
SLOT = struct.Struct("<8Q")
#: The first are those of a victim's threads, the others of the children that it forks.
SLOTS = 64
CHILDREN = 32
#: Phases of a thread's state: it is about to take or to let go of a lock, so whether it has the lock is not certain.
CERTAIN, TAKING, RELEASING = range(3)
LOCKS = ("inherited", "shared", "reentrant", "own", "stuck")

_KILLS = """
import ctypes, mmap, os, random, select, struct, sys, threading, time, warnings
import conctrace

warnings.simplefilter("ignore")  # of forks among threads
CERTAIN, TAKING, RELEASING = range(3)
INHERITED, SHARED, REENTRANT, OWN, STUCK = range(5)
CREWS = (1, 4, 32)
page = mmap.mmap(os.open("page", os.O_RDWR), 0)
words = memoryview(page).cast("Q")
libc = ctypes.CDLL(None, use_errno=True)
inherited = threading.Lock()


class Slot:
    def __init__(self, number):
        self.at = 8 * number
        self.held = self.released = self.failed = self.spans = 0
        words[self.at] = os.getpid()
        words[self.at + 1] = threading.get_native_id()

    def show(self, phase=CERTAIN, lock=0):
        words[self.at + 2] = phase | lock << 2 | self.held << 8 | self.released << 32

    def have(self, lock):
        self.held |= 1 << lock
        self.show()

    def gave(self, lock):
        self.held &= ~(1 << lock)
        self.released += 1
        self.show()

    def take(self, number, lock, *how):
        self.show(TAKING, number)
        if lock.acquire(*how):
            self.have(number)
            return True
        self.failed += 1
        words[self.at + 4] = self.failed
        self.show()
        return False

    def give(self, number, lock):
        self.show(RELEASING, number)
        lock.release()
        self.gave(number)

    def span(self, step):
        with conctrace.span("step", number=self.spans):
            step()
        self.spans += 1
        words[self.at + 3] = self.spans


class Worker:
    def __init__(self, number, seed, locks):
        self.slot = Slot(number)
        self.chance = random.Random(seed)
        self.shared, self.reentrant = locks
        own = threading.Lock()
        self.own = own
        self.steps = (self.alone, self.contended, self.nested, self.again, self.timed, self.tried, self.plain)

    def step(self):
        self.slot.span(self.chance.choice(self.steps))

    def alone(self):
        self.slot.show(TAKING, OWN)
        with self.own:
            self.slot.have(OWN)
            self.slot.show(RELEASING, OWN)
        self.slot.gave(OWN)

    def contended(self):
        self.slot.show(TAKING, SHARED)
        with self.shared:
            self.slot.have(SHARED)
            if self.chance.random() < 0.1:
                time.sleep(0.0002)  # lets others find it taken
            self.slot.show(RELEASING, SHARED)
        self.slot.gave(SHARED)

    def nested(self):
        self.slot.take(INHERITED, inherited)
        self.contended()
        self.alone()
        self.slot.give(INHERITED, inherited)

    def again(self):
        self.slot.take(REENTRANT, self.reentrant)
        with self.reentrant:
            self.alone()
        self.slot.give(REENTRANT, self.reentrant)

    def timed(self):
        if self.slot.take(SHARED, self.shared, True, 0.0005):
            self.slot.give(SHARED, self.shared)

    def tried(self):
        if self.slot.take(INHERITED, inherited, False):
            self.slot.give(INHERITED, inherited)

    def plain(self):
        self.slot.take(OWN, self.own)
        self.slot.give(OWN, self.own)


def fork_child(slot, seed):
    pid = os.fork()
    if pid == 0:
        worker = Worker(slot, seed, (threading.Lock(), threading.RLock()))
        for _ in range(5):
            worker.slot.span(worker.chance.choice((worker.alone, worker.plain, worker.contended, worker.again)))
        os._exit(0)
    if seed % 2:
        os.waitpid(pid, 0)


def work(number, seed, locks, stuck, until):
    worker = Worker(number, seed, locks)
    while until is None or worker.slot.spans < until:
        worker.step()
    worker.slot.take(STUCK, stuck)


def victim(first, threads, ends_stuck, timer_ns, seed):
    chance = random.Random(seed)
    sys.setswitchinterval(chance.choice((0.005, 0.0005, 0.00001)))
    if timer_ns:
        event = struct.pack("Pii48x", 0, 9, 0)  # SIGKILL, by signal
        timer = ctypes.c_void_p()
        assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
        assert libc.timer_settime(timer, 0, struct.pack("llll", 0, 0, 0, timer_ns), None) == 0
    shared = threading.Lock()
    reentrant = threading.RLock()
    stuck = threading.Lock()
    worker = Worker(first, seed, (shared, reentrant))
    if ends_stuck:
        worker.slot.take(STUCK, stuck)
    for number in range(1, threads):
        until = chance.randrange(20) if ends_stuck else None
        arguments = (first + number, seed + number, (shared, reentrant), stuck, until)
        threading.Thread(target=work, args=arguments, daemon=True).start()
    forks = 0
    while not ends_stuck or worker.slot.spans < 20:
        worker.step()
        if forks < 3 and chance.random() < 0.1:
            fork_child(first + 32 + forks, chance.randrange(1000))
            forks += 1
    if threads == 1:
        worker.slot.take(STUCK, stuck)
    select.select((), (), ())


def is_stuck(first, threads):
    # All but the first wait for the lock that the first one has; that one is asleep, or waits for it itself.
    for number in range(threads):
        at = 8 * (first + number)
        wants = words[at + 2] & 0xFF == TAKING | STUCK << 2
        if not words[at] or wants != (number > 0 or threads == 1):
            return False
        try:
            with open(f"/proc/{words[at]}/task/{words[at + 1]}/stat", "rb") as file:
                asleep = file.read().rpartition(b")")[2].split()[0] == b"S"
        except OSError:
            return False
        if not asleep or (threads > 1 and number == 0 and words[at + 3] < 20):
            return False
    return True


def kill_one(number, chance):
    first = 64 * number
    threads = CREWS[number % 3]
    ends_stuck = number % 4 == 3
    by_timer = not ends_stuck and chance.random() < 0.7
    # Half of them while it still starts its threads.
    delay_ns = chance.choice((chance.randrange(1, 120_000_000), int(10 ** chance.uniform(5.5, 7.5))))
    seed = chance.randrange(1 << 30)
    pid = os.fork()
    if pid == 0:
        try:
            victim(first, threads, ends_stuck, delay_ns if by_timer else 0, seed)
        finally:
            os._exit(99)
    if ends_stuck:
        seen = 0
        while seen < 5:
            time.sleep(0.001)
            seen = seen + 1 if is_stuck(first, threads) else 0
    elif not by_timer:
        time.sleep(delay_ns / 1e9)
    if not by_timer:
        os.kill(pid, 9)
    assert os.waitpid(pid, 0) == (pid, 9)
    words[8 * (first + 63)] = pid
    words[8 * (first + 63) + 1] = ends_stuck


chance = random.Random(int(sys.argv[1]))
for number in range(int(sys.argv[2])):
    kill_one(number, chance)
"""


class Said(NamedTuple):
    """What a thread's slot says."""

    pid: int
    native_id: int
    state: int
    spans: int
    failed: int

    @property
    def phase(self) -> int:
        return self.state & 3

    @property
    def about(self) -> str:
        """The lock it was about to take or to let go of, or nothing."""
        return LOCKS[self.state >> 2 & 63] if self.phase else ""

    @property
    def held(self) -> set[str]:
        return {name for number, name in enumerate(LOCKS) if self.state >> 8 >> number & 1}

    @property
    def released(self) -> int:
        return self.state >> 32


def kills(runner: Runner, number: int, count: int = KILLS) -> None:
    """Of each victim all that it had done by its own page is there, and it is told right what it held and waited for."""
    page = runner.folder / "page"
    page.write_bytes(bytes(count * SLOTS * SLOT.size))
    runner = replace(runner, timeout=300)
    run = record(runner, _KILLS, str(number), str(count), json=False)
    assert run.result.status == 0, run.result.stderr
    check_records(read(str(runner.folder / "t.ctrace")))
    found = ByThread(run.trace)
    slots = list(SLOT.iter_unpack(page.read_bytes()))
    for first in range(0, len(slots), SLOTS):
        region = slots[first : first + SLOTS]
        pid, ends_stuck, *_ = region[-1]
        check_victim(found, pid, [Said(*slot[:5]) for slot in region[:-1] if slot[0]], bool(ends_stuck))


def check_records(raw: RawTrace) -> None:
    """Every record makes sense by itself: what it is, when it was, and that what it names is there."""
    for image in raw.images.values():
        threads = {number - 1 for number in image.definitions.get(kinds.THREAD.number, {})}
        for row in map(Row._make, image.records):
            assert row.kind in kinds.BY_NUMBER, row
            assert row.outcome in kinds.OUTCOME_BY_NUMBER, row
            assert row.thread in threads or row.kind == kinds.PROCESS_BORN.number, row
            assert row.end <= (image.seen["died_ns"] or raw.ended_ns or 0) or row.kind == kinds.PROCESS_BORN.number, row
            if row.kind in (kinds.LOCK_WAIT.number, kinds.LOCK_HOLD.number):
                assert image.facts["born_ns"] <= row.time, row
                assert row.object in image.definitions[kinds.OBJECT.number], row
        assert not image.off_reason
        assert image.counters["dropped"] == image.counters["errors"] == 0
        # What was cut off: of each thread at most the one record or definition that it was making.
        assert image.seen["holes"] <= 8 * max(1, len(threads)), (image.seen, len(threads))
        assert image.seen["lost_segments"] == 0


class ByThread:
    """What a trace tells of each thread."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.processes = {process.pid: process for process in trace.processes.values()}
        assert len(self.processes) == len(trace.processes)
        self.threads = {(trace.processes[key[0]].pid, thread.native_id): key for key, thread in trace.threads.items()}
        self.held: dict[ThreadKey, list[str]] = defaultdict(list)
        self.ended: Counter[ThreadKey] = Counter()
        self.waits: dict[ThreadKey, list[str]] = defaultdict(list)
        self.spans: dict[ThreadKey, list[int]] = defaultdict(list)
        self.holds: Counter[ThreadKey] = Counter()
        self.failed: Counter[ThreadKey] = Counter()
        for hold in trace.holds:
            if hold.end is None:
                self.held[hold.thread].append(trace.objects[hold.object].name)
            else:
                self.ended[hold.thread] += 1
        for wait in trace.waits:
            if wait.end is None and wait.object is not None and wait.category == "lock":
                self.waits[wait.thread].append(trace.objects[wait.object].name)
        for span in trace.spans:
            if span.name == "step" and span.end is not None:
                self.spans[span.thread].append(int(span.args["number"]))
        for row in trace.totals:
            self.holds[row.thread] += row.holds
            self.failed[row.thread] += row.failed


def check_victim(found: ByThread, pid: int, said: list[Said], ends_stuck: bool) -> None:
    """One killed process, its threads and its children."""
    if not any(slot.pid == pid for slot in said) and pid not in found.processes:
        return  # killed before it had done anything
    victim = found.processes[pid]
    assert (victim.end.how, victim.end.signal) == ("killed", signal.SIGKILL)
    for slot in said:
        process = found.processes.get(slot.pid)
        key = found.threads.get((slot.pid, slot.native_id))
        if process is None or key is None:
            assert (slot.state, slot.spans, slot.failed) == (0, 0, 0) or (slot.phase, slot.released) == (TAKING, 0), (
                slot
            )
            continue
        if slot.pid != pid:
            assert process.parent == victim.key, slot
        check_done(found, key, slot)
        check_doing(found, key, slot)
        if ends_stuck and slot.about == "stuck":
            assert found.waits[key] == ["stuck"], (slot, found.trace.threads[key])


def check_done(found: ByThread, key: ThreadKey, said: Said) -> None:
    """What a thread had done is all there; what it was about to do may be there."""
    spans = sorted(found.spans[key])
    assert spans == list(range(len(spans))), said
    assert said.spans <= len(spans) <= said.spans + 1, (said, len(spans))
    most = said.released + (said.phase == RELEASING)
    assert said.released <= found.holds[key] <= most, (said, found.holds[key])
    assert said.failed <= found.failed[key] <= said.failed + (said.phase == TAKING), (said, found.failed[key])
    if said.released < BUDGET_FIRST:
        assert said.released <= found.ended[key] <= most, (said, found.ended[key])


def check_doing(found: ByThread, key: ThreadKey, said: Said) -> None:
    """It held what it said that it held, and waited for nothing but what it was about to take."""
    held, waits = found.held[key], found.waits[key]
    thread = found.trace.threads[key]
    certain = said.held if said.phase == TAKING else said.held - {said.about}
    assert certain <= set(held) <= said.held | {said.about}, (thread.name, said, held)
    assert len(held) == len(set(held)), (thread.name, said, held)
    assert waits in ([], [said.about] if said.phase == TAKING else []), (thread.name, said, waits)
    assert not set(waits) & (set(held) - said.held), (thread.name, said, waits, held)


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
    "kills of threads that use locks": kills,
}


def scenarios() -> dict[str, Scenario]:
    """All, those of other modules included."""
    from tests.support.ways import WAYS

    return {**SCENARIOS, **{f"ways: {name}": way for name, way in WAYS.items()}}


#: How often the slow tests do each.
COUNTS = {"killed at a random moment": 200, "kills of threads that use locks": 200}
COUNT = 50
#: How many of what is counted one run does.
PER_RUN = {"kills of threads that use locks": KILLS}


def main(arguments: list[str]) -> int:
    """Does scenarios as often as asked, prints a table; 1 when a run failed."""
    failed, known = False, scenarios()
    for name, count in wanted(arguments).items():
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="conctrace-soak-") as folder:
            per_run = PER_RUN.get(name, 1)
            failures = repeat(known[name], -(-count // per_run), Path(folder))
        print(
            f"{max(0, count - per_run * len(failures)):4} of {count:4}  {time.monotonic() - started:6.1f} s  {name}",
            flush=True,
        )
        for failure in failures:
            print(f"    {failure}", flush=True)
        failed = failed or bool(failures)
    return int(failed)


def wanted(arguments: list[str]) -> dict[str, int]:
    """How often to do which: all, or those whose names begin as an argument says."""
    everything = {name: COUNTS.get(name, COUNT) for name in scenarios()}
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
