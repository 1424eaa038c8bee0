"""What runs out: room on the disk, file sizes, descriptors, address space, memory, the collector's time.

The program goes on and ends as without us, what could not be kept is counted and told, and no more of the disk is
used than the caps allow. A store into a mapped page that the disk has no room for would be a SIGBUS, a file that
grows past its limit a SIGXFSZ: both would be seen in the status.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conctrace.events import layout
from tests.support.readback import Recorded, read_trace, record
from tests.support.run import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conctrace.model.trace import Trace
    from tests.support.run import Result

#: What every program here has: spans that are counted, and ordinary work for the time when something has run out.
WORK = f"""
import os, signal, struct, sys, threading, time
import conctrace

def steps(first, end):
    for number in range(first, end):
        with conctrace.span("step", number=number):
            pass

def goes_on(threads=4):
    lock, rlock, condition = threading.Lock(), threading.RLock(), threading.Condition()
    counted = 0

    def work():
        nonlocal counted
        for _ in range(200):
            with lock, rlock:
                rlock.acquire()
                counted += 1
                rlock.release()
        with condition:
            condition.notify_all()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    with condition:
        for worker in workers:
            worker.start()
        if workers:
            print("notified", condition.wait(20))
    for worker in workers:
        worker.join()
    lock.acquire()
    failed = [lock.acquire(False)]
    failed.append(lock.acquire(timeout=0.01))
    lock.release()
    print("counted", counted, failed, flush=True)
    pid = os.fork()
    if pid == 0:
        with lock:
            steps(0, 100)
        os._exit(3)
    print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

SESSION = os.environ.get("CONCTRACE_SESSION")

def counted(offset):
    # A counter of this image, on its live page.
    mine = 0
    for name in os.listdir(SESSION) if SESSION else ():
        if name.endswith(".live"):
            try:
                with open(SESSION + "/" + name, "rb") as file:
                    page = file.read()
            except FileNotFoundError:  # of a child that is gone
                continue
            if struct.unpack_from("<I", page, 32)[0] == os.getpid():
                (mine,) = struct.unpack_from("<Q", page, offset)
    return mine

def dropped():
    return counted({layout.LIVE_COUNTER_OFFSETS["dropped"]})

def until_recorded_again(seconds=10):
    # The recorder tries anew after a while.
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = dropped()
        with conctrace.span("again"):
            pass
        if dropped() == before:
            return
        time.sleep(0.005)

def collector():
    with open(SESSION + "/control", "rb") as control:
        return int.from_bytes(control.read()[{layout.CONTROL_COLLECTOR_OFFSET}:][:4], "little")

def segments():
    # Bytes of segments in the session's folder.
    total = 0
    for name in os.listdir(SESSION):
        if name.endswith(".seg"):
            try:
                total += os.stat(SESSION + "/" + name).st_size
            except FileNotFoundError:
                pass
    return total

def last_words():
    print("last words", file=sys.stderr)
    sys.exit(7)
"""

#: Slots of 64 bytes that one step takes: the span's begin and end, and the definition of its argument's text in two.
STEP_BYTES = 4 * 64


@pytest.fixture
def mounted(runner: Runner) -> Iterator[Mounts]:
    """Puts the sessions on a file system of a size of its own."""
    mounts = Mounts(runner)
    yield mounts
    mounts.undo()


class Mounts:
    """A tmpfs where the runner's sessions go."""

    def __init__(self, runner: Runner) -> None:
        self.place = runner.sessions

    def mount(self, size: str) -> None:
        self.place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")

    def grow(self) -> None:
        """The disk has room again."""
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.place)], check=True)

    def undo(self) -> None:
        if os.path.ismount(self.place):
            subprocess.run(["umount", "-l", str(self.place)], check=True)


def run_both(runner: Runner, body: str, *arguments: str) -> Recorded:
    """Runs a program bare and recorded; it must end the same."""
    program = WORK + body
    (runner.folder / "program.py").write_text(program)
    bare = runner.bare("program.py", *arguments)
    run = record(runner, program, *arguments, json=False)
    check_same(run.result, bare)
    return run


