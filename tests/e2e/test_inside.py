"""`conctrace.trace`: a program that traces a part of itself gets its trace, and is otherwise as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.readback import TRUTH_MODULE, Perfetto, differences, read_trace, read_truth
from tests.support.run import Result, is_alive

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.run import Runner

#: Looks at the attributes of all that is patched; `said` tells the test something.
PREFIX = """
import atexit, importlib, json, multiprocessing.process, os, signal, sys, threading, time
import conctrace
from conctrace.patches import PATCHES

def attributes():
    found = {"environ": dict(os.environ), "meta_path": list(sys.meta_path), "mask": signal.pthread_sigmask(0, [])}
    found["descriptors"] = sorted(os.listdir("/proc/self/fd"))
    for name in dict.fromkeys(name for name, _ in PATCHES):
        module = importlib.import_module(name)
        owners = [module, *(thing for thing in vars(module).values() if isinstance(thing, type))]
        for owner in owners:
            # Some of them are made anew in a child, with or without us.
            known = {"__builtins__", "_active_limbo_lock", "_shutdown_locks", "_shutdown_locks_lock"}
            found.update({(owner, key): value for key, value in vars(owner).items() if key not in known})
    return found

def changes(before):
    after = attributes()
    whole = {"environ", "meta_path", "mask", "descriptors"}
    return [str(key) for key in before.keys() | after.keys()
            if key not in after or key not in before
            or (before[key] != after[key] if key in whole else before[key] is not after[key])]

def children():
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None

attributes()
"""


def run(runner: Runner, program: str, then_wait_for: str = "") -> Result:
    """Runs it. What is left of a test is killed at its end: the collector too, if its files are not waited for."""
    (runner.folder / "program.py").write_text(PREFIX + program)
    (runner.folder / "truth.py").write_text(TRUTH_MODULE)
    with runner.started([sys.executable, "program.py"]) as started:
        out, err = started.communicate()
        status = started.status()
        if then_wait_for:
            wait_for_file(runner.folder / then_wait_for)
            wait_for_quiet(runner)
        return Result(status, out, err, 0)


def strays(runner: Runner) -> list[str]:
    """Processes that have to do with the test and are none of its own: its collectors, above all."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(runner.folder) in command and int(name) != os.getpid() and is_alive(int(name)):
            found.append(command)
    return found


def wait_for_file(path: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} is not there"
        time.sleep(0.02)


def wait_for_quiet(runner: Runner, seconds: float = 20.0) -> None:
    """No process is left, and no session."""
    deadline = time.monotonic() + seconds
    while strays(runner) or os.listdir(runner.sessions):
        assert time.monotonic() < deadline, (strays(runner), os.listdir(runner.sessions))
        time.sleep(0.02)


# One block ------------------------------------------------------------------------------------------------------------


def test_ten_times_in_a_row_there_is_a_trace_and_nothing_else(runner: Runner) -> None:
    result = run(runner, """
before = attributes()
early = threading.Lock()
late = []
for number in range(10):
    with conctrace.trace(f"{number}.ctrace") as t:
        late.append(threading.Lock())
        if number == 0:
            held = threading.Lock()
        with conctrace.span("block", number=number):
            for lock in (early, *late):
                with lock:
                    pass
        thread = threading.Thread(target=held.acquire if number % 2 == 0 else held.release)
        thread.start()
        thread.join()
    print(json.dumps([changes(before), children(), t.complete, t.written, t.summary["process_count"]]))
""")  # fmt: skip
    assert result.stderr == ""
    lines = [json.loads(line) for line in result.lines]
    assert lines == [[[], None, True, [str(runner.folder / f"{number}.ctrace")], 1] for number in range(10)]
    assert strays(runner) == []
    assert os.listdir(runner.sessions) == []
    for number in range(10):
        trace = read_trace(runner.folder / f"{number}.ctrace")
        assert [span.args["number"] for span in trace.spans if span.name == "block"] == [str(number)]
        assert len(trace.threads) == 2
        (process,) = trace.processes.values()
        assert (process.end.how, trace.losses) == ("left", [])
        # Locks made in earlier blocks are known by numbers of this one, the one among them that is held from block to block,
        # too; the one made outside is not seen.
        got_held = number % 2 == 0
        assert [thing.kind for thing in trace.objects.values()].count("Lock") == number + 1 + got_held


