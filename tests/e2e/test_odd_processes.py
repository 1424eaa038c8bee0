"""Daemons and other odd processes: unharmed always, recorded as far as that is possible, and what is not is counted.

Each program runs bare and under conctrace; stdout, stderr, status and the file that it writes must be the same. It has then
done ordinary work in its odd state, and told of its descriptors, which must not be others, either.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from conctrace.settings import SESSION_VARIABLE
from tests.support.readback import read_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conctrace.model.trace import Trace
    from tests.support.run import Result, Runner

RUN = f"{shlex.quote(sys.executable)} -m conctrace run -q -o t.ctrace --"

#: `tell` writes to the file "result" by its path, and keeps nothing open.
BEGIN = """
import ctypes, os, resource, signal, subprocess, sys, threading
import conctrace

FOLDER = os.path.dirname(os.path.abspath(__file__))

def tell(*words):
    file = os.open(os.path.join(FOLDER, "result"), os.O_WRONLY | os.O_APPEND)
    os.write(file, " ".join(map(str, words)).encode() + b"\\n")
    os.close(file)

def descriptors():
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))

def work(name, spans=10):
    lock, counted = threading.Lock(), []

    def step():
        for number in range(spans):
            with conctrace.span(name, number=number), lock:
                counted.append(number)

    thread = threading.Thread(target=step, name=f"thread of {name}")
    thread.start()
    thread.join()
    return len(counted)

