"""Other programs that a program starts: each is a lane with its command, its life and its end, as the program itself saw it.

The programs log what they did with stamps of their own clock (`tests.support.readback`).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.readback import Recorded, differences, record

if TYPE_CHECKING:
    from conctrace.model.trace import Process
    from tests.support.run import Runner

CALLS = ("Popen", "os.")


def record_well(runner: Runner, program: str) -> Recorded:
    run = record(runner, program)
    assert run.result.status == 0, run.result.stderr
    assert run.trace.facts.complete
    return run


def calls_differ(run: Recorded) -> list[str]:
    """How the calls that Perfetto shows differ from those that the program told."""
    told = [fact for fact in run.truth if fact.what.startswith(CALLS)]
    drawn = [piece for piece in run.perfetto.slices if piece.name.startswith(CALLS)]
    return differences(told, drawn)


def programs(run: Recorded) -> list[Process]:
    """The processes but the first, by start."""
    return sorted((each for each in run.trace.processes.values() if each.origin != "main"), key=lambda each: each.start)


def lanes(run: Recorded) -> list[tuple[str, str, int | None]]:
    return [
        (each.name, each.origin, each.end.status if each.end.signal is None else -each.end.signal)
        for each in programs(run)
    ]


def arrows(run: Recorded) -> Counter[tuple[str, str, str]]:
    return Counter((flow.name, flow.source.name, flow.target.name) for flow in run.perfetto.flows)


POPEN = """
import os, subprocess, sys
from truth import told, log, now

with told("Popen cat"):
    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
with told("Popen.communicate cat", outcome="acquired", bytes_in="100000", bytes_out="100000"):
    out, _ = cat.communicate(b"x" * 100_000)
assert len(out) == 100_000
with told("Popen.wait cat", outcome="acquired"):
    assert cat.wait() == 0

with told("Popen sleep"):
    sleeper = subprocess.Popen(["sleep", "60"])
with told("Popen.wait sleep", outcome="timeout"):
    try:
        sleeper.wait(0.05)
    except subprocess.TimeoutExpired as late:
        assert str(late) == "Command '['sleep', '60']' timed out after 0.05 seconds"
with told("Popen.communicate sleep", outcome="timeout"):
    try:
        sleeper.communicate(timeout=0.05)
    except subprocess.TimeoutExpired:
        pass
with told("signal"):
    sleeper.terminate()
with told("Popen.wait sleep", outcome="acquired"):
    assert sleeper.wait() == -15

before = now()
said = subprocess.check_output("echo one; exit 0", shell=True, text=True)
after = now()
log("Popen sh: echo", before, after)
log("Popen.communicate sh: echo", before, after, bytes_out="4")

before = now()
assert subprocess.call(["sh", "-c", "exit 5"]) == 5
log("Popen sh", before, now())
log("Popen.wait sh", before, now(), outcome="acquired")
"""


def test_popen_and_its_waits_are_where_the_program_says(runner: Runner) -> None:
    run = record_well(runner, POPEN)
    assert calls_differ(run) == []
    assert lanes(run) == [("cat", "other", 0), ("sleep", "other", -15), ("sh: echo", "other", 0), ("sh", "other", 5)]
    assert run.trace.losses == []
    (kill,) = (mark for mark in run.trace.instants if mark.name == "SIGTERM to sleep")
    assert kill.args["pid"] == str(programs(run)[1].pid)
    assert programs(run)[1].end.by == "MainProcess"
    assert arrows(run) == {
        ("start", "Popen cat", "cat"): 1, ("start", "Popen sleep", "sleep"): 1,
        ("start", "Popen sh: echo", "sh: echo"): 1, ("start", "Popen sh", "sh"): 1,
        ("end", "cat", "Popen.communicate cat"): 1, ("end", "cat", "Popen.wait cat"): 1,
        ("end", "sleep", "Popen.wait sleep"): 1,
        ("end", "sh: echo", "Popen.communicate sh: echo"): 1, ("end", "sh", "Popen.wait sh"): 1,
    }  # fmt: skip
    sites = {wait.stack[0].file.rpartition("/")[2] for wait in run.trace.waits}
    assert sites == {"program.py"}


def test_the_json_has_commands_and_the_page_has_not(runner: Runner) -> None:
    run = record_well(
        runner,
        "import subprocess\nsubprocess.run(['sleep', '0.01', ])\nsubprocess.run('echo secret-word', shell=True)\n"
        "try: subprocess.run(['not-there', 'secret-word'])\nexcept OSError: pass\n",
    )
    lives = {piece.name: piece.args["command"] for piece in run.perfetto.of("process") if "ended" in piece.args}
    assert (lives["sleep"], lives["sh: echo"]) == ("sleep 0.01", "echo secret-word")
    exported = runner.conctrace("export", f"{run.name}.ctrace", "-o", "page.html")
    assert exported.status == 0
    page = (runner.folder / "page.html").read_text()
    assert "sh: echo" in page
    assert "secret-word" not in page
    assert "Popen not-there: FileNotFoundError: [Errno 2] No such file or directory: &#39;not-there&#39;" in page


FAILED = """
import os, subprocess
from truth import told