def test_without_files_they_are_called_after_the_program(runner: Runner) -> None:
    run(runner, "with conctrace.trace(): pass")
    names = {path.name for path in runner.folder.iterdir() if path.name.startswith("program.")}
    assert names == {"program.py", "program.ctrace", "program.trace.json", "program.report.html"}


def test_an_exception_goes_through_and_the_trace_is_there(runner: Runner) -> None:
    result = run(runner, """
before = attributes()
try:
    with conctrace.trace("t.ctrace") as t:
        raise ValueError("as it was")
except ValueError as error:
    print(error, error.__context__, changes(before), t.complete)
""")  # fmt: skip
    assert result.stdout == "as it was None [] True\n"
    read_trace(runner.folder / "t.ctrace")


def test_as_a_decorator_it_traces_each_call(runner: Runner) -> None:
    result = run(runner, """
@conctrace.trace("t.ctrace", name="job")
def job(value):
    "Does it."
    with conctrace.span("inside"):
        return value

print(job(1), job(2), job.__doc__)
""")  # fmt: skip
    assert result.stdout == "1 2 Does it.\n"
    assert [span.name for span in read_trace(runner.folder / "t.ctrace").spans] == ["inside"]


def test_in_a_thread_others_are_seen_too(runner: Runner) -> None:
    result = run(runner, """
before = attributes()
go, done = threading.Event(), threading.Event()

def other():
    go.wait()
    with conctrace.span("of another"):
        pass
    done.set()

def trace():
    with conctrace.trace("t.ctrace", "t.json"):
        go.set()
        done.wait()

threads = [threading.Thread(target=target, name=target.__name__) for target in (other, trace)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(changes(before))
""")  # fmt: skip
    assert (result.stdout, result.stderr) == ("[]\n", "")
    trace = read_trace(runner.folder / "t.ctrace")
    (span,) = trace.spans
    assert trace.threads[span.thread].name == "other"
    assert not trace.threads[span.thread].from_start
    assert Perfetto(runner.folder / "t.json").of("span")[0].thread == "other"


def test_the_programs_children_and_signals_are_its_own(runner: Runner) -> None:
    result = run(runner, """
news = []
signal.signal(signal.SIGCHLD, lambda *_: news.append(children()))
for _ in range(3):
    with conctrace.trace("t.ctrace"):
        pass
print(news)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with conctrace.trace("t.ctrace") as t:
    pass
print(t.complete, signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
""")  # fmt: skip
    assert result.lines == ["[]", "True True"]


def test_a_child_forked_inside_leaves_the_block_without_ending_it(runner: Runner) -> None:
    result = run(runner, """
before = attributes()
began = time.monotonic()
with conctrace.trace("t.ctrace") as t:
    pid = os.fork()
    if pid == 0:
        with conctrace.span("of the child"):
            pass
    else:
        while not os.path.exists("out"):
            time.sleep(0.01)
        with conctrace.span("of the parent"):
            pass
if pid == 0:
    open("out", "w").close()
    with conctrace.span("not seen"):
        pass
    os._exit(3 if t.complete or conctrace.recorder.current or len(changes(before)) > 1 else 4)
print(t.complete, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), changes(before))
""")  # fmt: skip
    assert (result.stdout, result.stderr) == ("True 4 []\n", "")
    trace = read_trace(runner.folder / "t.ctrace")
    assert [span.name for span in trace.spans if span.category == "span"] == ["of the child", "of the parent"]
    assert len(trace.processes) == 2


def test_children_started_inside_are_recorded(runner: Runner) -> None:
    result = run(runner, """
import subprocess
code = "import conctrace\\nwith conctrace.span('of a child'): pass"
with conctrace.trace("t.ctrace"):
    subprocess.run([sys.executable, "-c", code], check=True)
subprocess.run([sys.executable, "-c", code], check=True)
""")  # fmt: skip
    assert result.stderr == ""
    trace = read_trace(runner.folder / "t.ctrace")
    assert [span.name for span in trace.spans if span.category == "span"] == ["of a child"]
    assert len(trace.processes) == 2


