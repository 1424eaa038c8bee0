"""Processes that fork: every child is in the trace, with its parent and how it ended, whatever becomes of the others."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.readback import read_trace

if TYPE_CHECKING:
    from pathlib import Path

    from conctrace.model.trace import Process, Trace
    from tests.support.run import Runner

#: What a program says of each process: in one write, so that nothing is lost.
LOG = """
import json, os, signal, sys, threading, time
_log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def log(pid, **facts):
    os.write(_log, json.dumps({"pid": pid, "parent": os.getpid(), **facts}).encode() + b"\\n")

def child(run):
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(99)
    return pid

def reap(pid):
    log(pid, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

MANY = """
for number in range(400):
    reap(child(lambda: os._exit(number % 7)))
"""

AT_ONCE = """
go, come = os.pipe()
pids = []
for number in range(60):
    pids.append(child(lambda: (os.close(come), os.read(go, 1), os._exit(number % 5))))
time.sleep(0.1)
os.close(come)
for pid in pids:
    reap(pid)
"""

GENERATIONS = """
def generation(left):
    if left:
        for _ in range(2):
            reap(child(lambda: generation(left - 1)))
    os._exit(left)

reap(child(lambda: generation(5)))
"""

OUTLIVING = """
def parent():
    for _ in range(12):
        pid = child(lambda: (time.sleep(0.2), child(lambda: os._exit(1)), os._exit(0)))
        log(pid, status=None)
    os._exit(5)

for _ in range(3):
    reap(child(parent))
time.sleep(0.4)
"""

#: Every second child is killed wherever it is by then, perhaps before it has a page; the others once they run.
KILLED = """
runs, say = os.pipe()
for number in range(150):
    pid = child(lambda: (os.write(say, b".") if number % 2 else None, signal.pause()))
    if number % 2:
        os.read(runs, 1)
    else:
        time.sleep(number % 5 / 5000)
    os.kill(pid, signal.SIGKILL)
    log(pid, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), ran=number % 2)
"""

THREADS = """
def fork_some():
    for number in range(30):
        reap(child(lambda: os._exit(number % 3)))

threads = [threading.Thread(target=fork_some) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def run(runner: Runner, source: str, *options: str) -> tuple[list[dict[str, Any]], Trace]:
    """Runs a program under conctrace; what it said, and the trace, of which nothing but outputs may be left."""
    (runner.folder / "forks.py").write_text(LOG + source)
    result = runner.traced("forks.py", options=["-o", "forks.ctrace", *options])
    assert (result.status, result.stdout) == (0, ""), result.stderr
    assert list(runner.sessions.iterdir()) == []
    return said(runner.folder), read_trace(runner.folder / "forks.ctrace")


def said(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def by_pid(trace: Trace) -> dict[int, Process]:
    found = {process.pid: process for process in trace.processes.values()}
    assert len(found) == len(trace.processes)
    return found


def check(facts: list[dict[str, Any]], trace: Trace) -> None:
    """Every process that the program speaks of is there, once, and so is its parent, and how it ended."""
    processes = by_pid(trace)
    for fact in facts:
        process = processes[fact["pid"]]
        assert process.parent is not None, fact
        assert trace.processes[process.parent].pid == fact["parent"]
        status = fact["status"]
        if status is None:
            continue
        if status < 0:
            assert (process.end.how, process.end.signal) == ("killed", -status)
        else:
            assert (process.end.how, process.end.status) == ("exited", status)


PROGRAMS = {"many": MANY, "at once": AT_ONCE, "generations": GENERATIONS, "outliving": OUTLIVING, "threads": THREADS}
#: Children of orphans, of which nobody speaks.
UNTOLD = {"outliving": 36}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_child_is_in_the_trace_with_its_parent_and_its_end(runner: Runner, name: str) -> None:
    facts, trace = run(runner, PROGRAMS[name])
    check(facts, trace)
    assert len(trace.processes) == 1 + len(facts) + UNTOLD.get(name, 0)


def test_the_children_of_one_process_are_in_the_order_of_their_forks(runner: Runner) -> None:
    facts, trace = run(runner, MANY)
    births = [by_pid(trace)[fact["pid"]].start for fact in facts]
    assert births == sorted(births)


def test_a_child_that_is_killed_is_there_at_the_latest_when_it_runs(runner: Runner) -> None:
    facts, trace = run(runner, KILLED)
    processes = by_pid(trace)
    check([fact for fact in facts if fact["ran"] or fact["pid"] in processes], trace)
    assert [fact["status"] for fact in facts] == [-signal.SIGKILL] * 150


#: Its collector dies in the middle.
COLLECTOR_DIES = """
def some():
    for number in range(40):
        reap(child(lambda: os._exit(number % 4)))

some()
time.sleep(0.2)
some()
with open(os.environ["CONCTRACE_SESSION"] + "/control", "rb") as control:
    os.kill(int.from_bytes(control.read()[28:32], "little"), signal.SIGKILL)
some()
"""


def test_children_from_before_and_after_the_end_of_the_collector_are_recovered(runner: Runner) -> None:
    (runner.folder / "forks.py").write_text(LOG + COLLECTOR_DIES)
    assert runner.traced("forks.py", options=["-o", "forks.ctrace"]).status == 0
    assert not (runner.folder / "forks.ctrace").exists()
    result = runner.conctrace("recover", "-o", "forks.ctrace")
    assert result.status == 0, result.stderr
    facts, trace = said(runner.folder), read_trace(runner.folder / "forks.ctrace")
    assert len(facts) == 120
    processes = by_pid(trace)
    assert {fact["pid"] for fact in facts} <= set(processes)
    check(facts[:80], trace)
    assert list(runner.sessions.iterdir()) == []