def check_same(traced: Result, bare: Result) -> None:
    assert bare.status == 7, bare.stderr
    assert (traced.status, traced.stdout) == (bare.status, bare.stdout), traced.stderr
    assert traced.stderr.startswith(bare.stderr)


def steps_of(trace: Trace) -> list[int]:
    """The numbers of the steps that the main process did (as what it became by exec) and the trace has."""
    *_, main = (key for key, process in trace.processes.items() if process.parent is None)
    return sorted(int(span.args["number"]) for span in trace.spans if span.name == "step" and span.thread[0] == main)


def lost(trace: Trace, slug: str = "dropped") -> int:
    return sum(loss.count for loss in trace.losses if loss.slug == slug)


def check_told(result: Result, trace: Trace, slug: str, words: str) -> None:
    """The loss is in the trace and in the summary."""
    assert lost(trace, slug), trace.losses
    assert words in " ".join(result.stderr.split()), result.stderr


NOT_STORED = "records not stored: no room"


# The disk --------------------------------------------------------------------------------------------------------


def test_a_disk_without_room_for_any_record(runner: Runner, mounted: Mounts) -> None:
    """The session's own pages fit, the first segment does not."""
    mounted.mount("64k")
    run = run_both(runner, "steps(0, 5000); goes_on(); last_words()")
    check_told(run.result, run.trace, "dropped", NOT_STORED)
    assert steps_of(run.trace) == []
    assert lost(run.trace) >= 5000
    assert [process.end.status for process in run.trace.processes.values()][:1] == [7]
    assert os.listdir(mounted.place) == []


FILLS = """
filler = os.path.join(os.path.dirname(SESSION or "sessions/x"), "filler")
steps(0, 1000)
if SESSION:
    file = os.open(filler, os.O_CREAT | os.O_WRONLY)
    for size in (65536, 4096):
        try:
            while True:
                os.write(file, bytes(size))
        except OSError:
            pass
    os.close(file)
steps(1000, 20_000)
goes_on()
if SESSION:
    os.unlink(filler)
    until_recorded_again()
steps(20_000, 21_000)
last_words()
"""


def test_a_disk_that_fills_up_in_the_middle_and_has_room_again(runner: Runner, mounted: Mounts) -> None:
    """Where the trace itself cannot be written either, the collector gives up, and `recover` has what there was."""
    mounted.mount("8m")
    run = run_both(runner, FILLS)
    result, trace = recovered(run)
    check_told(result, trace, "dropped", NOT_STORED)
    found = steps_of(trace)
    assert found[:1000] == list(range(1000))
    assert os.listdir(mounted.place) == []