def child(name, spans=10, status=3):
    pid = os.fork()
    if pid == 0:
        tell("child", work(name, spans))
        os._exit(status)
    tell("child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

libc = ctypes.CDLL(None, use_errno=True)
print("begins", work("begin"), flush=True)
"""


@dataclass(frozen=True)
class Odd:
    """A program that does something odd."""

    program: str
    #: process → how often each of its spans is there, "begin" of the main process aside; None: some
    spans: Mapping[str, Mapping[str, int | None]]
    #: process → how it ended; of the main process "exit 0" where it is not named
    ends: Mapping[str, str] = field(default_factory=dict)
    #: what the trace says that it does not show
    losses: frozenset[str] = frozenset()
    root: bool = False

    def all_ends(self) -> dict[str, str]:
        return {"MainProcess": "exited 0", **self.ends}


_DAEMON = """
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.umask(0)
os.closerange(0, 65536)
null = os.open("/dev/null", os.O_RDWR)
os.dup2(null, 1)
os.dup2(null, 2)
print("to nobody", flush=True)
tell("daemon", os.getpid() == os.getsid(0), descriptors(), work("daemon"))
child("below")
os._exit(5)
"""

#: What the trace does not show of a process that cannot reach the session's folder any more.
OUT_OF_REACH = frozenset({"switched-off", "dropped"})

_FILLS = 5000  # spans, each with a value of its own: more than a first segment holds

ODD = {
    "a daemon": Odd(
        # Double fork, but the main process sees the end of all; where it does not, see the test of daemons that stay.
        "pid = os.fork()\nif pid == 0:" + _DAEMON.replace("\n", "\n    ") + "\nos.waitpid(pid, 0)\n"
        "import time\n"
        "while 'ended' not in open(os.path.join(FOLDER, 'result')).read(): time.sleep(0.01)\n",
        {"Fork-1:1:1": {"daemon": 10}, "Fork-1:1:1:1": {"below": 10}},
        {"Fork-1": "exited 0", "Fork-1:1": "exited 0", "Fork-1:1:1": "exited 5", "Fork-1:1:1:1": "exited 3"},
    ),
    "all descriptors from 3 on closed": Odd(
        "os.closerange(3, 65536)\ntell(descriptors(), work('later'))\nchild('below')\nprint('ends')\n",
        {"MainProcess": {"later": 10}, "Fork-1": {"below": 10}},
        {"Fork-1": "exited 3"},
    ),
    "every descriptor closed": Odd(
        "os.closerange(0, 65536)\ntell(descriptors(), work('later'))\nchild('below')\n",
        {"MainProcess": {"later": 10}, "Fork-1": {"below": 10}},
        {"Fork-1": "exited 3"},
    ),
    "descriptors closed one by one, in a child": Odd(
        """
pid = os.fork()
if pid == 0:
    for number in range(1024):
        try:
            os.close(number)
        except OSError:
            pass
    tell(descriptors(), work('later'))
    child('below')
    os._exit(4)
tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        {"Fork-1": {"later": 10}, "Fork-1:1": {"below": 10}},
        {"Fork-1": "exited 4", "Fork-1:1": "exited 3"},
    ),
    "a working folder that is gone": Odd(
        "os.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\ntell(work('later'))\nchild('below')\n",
        {"MainProcess": {"later": 10}, "Fork-1": {"below": 10}},
        {"Fork-1": "exited 3"},
    ),
    "a session of its own": Odd(
        "child('before')\nif os.fork() == 0:\n    os.setsid()\n    tell(work('later'))\n    os._exit(6)\nos.wait()\n",
        {"Fork-1": {"before": 10}, "Fork-2": {"later": 10}},
        {"Fork-1": "exited 3", "Fork-2": "exited 6"},
    ),
    "an umask that takes everything": Odd(
        f"os.umask(0o777)\ntell(work('later', {_FILLS}))\nchild('below')\n",
        {"MainProcess": {"later": _FILLS}, "Fork-1": {"below": 10}},
        {"Fork-1": "exited 3"},
    ),
    "an environment that was emptied": Odd(
        f"""
os.environ.clear()
tell(work('later', {_FILLS}))
child('below')
tell(subprocess.run([sys.executable, "-c", "import sys; print('unseen', flush=True); sys.exit(7)"]).returncode)
""",
        {"MainProcess": {"later": _FILLS}, "Fork-1": {"below": 10}},
        {"Fork-1": "exited 3"},
        frozenset({"not-seen"}),
    ),
    "a session that is not there": Odd(
        f"""
os.environ["{SESSION_VARIABLE}"] = "/nowhere"
tell(subprocess.run([sys.executable, "-c", "import sys; print('unseen', flush=True); sys.exit(7)"]).returncode)
os.environ["{SESSION_VARIABLE}"] = sys.executable
tell(subprocess.run([sys.executable, "-c", "import sys; print('unseen', flush=True); sys.exit(7)"]).returncode)
""",
        {},
        losses=frozenset({"not-seen"}),
    ),
    "nice, on one core": Odd(
        "os.nice(19)\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "tell(os.nice(0), work('later'))\nchild('below')\n",
        {"MainProcess": {"later": 10}, "Fork-1": {"below": 10}},
        {"Fork-1": "exited 3"},
    ),
    "no descriptor to be had": Odd(
        f"""
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
done = work('later', {_FILLS})
pid = os.fork()
if pid == 0:
    os._exit(work('below') and 3)
ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
tell(done, ended)
""",
        {"MainProcess": {"later": None}},
        losses=frozenset({"dropped"}),
    ),
    "no file may grow": Odd(
        f"""
result = os.open(os.path.join(FOLDER, "told"), os.O_WRONLY | os.O_CREAT)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
done = work('later', {_FILLS})
pid = os.fork()
if pid == 0:
    os._exit(work('below') and 3)
ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
tell(done, ended)
""",
        {"MainProcess": {"later": None}},
        losses=frozenset({"dropped"}),
    ),
    "chroot": Odd(
        f"""
os.chroot(FOLDER)
FOLDER = "/"
tell(work('later', {_FILLS}))
child('below')
os.chdir("/")
print("ends")
""",
        {"MainProcess": {"later": None}},
        losses=OUT_OF_REACH,
        root=True,
    ),
    "dropped privileges": Odd(
        f"""
os.chmod(os.path.join(FOLDER, "result"), 0o666)
tell(work('before', {_FILLS}))
file = os.open(os.path.join(FOLDER, "result"), os.O_WRONLY | os.O_APPEND)
tell = lambda *words: os.write(file, " ".join(map(str, words)).encode() + b"\\n")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
tell(os.getuid(), work('later', {_FILLS}))
child('below')
""",
        {"MainProcess": {"before": _FILLS, "later": None}},
        losses=frozenset({"dropped"}),
        root=True,
    ),
    "no more processes": Odd(
        """
file = os.open(os.path.join(FOLDER, "result"), os.O_WRONLY | os.O_APPEND)
tell = lambda *words: os.write(file, " ".join(map(str, words)).encode() + b"\\n")
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.setuid(65534)
for start in (os.fork, threading.Thread(target=print).start):
    try:
        start()
    except (OSError, RuntimeError) as error:
        tell(type(error).__name__, error)
""",
        {},
        root=True,
    ),
    "a pid namespace": Odd(
        """
if libc.unshare(0x20000000):
    raise OSError(ctypes.get_errno(), "unshare")
pid = os.fork()
if pid == 0:
    tell("child", os.getpid(), os.getppid(), work("inside"))
    child("below")
    os._exit(4)
tell("child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        {"Fork-1": {"inside": 10}, "Fork-1:1": {"below": 10}},
        {"Fork-1": "exited 4", "Fork-1:1": "exited 3"},
        root=True,
    ),
    "a mount namespace without the session": Odd(
        f"""
if libc.unshare(0x00020000):
    raise OSError(ctypes.get_errno(), "unshare")
libc.mount(b"none", b"/", None, 0x44000, None)  # private, recursively
result = os.open(os.path.join(FOLDER, "result"), os.O_WRONLY | os.O_APPEND)
tell = lambda *words: os.write(result, " ".join(map(str, words)).encode() + b"\\n")
if libc.mount(b"none", FOLDER.encode(), b"tmpfs", 0, None):
    raise OSError(ctypes.get_errno(), "mount")
tell(os.listdir(FOLDER), work("later", {_FILLS}))
child("below")
""",
        {"MainProcess": {"later": None}},
        losses=OUT_OF_REACH,
        root=True,
    ),
    "no dump, no new privileges, reaper of orphans": Odd(
        """
libc.prctl(4, 0, 0, 0, 0)
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(36, 1, 0, 0, 0)
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    if os.fork():
        os._exit(1)
    os.close(writing)
    os.read(reading, 1)
    tell("orphan", work("orphan"))
    os._exit(2)
tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.close(writing)
tell(os.waitstatus_to_exitcode(os.wait()[1]))
""",
        {"Fork-1:1": {"orphan": 10}},
        {"Fork-1": "exited 1", "Fork-1:1": "exited 2"},
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_process_is_unharmed_and_recorded_as_far_as_possible(name: str, runner: Runner) -> None:
    odd = ODD[name]
    if odd.root and os.geteuid():
        pytest.skip("only root may do that")
    bare, traced = side_by_side(runner, BEGIN + odd.program, "{python} program.py")
    if "Operation not permitted" in bare.stderr:
        pytest.skip("this machine does not permit it")
    assert bare.status == 0, bare.stderr
    assert traced == bare
    trace = read_trace(runner.folder / "traced" / "t.ctrace")
    check_ends(trace, odd.all_ends())
    check_spans(trace, odd.spans)
    assert {loss.slug for loss in trace.losses} - {"summarised"} == odd.losses, trace.losses


@dataclass(frozen=True)
class Outcome:
    """What a program left behind."""

    status: int
    stdout: str
    stderr: str
    result: str


def side_by_side(runner: Runner, program: str, command: str, **variables: str) -> tuple[Outcome, Outcome]:
    """The program bare and under conctrace, each in a folder of its own."""
    return (
        outcome(replace(runner, folder=runner.folder / "bare", variables=variables), program, command, ""),
        outcome(replace(runner, folder=runner.folder / "traced", variables=variables), program, command, RUN),
    )


def outcome(runner: Runner, program: str, command: str, prefix: str) -> Outcome:
    """Runs a shell's command; {python} in it is the interpreter, with conctrace before it if asked for."""
    # 3.12 warns of a fork soon after a thread, as long as the kernel has not taken that away: now and then.
    runner = replace(runner, variables={"PYTHONWARNINGS": "ignore::DeprecationWarning", **runner.variables})
    runner.folder.mkdir()
    (runner.folder / "program.py").write_text(program)
    (runner.folder / "result").touch()
    python = shlex.quote(sys.executable)
    result: Result = runner.command(["sh", "-c", command.format(python=f"exec {prefix} {python}")])
    told = (runner.folder / "result").read_text()
    return Outcome(result.status, result.stdout, result.stderr.replace(str(runner.folder), "FOLDER"), told)


def check_ends(trace: Trace, expected: Mapping[str, str]) -> None:
    """All processes that record are there, with how they ended."""
    found = {
        process.name: f"{process.end.how} {process.end.status if process.end.status is not None else ''}".rstrip()
        for process in trace.processes.values()
        if process.recorder and not process.hidden
    }
    assert found == expected


def check_spans(trace: Trace, expected: Mapping[str, Mapping[str, int | None]]) -> None:
    """Each process's spans are there, in a thread with its name, and no others."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for span in trace.spans:
        if "number" in span.args:
            assert trace.threads[span.thread].name == f"thread of {span.name}"
            found[trace.processes[span.thread[0]].name][span.name] += 1
    wanted = {name: dict(spans) for name, spans in expected.items()}
    wanted.setdefault("MainProcess", {})["begin"] = 10
    assert {name: spans.keys() for name, spans in found.items()} == {name: s.keys() for name, s in wanted.items()}
    for name, spans in wanted.items():
        for span_name, count in spans.items():
            assert count in (None, found[name][span_name]), (name, span_name, found[name][span_name])


# Around the program --------------------------------------------------------------------------------------------------

_STREAMS = """
print("to nobody")
tell(sys.stdin is None, sys.stdout is None, sys.stderr is None, descriptors(), work("later"))
child("below")
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_started_with_closed_streams_finds_them_closed(closed: str, runner: Runner) -> None:
    bare, traced = side_by_side(runner, BEGIN + _STREAMS, f"{{python}} program.py {closed}")
    assert bare.status == 0, bare.stderr
    assert traced == bare
    trace = read_trace(runner.folder / "traced" / "t.ctrace")
    check_ends(trace, {"MainProcess": "exited 0", "Fork-1": "exited 3"})
    check_spans(trace, {"MainProcess": {"later": 10}, "Fork-1": {"below": 10}})
    assert {loss.slug for loss in trace.losses} == set()


_STAYS = """
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0)
    work("daemon")
    os.write(writing, b"x")
    os.closerange(0, 65536)
    signal.pause()
os.read(reading, 1)
os.wait()
print("ends", flush=True)
"""


def test_a_daemon_that_stays_is_named_and_not_waited_for(runner: Runner) -> None:
    (runner.folder / "program.py").write_text(BEGIN + _STAYS)
    result = runner.traced("program.py", options=["-o", "t.ctrace"])
    assert (result.status, result.lines) == (0, ["begins 10", "ends"])
    trace = read_trace(runner.folder / "t.ctrace")
    check_ends(trace, {"MainProcess": "exited 0", "Fork-1": "exited 0", "Fork-1:1": "open"})
    check_spans(trace, {"Fork-1:1": {"daemon": 10}})
    assert {loss.slug for loss in trace.losses} == {"open"}
    assert "1 process still runs and is marked open" in result.stderr


_REMOVES = f"""
import shutil
folder = os.environ.get("{SESSION_VARIABLE}")
if folder:
    shutil.rmtree(folder)
print(work("later", {_FILLS}), flush=True)
child("below")
sys.exit(4)
"""


def test_a_program_that_removes_the_session_ends_as_without_us(runner: Runner) -> None:
    bare, _ = side_by_side(runner, BEGIN + _REMOVES, "{python} program.py")
    traced = outcome(replace(runner, folder=runner.folder / "removed"), BEGIN + _REMOVES, "{python} program.py", RUN)
    assert (traced.status, traced.stdout, traced.result) == (4, bare.stdout, bare.result)
    assert traced.stderr.count("\n") == 1
    assert traced.stderr.startswith("conctrace: the recording is lost: its folder was removed")