os.mkdir("folder")
open("plain", "w").close()
def starts(*args, **kwargs):
    try:
        subprocess.Popen(*args, **kwargs)
    except Exception as error:
        names, trace = [], error.__traceback__
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_filename.rpartition("/")[2])
            trace = trace.tb_next
        print(type(error).__name__, error, *names)

def broken():
    raise ValueError("mine")

with told("Popen not-there", error="FileNotFoundError: [Errno 2] No such file or directory: 'not-there'"):
    starts(["not-there", "x"])
with told("Popen plain"):
    starts(["./plain"])
with told("Popen true"):
    starts(["true"], cwd="nowhere")
with told("Popen true"):
    starts(["true"], preexec_fn=broken)
with told("Popen echo"):
    starts(["echo", "x" * 3_000_000])
with told("Popen true"):
    starts(["true", "a\\0b"])
"""


def test_a_start_that_fails_is_an_event_with_its_error(runner: Runner) -> None:
    run = record_well(runner, FAILED)
    assert calls_differ(run) == []
    errors = [mark.name.partition(":")[0] for mark in run.trace.instants if mark.category == "process" and mark.args]
    assert errors == [
        "FileNotFoundError", "PermissionError", "FileNotFoundError", "SubprocessError", "OSError", "ValueError",
    ]  # fmt: skip
    printed = run.result.lines
    assert len(printed) == 6
    assert all(" program.py subprocess.py subprocess.py" in line for line in printed)
    assert not any(name in run.result.stdout for name in ("patches", "guard.py", "command.py"))
    assert {each.origin for each in run.trace.processes.values()} <= {"main", "fork"}


OTHERS = """
import os, sys
from truth import told

with told("os.posix_spawn sh"):
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 4"], os.environ)
with told("os.waitpid sh", outcome="acquired"):
    os.waitpid(pid, 0)
with told("os.posix_spawnp not-there"):
    try:
        os.posix_spawnp("not-there", ["x"], os.environ)
    except FileNotFoundError:
        pass
with told("os.system exit", outcome="acquired", status="3", command="exit 3"):
    assert os.system("exit 3") == 3 << 8
with told("os.fork"):
    pid = os.fork()
if pid == 0:
    try:
        os.execvp("not-there", ["not-there"])
    except FileNotFoundError:
        pass
    os.execlp("sleep", "sleep", "0.2")
with told("os.waitpid Fork-1", outcome="acquired"):
    os.waitpid(pid, 0)
with told("os.fork"):
    pid = os.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-c", "import sys; sys.exit(6)"])
with told("os.waitpid python -c", outcome="acquired"):
    os.waitpid(pid, 0)
"""


def test_posix_spawn_system_and_exec(runner: Runner) -> None:
    run = record_well(runner, OTHERS)
    (main,) = (process.pid for process in run.trace.processes.values() if process.origin == "main")
    drawn = [piece for piece in run.perfetto.slices if piece.name.startswith("os.") and piece.end > piece.start]
    # A child leaves the block around a fork, too.
    told = [fact for fact in run.truth if fact.what.startswith("os.") and fact.pid == main]
    assert differences(told, [piece for piece in drawn if piece.pid == main]) == []
    ends = [(each.name, each.end.how, each.end.status) for each in programs(run)]
    assert ends == [
        ("sh", "exited", 4), ("Fork-1", "exited", 0), ("Fork-2", "replaced", None), ("python -c", "exited", 6),
    ]  # fmt: skip
    (sleep,) = (piece for piece in run.perfetto.slices if piece.name == "sleep")
    assert sleep.process.startswith("Fork-1 ")
    assert sleep.end - sleep.start > 150_000_000
    marks = [mark.name for mark in run.trace.instants if mark.thread[0] == programs(run)[1].key]
    assert marks == [
        "os.execv not-there", "FileNotFoundError: [Errno 2] No such file or directory", "os.execv sleep", "exit 0",
    ]  # fmt: skip


CHILDREN = """
import os, subprocess, sys
child = [sys.executable, "-c", "import os; print(os.getpid(), os.getppid())"]
print(subprocess.check_output(child, text=True).strip(), os.getpid())
shell = f"{sys.executable} -c 'import os; print(os.getpid(), os.getppid())'; exit 7"
print(subprocess.run(shell, shell=True, stdout=subprocess.PIPE, text=True).stdout.strip())
subprocess.run([sys.executable, "-S", "-c", "pass"])
subprocess.run([sys.executable, "-c", "pass"], env={})
subprocess.run([sys.executable, "-c", "pass"], preexec_fn=os.getpid)
subprocess.run(["true"], preexec_fn=os.getpid)
"""


def test_a_python_is_its_own_lane_and_one_that_escapes_is_named(runner: Runner) -> None:
    run = record_well(runner, CHILDREN)
    shown = [each for each in programs(run) if not each.hidden]
    python = (
        "python" if not sys.executable.rpartition("/")[2].startswith("python3") else sys.executable.rpartition("/")[2]
    )
    assert [(each.name, each.origin) for each in shown] == [
        ("python -c", "program"), (f"sh: {python}", "other"), ("python -c", "program"),
        (python, "unrecorded"), (python, "unrecorded"), ("python -c", "program"), ("true", "other"),
    ]  # fmt: skip
    first, second = (line.split() for line in run.result.lines)
    main = next(each for each in run.trace.processes.values() if each.origin == "main")
    assert [str(shown[0].pid), str(main.pid), str(main.pid)] == first
    assert shown[0].parent == main.key
    assert [str(shown[2].pid), str(shown[1].pid)] == second
    assert shown[2].parent == shown[1].key
    assert shown[1].end.status == 7
    assert [loss.slug for loss in run.trace.losses] == ["not-seen", "not-seen"]
    assert Counter(flow.name for flow in run.perfetto.flows)["end"] == 6


MANY = """
import subprocess, threading
from truth import log, now
def work(number):
    before = now()
    p = subprocess.Popen(["sh", "-c", f"sleep 0.05; exit {number}"])
    log("start", before, now(), pid_=p.pid)
    assert p.wait() == number
    log("end", before, now(), pid_=p.pid, status=number)
threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_fifty_at_once_from_as_many_threads(runner: Runner) -> None:
    run = record_well(runner, MANY)
    found = {each.pid: each for each in programs(run)}
    assert len(found) == 50
    for fact in run.truth:
        process = found[fact.facts["pid_"]]
        if fact.what == "start":
            assert fact.before <= process.start <= fact.after
        else:
            assert process.end.status == fact.facts["status"]
            assert process.end.time is not None
            assert process.end.time <= fact.after
    waits = [wait for wait in run.trace.waits if wait.category == "program"]
    assert Counter(wait.outcome for wait in waits) == {"acquired": 50}
    assert len({wait.cause.thread for wait in waits if wait.cause}) == 50


LATE = """
import subprocess, time
from truth import told, say
p = subprocess.Popen(["sleep", "0.1"])
time.sleep(1)
with told("poll"):
    assert p.poll() == 0
never = subprocess.Popen(["sleep", "0.1"])
time.sleep(0.5)
left = subprocess.Popen(["sleep", "3"])
left.returncode = never.returncode = 0
"""


def test_an_end_is_known_when_it_happens_whoever_looks_late_or_never(runner: Runner) -> None:
    run = record_well(runner, LATE)
    polled, never, left = programs(run)
    assert polled.end.how == "exited"
    assert polled.end.time is not None
    assert 50_000_000 < polled.end.time - polled.start < 500_000_000
    assert (never.end.how, never.end.status) == ("ended", None)
    assert never.end.time is not None
    assert 50_000_000 < never.end.time - never.start < 400_000_000
    assert left.end.how == "open"
    assert [loss.slug for loss in run.trace.losses] == ["open"]


ASYNC = """
import asyncio, sys
async def main():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    print(await p.communicate(b"asked"))
    q = await asyncio.create_subprocess_shell("exit 6")
    print(await q.wait())
    r = await asyncio.create_subprocess_exec("sleep", "60")
    r.kill()
    print(await r.wait())
asyncio.run(main())
"""


def test_asyncio_starts_them_by_popen(runner: Runner) -> None:
    run = record_well(runner, ASYNC)
    assert run.result.stdout == "(b'asked', None)\n6\n-9\n"
    assert lanes(run) == [("cat", "other", 0), ("sh: exit", "other", 6), ("sleep", "other", -9)]


@pytest.mark.parametrize("code", [
    "import subprocess; subprocess.run(['sleep', '60'], timeout=0.1)",
    "import subprocess; subprocess.run(['false'], check=True)",
    "import os; p = os.popen('echo said; exit 3'); print(p.read(), p.close())",
    "import subprocess, pickle, inspect; print(inspect.signature(subprocess.Popen), inspect.signature(subprocess.Popen.wait))",
    # With no Python that calls them.
    "import atexit, os, subprocess; atexit.register(os.system, 'echo late'); atexit.register(subprocess.Popen(['true']).wait)",
    "import atexit, os; atexit.register(os.execv, '/bin/echo', ['echo', 'last'])",
    "import atexit, os, subprocess; atexit.register(subprocess.Popen(['cat'], stdin=-1).communicate, b'said')",
    "import subprocess; p = subprocess.Popen(['true']); print(p.wait(), str(p)[:40]); print(dir(p))",
])  # fmt: skip
def test_what_a_program_prints_is_as_bare(runner: Runner, code: str) -> None:
    bare = runner.bare("-c", code)
    traced = runner.traced("-c", code, options=["-q", "-o", "t.ctrace"])
    assert (traced.status, traced.stdout) == (bare.status, bare.stdout)
    last = [re.sub(r"after [\d.]+ s", "", result.stderr).splitlines()[-1:] for result in (traced, bare)]
    assert last[0] == last[1]