def test_a_disk_without_room_for_a_session_is_said_in_one_line(runner: Runner, mounted: Mounts) -> None:
    """Nothing has been started then, so there is nothing that could go on."""
    mounted.mount("4k")
    (runner.folder / "program.py").write_text("print('started')")
    result = runner.traced("program.py", options=["-o", "t.ctrace"])
    assert (result.status, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir(mounted.place) == []


def test_what_lies_on_a_full_disk_can_be_recovered_to_another(runner: Runner, mounted: Mounts) -> None:
    """Two segments are all that fits: no block of the trace does."""
    mounted.mount("208k")
    run = run_both(runner, STOPS)
    assert "conctrace recover" in run.result.stderr
    _, trace = recovered(run)
    assert steps_of(trace)[:500] == list(range(500))


def recovered(run: Recorded) -> tuple[Result, Trace]:
    """The trace, by `recover` where the run could not finish it, and who told of it."""
    if "conctrace recover" not in run.result.stderr:
        return run.result, run.trace
    result = run.runner.conctrace("recover", "-o", "r.ctrace")
    assert result.status == 0, result.stderr
    return result, read_trace(run.runner.folder / "r.ctrace")


STOPS = """
steps(0, 1)
if SESSION:
    os.kill(collector(), signal.SIGSTOP)
steps(1, 20_000)
if SESSION:
    os.kill(collector(), signal.SIGCONT)
    until_recorded_again(1)  # or not at all: the trace needs room, too
goes_on()
last_words()
"""


def test_the_first_500_kb_of_records_fit_into_a_file_system_of_1_mb(runner: Runner, mounted: Mounts) -> None:
    """Nobody reads meanwhile, so nothing is freed: what is stored first is what comes back."""
    mounted.mount("1m")
    run = run_both(runner, STOPS)
    result, trace = recovered(run)
    check_told(result, trace, "dropped", NOT_STORED)
    found = steps_of(trace)
    first = next((at for at, number in enumerate(found) if at != number), len(found))
    assert first * STEP_BYTES >= 500_000, f"only the first {first} steps came back"


def test_a_file_system_of_1_mb_that_is_drained_meanwhile(runner: Runner, mounted: Mounts) -> None:
    mounted.mount("1m")
    run = run_both(runner, "steps(0, 20_000); goes_on(); last_words()")
    result, trace = recovered(run)
    found = steps_of(trace)
    if len(found) < 20_000:
        check_told(result, trace, "dropped", NOT_STORED)
    first = next((at for at, number in enumerate(found) if at != number), len(found))
    assert first * STEP_BYTES >= 500_000, f"only the first {first} steps came back"


# Limits of the process ------------------------------------------------------------------------------------------

#: Any growth of a file past the limit kills.
FILE_SIZE = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
steps(0, 10)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), limits[1]))
steps(10, 10_000)
goes_on()
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
until_recorded_again()
steps(10_000, 10_100)
last_words()
"""


@pytest.mark.parametrize("limit", [0, 4096, 100_000])
def test_a_limit_of_file_sizes_set_by_the_program(runner: Runner, limit: int) -> None:
    """Smaller than a live page, than a segment, than the second segment."""
    run = run_both(runner, FILE_SIZE, str(limit))
    check_told(run.result, run.trace, "dropped", NOT_STORED)
    found = steps_of(run.trace)
    assert found[:10] == list(range(10))
    assert found[-100:] == list(range(10_000, 10_100)), "it records again when there is room again"


#: Sets the limit for what follows it, and becomes that.
BECOMES_LIMITED = """
import os, resource, sys
name, limit, *command = sys.argv[1:]
number = getattr(resource, "RLIMIT_" + name)
resource.setrlimit(number, (int(limit), resource.getrlimit(number)[1]))
os.execv(command[0], command)
"""


@pytest.mark.parametrize("limit", [0, 4096, 100_000])
def test_a_limit_of_file_sizes_from_the_start(runner: Runner, limit: int) -> None:
    (runner.folder / "limited.py").write_text(BECOMES_LIMITED)
    (runner.folder / "program.py").write_text(
        WORK + "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); steps(0, 10_000); goes_on(); last_words()"
    )
    target = ["limited.py", "FSIZE", str(limit), sys.executable, "program.py"]
    bare = runner.bare(*target)
    traced = runner.traced(*target, options=["-o", "t.ctrace"])
    check_same(traced, bare)
    trace = read_trace(runner.folder / "t.ctrace")
    found = steps_of(trace)
    assert found == list(range(len(found)))
    assert len(found) * STEP_BYTES <= limit
    if limit >= layout.PAGE:  # else not even its live page could be made, and nobody saw it from inside
        check_told(traced, trace, "dropped", NOT_STORED)
    if limit >= layout.FIRST_SEGMENT_SIZE:
        assert len(found) > 100


def test_the_whole_command_under_a_limit_of_file_sizes(runner: Runner) -> None:
    """As by ``ulimit -f``: conctrace's own processes are limited too."""
    (runner.folder / "limited.py").write_text(BECOMES_LIMITED)
    (runner.folder / "program.py").write_text(WORK + "steps(0, 20_000); goes_on(); last_words()")
    bare = runner.bare("limited.py", "FSIZE", "100000", sys.executable, "program.py")
    traced = runner.bare(
        "limited.py", "FSIZE", "100000", sys.executable, "-m", "conctrace", "run", "-o", "t.ctrace", "program.py"
    )
    check_same(traced, bare)
    result, trace = recovered(Recorded(traced, runner, "t"))
    check_told(result, trace, "dropped", NOT_STORED)