@pytest.mark.parametrize("how", ["SIGKILL", "os._exit", "exec"])
def test_a_program_that_ends_inside_leaves_its_trace(runner: Runner, how: str) -> None:
    ending = {
        "SIGKILL": "os.kill(os.getpid(), 9)", "os._exit": "os._exit(5)",
        "exec": "os.execv(sys.executable, [sys.executable, '-c', 'import sys; sys.exit(5)'])",
    }  # fmt: skip
    result = run(runner, f"""
with conctrace.trace("t.ctrace", "t.json"):
    with conctrace.span("last"):
        {ending[how]}
""", then_wait_for="t.json")  # fmt: skip
    assert result.status == (-signal.SIGKILL if how == "SIGKILL" else 5)
    (span,) = [span for span in read_trace(runner.folder / "t.ctrace").spans if span.category == "span"]
    assert (span.name, span.end) == ("last", None)
    assert [piece.name for piece in Perfetto(runner.folder / "t.json").of("span")] == ["last"]


def test_ctrl_c_while_the_files_are_written_ends_the_wait(runner: Runner) -> None:
    result = run(runner, """
from conctrace import inside
read = inside._Session._read_until
def interrupted(self, deadline):
    signal.raise_signal(signal.SIGINT)
    return read(self, deadline)
inside._Session._read_until = interrupted
before = attributes()
try:
    with conctrace.trace("t.ctrace"):
        pass
except KeyboardInterrupt:
    print("interrupted", changes(before))
""", then_wait_for="t.ctrace")  # fmt: skip
    assert result.stdout == "interrupted []\n"
    assert result.stderr == "conctrace: not waiting any longer; t.ctrace will be there soon\n"


def test_a_slow_collector_is_not_waited_for_for_ever(runner: Runner) -> None:
    result = run(runner, """
from conctrace import inside
inside.PATIENCE_SECONDS = 0.2
with conctrace.trace("t.ctrace") as t:
    with open("/proc/locks"): pass
    pid = int.from_bytes(open(os.environ["CONCTRACE_SESSION"] + "/control", "rb").read()[28:32], "little")
    os.kill(pid, signal.SIGSTOP)
print(t.complete)
os.kill(pid, signal.SIGCONT)
""", then_wait_for="t.ctrace")  # fmt: skip
    assert result.stdout == "False\n"
    assert result.stderr == "conctrace: t.ctrace not written within 0 s; will be there later\n"


# What cannot be --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ('"x.foo"', "x.foo: unknown extension"),
        ('"missing/x.json"', "cannot write missing/x.json: there is no folder missing"),
        ('"program.json"', "program.json is there already, and was not written by conctrace"),
        ('"x.json", "x.json"', "x.json: already named as x.json"),
        ('detail="much"', "detail='much': choose from budget, all, waits"),
        ('include=["all"]', "include='all': choose from values, args, env, host"),
    ],
)
def test_what_cannot_be_is_said_at_entry_and_nothing_is_started(runner: Runner, call: str, says: str) -> None:
    (runner.folder / "program.json").write_text("{}")
    result = run(runner, f"""
from conctrace.errors import ConctraceError
before = attributes()
try:
    with conctrace.trace({call}):
        print("entered")
except ConctraceError as error:
    print(error)
    print(changes(before))
""")  # fmt: skip
    assert result.lines[0].startswith(says)
    assert result.lines[1:] == ["[]"]
    assert not runner.sessions.exists()


@pytest.mark.parametrize("why", ["no Python", "no room for sessions"])
def test_where_tracing_cannot_start_the_program_runs_untraced(runner: Runner, why: str) -> None:
    spoil = {
        "no Python": "sys.executable = '/bin/false'",
        "no room for sessions": "os.environ['CONCTRACE_DIR'] = '/dev/null/x'",
    }
    result = run(runner, f"""
{spoil[why]}
before = attributes()
with conctrace.trace("t.ctrace") as t:
    with conctrace.span("unseen"):
        print("ran")
print(t.complete, changes(before))
""")  # fmt: skip
    assert result.lines == ["ran", "False []"]
    assert result.stderr.startswith("conctrace: ")
    assert result.stderr.endswith("; the program goes on untraced\n")
    assert not runner.sessions.exists() or os.listdir(runner.sessions) == []


def test_a_module_beside_the_program_is_not_taken_for_the_standard_librarys(runner: Runner) -> None:
    (runner.folder / "queue.py").write_text("raise SystemExit('the wrong one')")
    (runner.folder / "json").mkdir()
    program = "import sys\nwhere = sys.path.pop(0)\nimport conctrace, json\nsys.path.insert(0, where)\n"
    (runner.folder / "program.py").write_text(
        program + "with conctrace.trace('t.ctrace') as t: pass\nprint(t.complete)"
    )
    assert runner.bare("program.py").stdout == "True\n"