DESCRIPTORS = """
import resource
steps(0, 10)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError as error:
    print("no descriptor is free:", error)
steps(10, 10_000)
goes_on()
for descriptor in taken:
    os.close(descriptor)
until_recorded_again()
steps(10_000, 10_100)
print("lowest free:", os.dup(0) == taken[0])
last_words()
"""


def test_a_program_that_has_used_up_its_descriptors(runner: Runner) -> None:
    run = run_both(runner, DESCRIPTORS)
    check_told(run.result, run.trace, "dropped", NOT_STORED)
    found = steps_of(run.trace)
    assert found[:10] == list(range(10))
    assert found[-100:] == list(range(10_000, 10_100)), "it records again when descriptors are free again"


#: From 5,000 steps on each segment has its full size, which is more than what is left free.
ADDRESS_SPACE = f"""
import resource
steps(0, {4 * layout.LARGEST_SEGMENT_SIZE // STEP_BYTES})
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + {layout.LARGEST_SEGMENT_SIZE * 3 // 4}, limits[1]))
# Always the same span: a text of its own for each would want memory, and the program has little.
for _ in range(50_000):
    with conctrace.span("same"):
        pass
goes_on(threads=0)
resource.setrlimit(resource.RLIMIT_AS, limits)
until_recorded_again()
goes_on()
steps(200_000, 200_100)
last_words()
"""


def test_no_address_space_for_another_segment(runner: Runner) -> None:
    run = run_both(runner, ADDRESS_SPACE)
    check_told(run.result, run.trace, "dropped", NOT_STORED)
    found = steps_of(run.trace)
    before = 4 * layout.LARGEST_SEGMENT_SIZE // STEP_BYTES
    assert found[:before] == list(range(before))
    assert found[-100:] == list(range(200_000, 200_100)), "it records again when there is room again"


#: A text, a thread, a lock and places that are met for the first time while nothing can be stored, and used again later.
FIRST_MET_IN_NEED = """
import resource
lock = threading.Lock()

def want():
    with conctrace.span("first used in need"), lock:
        pass

def contend(name):
    lock.acquire()
    thread = threading.Thread(target=want, name=name)
    thread.start()
    while open(f"/proc/self/task/{thread.native_id}/stat").read().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.001)
    lock.release()
    thread.join()

limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
steps(0, 5000)
contend("in need")
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
until_recorded_again()
contend("later")
last_words()
"""


def test_what_was_first_met_when_nothing_could_be_stored_is_known_later(runner: Runner) -> None:
    run = run_both(runner, FIRST_MET_IN_NEED)
    trace = run.trace
    (span,) = [span for span in trace.spans if span.category == "span" and trace.threads[span.thread].name == "later"]
    assert span.name == "first used in need"
    assert span.stack
    (wait,) = [wait for wait in trace.waits if trace.threads[wait.thread].name == "later"]
    assert wait.label == "Lock.acquire lock"
    assert wait.stack
    assert wait.holder_site is not None


#: A thread that begins while nothing can be stored, and goes on when something can.
BEGUN_IN_NEED = """
import resource
lock, begun, again = threading.Lock(), threading.Event(), threading.Event()

def work():
    with conctrace.span("in need"), lock:
        begun.set()
    again.wait()
    for _ in range(10):
        with conctrace.span("later"), lock:
            pass

limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
steps(0, 5000)
thread = threading.Thread(target=work, name="worker")
thread.start()
begun.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
until_recorded_again()
again.set()
thread.join()
last_words()
"""


def test_a_thread_that_began_when_nothing_could_be_stored_is_in_the_trace_later(runner: Runner) -> None:
    trace = run_both(runner, BEGUN_IN_NEED).trace
    spans = [span for span in trace.spans if span.name == "later"]
    assert len(spans) == 10
    assert {trace.threads[span.thread].name for span in spans} == {"worker"}
    assert {trace.threads[hold.thread].name for hold in trace.holds} == {"worker"}


# Memory ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory_group(tmp_path: Path) -> Iterator[Path]:
    """A memory cgroup of 64 MiB: the file that a process writes its pid to."""
    name = f"conctrace-{os.getpid()}-{tmp_path.name}"
    for parent, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = parent / name
        with contextlib.suppress(OSError):
            group.mkdir()
            (group / limit).write_text(str(64 << 20))
            break
        with contextlib.suppress(OSError):
            group.rmdir()
    else:
        pytest.skip("no memory cgroup can be made here")
    yield group / "cgroup.procs"
    group.rmdir()


#: Records so many MB, by spans of some 200 bytes or of 3,500.
IN_A_GROUP = f"""
with open(sys.argv[1], "w") as procs:
    procs.write(str(os.getpid()))
steps(0, 10)
if SESSION:
    os.kill(collector(), signal.SIGSTOP)
megabytes, long = int(sys.argv[2]), sys.argv[3] == "long"
if long:
    arguments = {{f"argument_{{number:02}}": "x" * 70 for number in range(40)}}
    for number in range(megabytes * 1_000_000 // 3_500):
        with conctrace.span("step", number=10 + number, **arguments):
            pass
else:
    steps(10, megabytes * 1_000_000 // {STEP_BYTES})
goes_on()
if SESSION:
    os.kill(collector(), signal.SIGCONT)
last_words()
"""


@pytest.mark.parametrize(
    ("megabytes", "length"),
    [
        (30, "long"),
        pytest.param(100, "short", marks=pytest.mark.slow),
        pytest.param(300, "long", marks=pytest.mark.slow),
    ],
)
def test_a_program_in_a_small_memory_group_is_not_killed_by_what_it_records(
    runner: Runner, memory_group: Path, megabytes: int, length: str
) -> None:
    """More is recorded than the group may have in memory, and nobody takes it away meanwhile."""
    slower = Runner(runner.folder, timeout=120)
    run = run_both(slower, IN_A_GROUP, str(memory_group), str(megabytes), length)
    found = steps_of(run.trace)
    assert found == list(range(len(found)))
    assert lost(run.trace) == 0, "the cap is 512 MiB"


# The collector ---------------------------------------------------------------------------------------------------

CAP = 4 * 1024 * 1024
#: ``conctrace`` with smaller caps.
SMALL_CAPS = f"""
import sys
from conctrace import settings
settings.UNDRAINED_PER_PROCESS = {CAP}
settings.UNDRAINED_PER_SESSION = int(sys.argv.pop(1))
from conctrace.cli import command
command()
"""
#: What one process may have beyond the cap: it looks before it makes a segment, not after.
BEYOND = layout.LARGEST_SEGMENT_SIZE


def run_with_small_caps(runner: Runner, body: str, *arguments: str, per_session: int = 1 << 40) -> Recorded:
    """As `run_both`, the recorded one with `CAP`."""
    (runner.folder / "program.py").write_text(WORK + body)
    (runner.folder / "small_caps.py").write_text(SMALL_CAPS)
    bare = runner.bare("program.py", *arguments)
    words = ["small_caps.py", str(per_session), "run", "-o", "t.ctrace", "program.py", *arguments]
    run = Recorded(runner.bare(*words), runner, "t")
    check_same(run.result, bare)
    return run