def test_a_program_that_closes_all_descriptors_gets_its_trace_when_it_ends(runner: Runner) -> None:
    result = run(runner, """
with conctrace.trace("t.ctrace") as t:
    os.closerange(3, 1000)
    mine = os.open("mine", os.O_RDWR | os.O_CREAT), os.open("mine too", os.O_RDWR | os.O_CREAT)
print(t.complete, [os.fstat(descriptor).st_size for descriptor in mine])
""", then_wait_for="t.ctrace")  # fmt: skip
    assert result.stdout == "False [0, 0]\n"
    assert "closed conctrace's descriptors" in result.stderr


# Ranges ----------------------------------------------------------------------------------------------------------------

RANGE = """
with conctrace.span("around"):
    with conctrace.trace("part.ctrace", "part.json", "part.html", name="part") as t:
        with conctrace.span("inside"):
            pass
        print(t.complete, t.written)
with conctrace.span("after"):
    pass
"""


def check_range(runner: Runner) -> None:
    whole = read_trace(runner.folder / "t.ctrace")
    assert [span.name for span in whole.spans] == ["around", "trace part", "inside", "after"]
    part = read_trace(runner.folder / "part.ctrace")
    assert [(span.name, span.clipped, span.end is None) for span in part.spans] == [
        ("around", True, True), ("trace part", False, False), ("inside", False, False),
    ]  # fmt: skip
    assert (part.facts.part, part.losses[0].slug) == ("part", "part")
    drawn = {piece.name: piece.args.get("clipped") for piece in Perfetto(runner.folder / "part.json").of("span")}
    assert drawn == {"around": "began before", "trace part": None, "inside": None}
    assert (runner.folder / "part.html").exists()


def test_under_conctrace_run_a_block_is_a_range_with_files_of_its_own(runner: Runner) -> None:
    (runner.folder / "program.py").write_text(PREFIX + RANGE)
    result = runner.traced("program.py", options=["-o", "t.ctrace"])
    assert result.stdout == "False []\n"
    assert "part.json" in result.stderr
    check_range(runner)


def test_inside_of_another_block_it_is_one_too(runner: Runner) -> None:
    indented = RANGE.replace("\n", "\n    ")
    result = run(runner, f"with conctrace.trace('t.ctrace') as outer:\n    {indented}\nprint(len(outer.written))")
    assert (result.stdout, result.stderr) == ("False []\n4\n", "")
    check_range(runner)


def test_a_range_that_cannot_be_written_is_said(runner: Runner) -> None:
    result = run(runner, """
import shutil
os.mkdir("gone")
with conctrace.trace("t.ctrace") as outer:
    with conctrace.trace("gone/part.json"):
        pass
    shutil.rmtree("gone")
print(outer.complete)
""")  # fmt: skip
    assert result.stdout == "False\n"
    assert "cannot write" in result.stderr
    assert "part.json" in result.stderr


def test_overlapping_blocks_of_two_threads(runner: Runner) -> None:
    result = run(runner, """
before = attributes()
first, second = threading.Event(), threading.Event()

def one():
    with conctrace.trace("one.ctrace"):
        first.set()
        second.wait()

def two():
    first.wait()
    with conctrace.trace("two.ctrace"):
        second.set()
        threads[0].join()

threads = [threading.Thread(target=target) for target in (one, two)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(changes(before))
""")  # fmt: skip
    assert (result.stdout, result.stderr) == ("[]\n", "")
    assert read_trace(runner.folder / "two.ctrace").facts.part == "program"
    assert read_trace(runner.folder / "one.ctrace").ranges[0].end is None


# In pytest ------------------------------------------------------------------------------------------------------------


def test_in_pytest(runner: Runner) -> None:
    (runner.folder / "test_it.py").write_text("""
import conctrace, threading

def test_one(tmp_path):
    with conctrace.trace(tmp_path / "t.json", "one.ctrace") as t:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    assert t.complete

@conctrace.trace("two.ctrace")
def test_two(capfd):
    print("seen")
    assert capfd.readouterr().out == "seen\\n"
""")
    result = runner.bare("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_it.py")
    assert result.status == 0, result.stdout
    assert "2 passed" in result.stdout
    for name in ("one", "two"):
        read_trace(runner.folder / f"{name}.ctrace")
    assert strays(runner) == []


# Everything, against the program's own log -------------------------------------------------------------------------------

FORMS = """
import asyncio, multiprocessing
from truth import told, log, now

@conctrace.traced
def function(): time.sleep(0.001)

class Box:
    @conctrace.traced
    def method(self): function_of("Box.method")
    @conctrace.traced
    @classmethod
    def outer(cls): pass
    @staticmethod
    @conctrace.traced(name="named")
    def inner(): pass

def function_of(_):
    with told("function"): function()

@conctrace.traced
def numbers():
    yield 1
    yield 2

@conctrace.traced
async def fetch(seconds):
    await asyncio.sleep(seconds)

@conctrace.traced
def fails(): raise ValueError

def work():
    for _ in range(5):
        with told("span"), conctrace.span("span", n=1):
            with told("inner"), conctrace.span("inner"): pass
        with told("Box.method"): Box().method()
        with told("Box.outer"): Box.outer()
        with told("named"): Box().inner()
        try:
            with told("fails", outcome="error"): fails()
        except ValueError: pass
        with told("span"):
            try:
                with conctrace.span("span"): raise KeyError
            except KeyError: pass
        steps = numbers()
        before = now()
        for step in range(3):
            with told("numbers"): next(steps, None)
        log("life of numbers", before, now())
    async def main():
        before = now()
        await asyncio.gather(fetch(0.002), fetch(0.001))
        log("life of fetch", before, now())
        log("life of fetch", before, now())
    asyncio.run(main())

def process(kill):
    threads = [threading.Thread(target=work, name=f"worker-{n}") for n in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    if kill:
        with told("open"):
            pass
        before = now()
        log("open", before, now() + 10**12) if False else None
        with conctrace.span("last words"):
            steps = numbers()
            next(steps)
            os.kill(os.getpid(), 9)

def everything(kill):
    other = multiprocessing.get_context("fork").Process(target=process, args=(kill,))
    other.start()
    process(False)
    other.join()
    if kill:
        process(True)
"""


@pytest.mark.parametrize("way", ["trace", "run"])
@pytest.mark.parametrize("kill", [False, True], ids=["to the end", "killed"])
def test_spans_equal_the_programs_own_log(runner: Runner, way: str, kill: bool) -> None:
    call = f"everything({kill})"
    block = f"with conctrace.trace('t.ctrace', 't.json'): {call}" if way == "trace" else call
    if way == "trace":
        result = run(runner, FORMS + block, then_wait_for="t.json")
    else:
        (runner.folder / "program.py").write_text(PREFIX + FORMS + block)
        (runner.folder / "truth.py").write_text(TRUTH_MODULE)
        result = runner.traced("program.py", options=["-o", "t.ctrace", "-o", "t.json"])
    assert result.status == (-signal.SIGKILL if kill else 0), result.stderr
    read_trace(runner.folder / "t.ctrace")
    truth = [fact for fact in read_truth(runner) if fact.what != "open"]
    perfetto = Perfetto(runner.folder / "t.json")
    last_words = [piece for piece in perfetto.of("span") if piece.name == "last words"]
    assert len(last_words) == (2 if kill else 0)
    # What is open at the end, and the steps of coroutines, which the loop runs when it likes.
    unlogged = {(piece.pid, piece.start) for piece in last_words}
    drawn = [
        piece for piece in perfetto.of("span")
        if piece.name not in {"fetch", "last words"}
        and not any(pid == piece.pid and piece.start > start for pid, start in unlogged)
    ]  # fmt: skip
    told = [fact for fact in truth if not fact.what.startswith("life of ")]
    assert len(told) >= 2 * 4 * 5 * 11
    assert differences(told, drawn) == []
    tracks = perfetto.query(
        "select s.name, s.ts, s.dur, p.pid from slice s join process_track t on s.track_id = t.id "
        "join process p using (upid) where s.category = 'span'"
    )
    lives = sorted((int(str(row["pid"])), str(row["name"])) for row in tracks)
    expected = sorted(
        (fact.pid, fact.what.removeprefix("life of ")) for fact in truth if fact.what.startswith("life of ")
    )
    expected += [(piece.pid, "numbers") for piece in last_words]
    assert lives == sorted(expected)
    steps = [piece for piece in perfetto.of("span") if piece.name == "fetch"]
    assert len(steps) == 2 * sum(name == "fetch" for _, name in lives)