#: Records for so long, at least much more than the cap.
COLLECTOR_STOPPED = f"""
steps(0, 1000)
end = time.monotonic() + float(sys.argv[1])
if SESSION:
    os.kill(collector(), signal.SIGSTOP)
steps(1000, 3 * {CAP} // {STEP_BYTES})
number = most = 3 * {CAP} // {STEP_BYTES}
while SESSION and time.monotonic() < end:
    steps(number, number + 1000)
    number += 1000
    most = max(most, segments())
if SESSION:
    with open("most", "w") as file:
        file.write(str(segments()))
    os.kill(collector(), getattr(signal, sys.argv[2]))
    if sys.argv[2] == "SIGKILL":
        # Its lock on the control page goes with it, at its very end.
        while os.path.exists(f"/proc/{{collector()}}/exe"):
            time.sleep(0.001)
        while not counted({layout.LIVE_COUNTER_OFFSETS["off_time"]}):
            steps(0, 1)
    else:
        until_recorded_again()
goes_on()
last_words()
"""


def check_stopped(run: Recorded) -> Trace:
    """The cap held, what came first is there, the rest is counted."""
    kept = int((run.runner.folder / "most").read_text())
    assert CAP <= kept <= CAP + BEYOND, f"{kept} bytes of segments"
    result, trace = recovered(run)
    check_told(result, trace, "dropped", NOT_STORED)
    found = steps_of(trace)
    fits = CAP // STEP_BYTES - 1000
    assert sorted(set(found))[:fits] == list(range(fits))
    return trace


def test_a_collector_that_is_stopped_and_goes_on(runner: Runner) -> None:
    run = run_with_small_caps(runner, COLLECTOR_STOPPED, "0", "SIGCONT")
    trace = check_stopped(run)
    assert any(span.name == "again" for span in trace.spans)
    assert [process.end.status for process in trace.processes.values()] == [7, 3]


def test_a_collector_that_is_stopped_and_killed(runner: Runner) -> None:
    run = run_with_small_caps(runner, COLLECTOR_STOPPED, "0", "SIGKILL")
    trace = check_stopped(run)
    assert lost(trace, "switched-off") in {1, 2}, "the program, and its child where that was born before"
    assert lost(trace, "incomplete") == 1


@pytest.mark.slow
@pytest.mark.soak
def test_a_collector_that_is_stopped_for_a_minute_and_killed(runner: Runner) -> None:
    run = run_with_small_caps(Runner(runner.folder, timeout=120), COLLECTOR_STOPPED, "60", "SIGKILL")
    assert lost(check_stopped(run), "switched-off") in {1, 2}


#: The writer, the collector's child, is stopped: nothing is safe, so nothing is freed, and the collector counts it.
MANY_PROCESSES = f"""
CHILDREN = 4
if SESSION:
    children = []
    while not children:  # the collector starts it while the program starts
        with open(f"/proc/{{collector()}}/task/{{collector()}}/children") as file:
            children = file.read().split()
    (writer,) = map(int, children)
    os.kill(writer, signal.SIGSTOP)
for child in range(CHILDREN):
    if os.fork() == 0:
        for first in range(0, 2 * {CAP} // {STEP_BYTES}, 1000):
            steps(first, first + 1000)
            time.sleep(0.005)  # the collector has to see it
        os._exit(child)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(CHILDREN)))
if SESSION:
    with open("most", "w") as file:
        file.write(str(segments()))
    os.kill(writer, signal.SIGCONT)
    until_recorded_again()
goes_on()
last_words()
"""


def test_many_processes_together_keep_to_the_cap_of_the_session(runner: Runner) -> None:
    run = run_with_small_caps(runner, MANY_PROCESSES, per_session=CAP)
    kept = int((runner.folder / "most").read_text())
    # Each child may be in the middle of one segment, and make another before the collector has counted it.
    assert CAP <= kept <= CAP + 4 * 2 * BEYOND, f"{kept} bytes of segments"
    assert NOT_STORED in " ".join(run.result.stderr.split())
