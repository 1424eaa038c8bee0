"""What Perfetto shows of a program is what the program itself says that it did.

Each program logs its own forks, starts, joins and acquires with stamps of its own clock taken around them
(`tests.support.readback`). Then Perfetto's engine is asked by SQL: the same processes, threads, slices and arrows, each slice
within its stamps, none missing and none besides.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.readback import Drawn, Fact, Recorded, differences, record
from tests.support.run import Runner

if TYPE_CHECKING:
    from collections.abc import Iterable

#: An arrow without its moments: name, thread and slice that it leaves, thread and slice that it reaches.
Arrow = tuple[str, str, str, str, str]

#: How the slices of calls begin.
CALLS = ("Lock.", "RLock.", "Thread.", "Process.", "os.")


def record_well(runner: Runner, program: str, *arguments: str) -> Recorded:
    """Records a program that must end well, and checks what must be true of any trace."""
    run = record(runner, program, *arguments)
    assert run.result.status == 0, run.result.stderr
    assert run.trace.losses == []
    assert run.trace.facts.complete
    return run


def calls(facts: Iterable[Fact]) -> list[Fact]:
    """The facts that are slices: those named like a call."""
    return [fact for fact in facts if fact.what.startswith(CALLS)]


def drawn_calls(run: Recorded) -> list[Drawn]:
    """The slices that are calls: what waited, and what started something."""
    return [piece for piece in run.perfetto.slices if piece.name.startswith(CALLS)]


def arrows(run: Recorded, *kinds: str) -> Counter[Arrow]:
    """The arrows of some kinds that Perfetto shows; a thread of a child is called by its process, too."""
    processes = {process.pid: process.name for process in run.trace.processes.values()}
    main = next(process.pid for process in run.trace.processes.values() if process.origin == "main")

    def thread(piece: Drawn) -> str:
        return piece.thread if piece.pid == main else f"{piece.thread} of {processes[piece.pid]}"

    return Counter(
        (flow.name, thread(flow.source), flow.source.name, thread(flow.target), flow.target.name)
        for flow in run.perfetto.flows
        if flow.name in kinds
    )


def fact(run: Recorded, what: str, thread: str | None = None) -> Fact:
    """The one fact that is called so."""
    found = [fact for fact in run.truth if fact.what == what and thread in (None, fact.thread)]
    assert len(found) == 1, found
    return found[0]


# Locks -----------------------------------------------------------------------------------------------------------

LOCKS = """
import os
import signal
import threading
from truth import log, now, told, until_blocked

lock = threading.Lock()
rlock = threading.RLock()
condition = threading.Condition(rlock)

def with_statement():
    before = now()
    with lock:
        log("Lock.acquire lock", before, now(), outcome="acquired", holder="MainThread")
        released = now()
    log("hold Lock lock", before, now())

def acquire_call():
    before = now()
    assert lock.acquire() is True
    log("Lock.acquire lock", before, now(), outcome="acquired", holder="MainThread")
    lock.release()
    log("hold Lock lock", before, now())

def acquire_in_time():
    before = now()
    assert lock.acquire(timeout=60) is True
    log("Lock.acquire lock", before, now(), outcome="acquired", holder="MainThread")
    lock.release()
    log("hold Lock lock", before, now())

def acquire_too_late():
    with told("Lock.acquire lock", outcome="timeout", holder="MainThread"):
        assert lock.acquire(True, 0.01) is False

def acquire_without_waiting():
    with told("Lock.acquire lock", outcome="timeout", holder="MainThread"):
        assert lock.acquire(False) is False

def nested():
    before = now()
    with rlock:
        log("RLock.acquire rlock", before, now(), outcome="acquired", holder="MainThread")
        with rlock:
            assert rlock.acquire() is True
            rlock.release()
    log("hold RLock rlock", before, now())

def too_late_for_rlock():
    with told("RLock.acquire rlock", outcome="timeout", holder="MainThread"):
        assert rlock.acquire(timeout=0.01) is False

def contend(thing, function, ends_first=False):
    '''This thread holds the thing until the other waits for it, or has given up.'''
    title = "hold Lock lock" if thing is lock else "hold RLock rlock"
    thread = threading.Thread(target=function, name=function.__name__)
    with told(title):
        thing.acquire()
        with told(f"Thread.start {thread.name}"):
            thread.start()
        if ends_first:
            with told(f"Thread.join {thread.name}", outcome="acquired"):
                thread.join()
        else:
            until_blocked(thread)
        with told("release", to=thread.name):
            thing.release()
    if not ends_first:
        with told(f"Thread.join {thread.name}", outcome="acquired"):
            thread.join()

contend(lock, with_statement)
contend(lock, acquire_call)
contend(lock, acquire_in_time)
contend(lock, acquire_too_late, ends_first=True)
contend(lock, acquire_without_waiting, ends_first=True)
contend(rlock, nested)
contend(rlock, too_late_for_rlock, ends_first=True)

with told("hold Lock lock"):
    assert lock.acquire(False) is True
    lock.release()

# Released by another thread than the one that got it.
def wants():
    before = now()
    with lock:
        log("Lock.acquire lock", before, now(), outcome="acquired", holder="MainThread")
    log("hold Lock lock", before, now())

def releases():
    until_blocked(wanting)
    with told("release", to="wants"):
        lock.release()

wanting = threading.Thread(target=wants, name="wants")
releasing = threading.Thread(target=releases, name="releases")
with told("hold Lock lock"):
    lock.acquire()
    for thread in (wanting, releasing):
        with told(f"Thread.start {thread.name}"):
            thread.start()
    for thread in (releasing, wanting):
        with told(f"Thread.join {thread.name}", outcome="acquired"):
            thread.join()

# A condition over a lock of the user's: it is let go while the thread waits, and got back when it was notified.
def consumes():
    before = now()
    with condition:
        ready.set()
        condition.wait()
        log("RLock.acquire rlock", before, now(), outcome="acquired", holder="MainThread")
        log("first hold of consumes", before, now())
        again = now()
    log("hold RLock rlock", before, now())
    log("hold RLock rlock", before, now())

ready = threading.Event()
consumer = threading.Thread(target=consumes, name="consumes")
with told("Thread.start consumes"):
    consumer.start()
ready.wait()
until_blocked(consumer)
with told("hold RLock rlock"):
    with condition:
        condition.notify()
        until_blocked(consumer)
        before = now()
    log("release", before, now(), to="consumes")
with told("Thread.join consumes", outcome="acquired"):
    consumer.join()

# A signal's handler ends an acquire, and a join, by an exception.
class Interruption(Exception):
    pass

def interrupt(number, frame):
    raise Interruption

def keeps():
    with told("hold Lock lock"):
        with lock:
            kept.set()
            for _ in range(2):
                until_blocked(threading.main_thread())
                interrupted.clear()
                os.kill(os.getpid(), signal.SIGUSR1)
                interrupted.wait()
    released.set()

signal.signal(signal.SIGUSR1, interrupt)
kept, interrupted, released = threading.Event(), threading.Event(), threading.Event()
keeper = threading.Thread(target=keeps, name="keeps")
with told("Thread.start keeps"):
    keeper.start()
kept.wait()
before = now()
try:
    lock.acquire()
except Interruption:
    log("Lock.acquire lock", before, now(), outcome="error", holder="keeps")
    interrupted.set()
before = now()
try:
    keeper.join()
except Interruption:
    log("Thread.join keeps", before, now(), outcome="error")
    interrupted.set()
with told("Thread.join keeps", outcome="acquired"):
    keeper.join()
released.wait()  # until 3.12 Thread takes a thread for ended when a join of it was interrupted
with told("hold Lock lock"):
    with lock:
        pass
"""


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The run of a program that uses locks in every way."""
    return record_well(Runner(tmp_path_factory.mktemp("locks")), LOCKS)


def test_each_acquire_that_found_the_lock_taken_is_one_wait(locks: Recorded) -> None:
    def told_holder(piece: Drawn) -> Drawn:
        """With the holder's thread alone, as the program tells it."""
        if "holder" not in piece.args:
            return piece
        return replace(piece, args={**piece.args, "holder": piece.args["holder"].partition(" in ")[0]})

    assert differences(calls(locks.truth), map(told_holder, drawn_calls(locks))) == []


def test_each_wait_names_its_lock_its_place_and_where_the_holder_had_got_it(locks: Recorded) -> None:
    program = f"{locks.runner.folder}/program.py"
    lines = (locks.runner.folder / "program.py").read_text().splitlines()
    made = {"lock": lines.index("lock = threading.Lock()") + 1, "rlock": lines.index("rlock = threading.RLock()") + 1}
    for wait in locks.perfetto.of("wait"):
        if ".acquire" in wait.name:
            thing = wait.name.partition(" ")[2]
            assert wait.args["object"] == thing
            assert wait.args["object_site"] == f"{program}:{made[thing]} <module>"
            if wait.thread == "consumes":  # it waits inside the standard library's Condition.wait
                assert wait.args["site"].endswith("wait")
                continue
            assert wait.args["site"].startswith(f"{program}:")
            assert wait.args["site"].endswith(" <module>" if wait.thread == "MainThread" else f" {wait.thread}")
            assert wait.args["holder_site"].rpartition(" ")[2] in {"contend", "keeps", "<module>"}


def test_an_acquire_that_does_not_wait_takes_no_time(locks: Recorded) -> None:
    missed = [piece for piece in locks.perfetto.of("wait") if piece.thread == "acquire_without_waiting"]
    assert [(piece.name, piece.end - piece.start) for piece in missed] == [("Lock.acquire lock", 0)]


def test_each_hold_is_drawn_once_from_got_to_let_go(locks: Recorded) -> None:
    told = [fact for fact in locks.truth if fact.what.startswith("hold ")]
    drawn = [
        replace(piece, name=f"hold {piece.thread}", thread=piece.name.removeprefix("held by "))
        for piece in locks.perfetto.holds
    ]
    assert differences(told, drawn) == []


def test_an_arrow_leads_from_each_release_to_the_wait_that_it_ended(locks: Recorded) -> None:
    gave_up = {wait.thread for wait in locks.perfetto.of("wait") if wait.args["outcome"] == "timeout"}
    told = {
        fact.facts["to"]: fact for fact in locks.truth if fact.what == "release" and fact.facts["to"] not in gave_up
    }
    flows = {}
    for flow in locks.perfetto.flows:
        if flow.name == "release":
            assert ".acquire " in flow.target.name
            flows[flow.target.thread] = flow.source
    causes = {
        locks.trace.threads[wait.thread].name: wait.cause
        for wait in locks.trace.waits
        if wait.cause is not None and wait.cause.kind == "release"
    }
    assert len(told) == 6
    assert told.keys() == flows.keys() == causes.keys()
    for waiter, fact in told.items():
        assert flows[waiter].thread == fact.thread
        assert fact.before <= causes[waiter].time <= fact.after


def test_a_hold_released_by_another_thread_says_so(locks: Recorded) -> None:
    (hold,) = [piece for piece in locks.perfetto.holds if "released_by" in piece.args]
    assert (hold.name, hold.args["released_by"]) == ("held by MainThread", "releases")
    assert hold.args["release_site"].endswith(" releases")


# Threads ---------------------------------------------------------------------------------------------------------

THREADS = """
import _thread
import threading
from truth import log, now, told

go = threading.Event()

def alive(name=None, **facts):
    log("alive", now(), now(), name, **facts)

def target():
    alive()
    go.wait()
    alive()

def fails():
    alive()
    go.wait()
    alive()
    raise ValueError("no such luck")

class Worker(threading.Thread):
    def run(self):
        alive()
        go.wait()
        alive()

def bare():
    alive("bare")
    bare_may_end.wait()
    alive("bare")
    bare_ends.set()

def start(thread):
    with told(f"Thread.start {thread.name}"):
        thread.start()

threads = [
    threading.Thread(target=target, name="by target"),
    Worker(name="by subclass"),
    threading.Thread(target=target, name="daemon", daemon=True),
    threading.Thread(target=fails, name="fails"),
    threading.Timer(0, target),
]
threads[-1].name = "timer"
threading.excepthook = lambda failure: None
for thread in threads:
    start(thread)
for _ in range(2):
    with told("Thread.join by target", outcome="timeout"):
        threads[0].join(0.005)
with told("Thread.join by target", outcome="timeout"):
    threads[0].join(timeout=0)
go.set()
for thread in threads:
    with told(f"Thread.join {thread.name}", outcome="acquired"):
        thread.join(None if thread.daemon else 60)

# Its own name, changed while it runs, and the name that threading gives.
def renamed():
    threading.current_thread().name = "after"
    alive()

late = threading.Thread(target=renamed, name="before")
start(late)
with told("Thread.join before", outcome="acquired"):
    late.join()

nameless = threading.Thread(target=alive)
start(nameless)
with told(f"Thread.join {nameless.name}", outcome="acquired"):
    nameless.join()

bare_may_end, bare_ends = threading.Event(), threading.Event()
with told("Thread.start bare"):
    _thread.start_new_thread(bare, ())
bare_may_end.set()
bare_ends.wait()
alive()
"""

#: What each thread of the program above runs.
TARGETS = {
    "by target": "target", "by subclass": "Worker.run", "daemon": "target", "fails": "fails", "timer": "target",
    "after": "renamed", "Thread-2 (alive)": "alive", "bare": "bare",
}  # fmt: skip


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The run of a program that starts threads in every way."""
    return record_well(Runner(tmp_path_factory.mktemp("threads")), THREADS)


def test_each_thread_has_one_lane_by_its_name(threads: Recorded) -> None:
    (pid,) = threads.perfetto.processes
    alive = {fact.thread for fact in threads.truth if fact.what == "alive"}
    assert len(alive) == 9
    assert threads.perfetto.threads == sorted((pid, name) for name in alive)


def test_each_start_and_join_of_a_thread_is_one_slice(threads: Recorded) -> None:
    assert differences(calls(threads.truth), drawn_calls(threads)) == []


def test_a_thread_lives_from_its_first_word_to_its_last(threads: Recorded) -> None:
    for name, target in TARGETS.items():
        life = lane_life(threads, name)
        words = [fact for fact in threads.truth if fact.what == "alive" and fact.thread == name]
        start = fact(threads, f"Thread.start {'before' if name == 'after' else name}")
        assert life.name == target
        assert start.before <= life.start <= words[0].before
        assert words[-1].after <= life.end
        assert life.args["site"].startswith(f"{threads.runner.folder}/program.py:")
        assert life.args["started_by"].startswith("MainThread in MainProcess ")


def lane_life(run: Recorded, thread: str) -> Drawn:
    """The slice of a thread's whole life."""
    (life,) = [
        piece for piece in run.perfetto.of("thread")
        if piece.thread == thread and not piece.name.startswith("Thread.") and piece.end > piece.start
    ]  # fmt: skip
    return life


def test_arrows_lead_from_start_to_thread_and_from_its_end_to_the_join(threads: Recorded) -> None:
    called = {name: "before" if name == "after" else name for name in TARGETS}
    starts = Counter(
        ("start", "MainThread", f"Thread.start {called[name]}", name, target) for name, target in TARGETS.items()
    )
    ends = Counter(
        ("end", name, target, "MainThread", f"Thread.join {called[name]}")
        for name, target in TARGETS.items()
        if name != "bare"
    )
    assert arrows(threads, "start", "end", "fork") == starts + ends


def test_the_exception_that_ends_a_thread_stands_on_its_lane(threads: Recorded) -> None:
    errors = [piece for piece in threads.perfetto.slices if "luck" in piece.name]
    assert [(piece.name, piece.thread) for piece in errors] == [("ValueError: no such luck", "fails")]
    assert errors[0].args["site"].endswith(" fails")
    assert lane_life(threads, "fails").args["error"] == "ValueError: no such luck"
    with_error = [thread.name for thread in threads.trace.threads.values() if thread.error]
    assert with_error == ["fails"]


def test_a_daemon_thread_is_known_as_one(threads: Recorded) -> None:
    daemons = {name for name in TARGETS if lane_life(threads, name).args.get("daemon")}
    assert daemons == {"daemon", "bare"}


# multiprocessing --------------------------------------------------------------------------------------------------

PROCESSES = """
import multiprocessing
import os
import sys
import time
from truth import log, now, told

def alive(**facts):
    log("alive", now(), now(), multiprocessing.current_process().name, **facts)

def returns(pipe):
    alive()
    pipe.recv()
    alive()

def exits(status):
    alive()
    sys.exit(status)

def fails():
    alive()
    sys.stderr = open(os.devnull, "w")
    raise ValueError("no such luck")

def sleeps(pipe):
    alive()
    pipe.send("here")
    time.sleep(600)

class Own(multiprocessing.get_context(sys.argv[1]).Process):
    def run(self):
        alive()

def start(process):
    with told(f"Process.start {process.name}") as facts:
        process.start()
        facts["pid"] = str(process.pid)
        facts["outcome"] = ""

def join(process, how=None):
    with told(f"Process.join {process.name}", outcome="acquired"):
        process.join(how)
    log("ended", now(), now(), process.name, status=process.exitcode, pid=process.pid)

def main(method):
    multiprocessing.set_start_method(method)
    here, there = multiprocessing.Pipe()
    good = multiprocessing.Process(target=returns, args=(there,), name="good")
    start(good)
    for wait in (0, 0.01):
        with told("Process.join good", outcome="timeout"):
            good.join(wait)
    here.send("end")
    join(good, 60)
    for name, kind in (("exits", exits), ("fails", fails), ("own", None)):
        arguments = (7,) if kind is exits else ()
        process = multiprocessing.Process(target=kind, args=arguments, name=name) if kind else Own(name="own")
        start(process)
        join(process)
    for name, send in (("terminated", "terminate"), ("killed", "kill")):
        process = multiprocessing.Process(target=sleeps, args=(there,), name=name, daemon=True)
        start(process)
        assert here.recv() == "here"
        with told(send):
            getattr(process, send)()
        join(process)
    nameless = multiprocessing.Process(target=alive)
    start(nameless)
    join(nameless)

if __name__ == "__main__":
    main(sys.argv[1])
"""

#: Each process of the program above: what it runs, and how it ends.
ENDS = {
    "good": ("returns", "exit 0"),
    "exits": ("exits", "exit 7"),
    "fails": ("fails", "exit 1"),
    "own": ("Own.run", "exit 0"),
    "terminated": ("sleeps", "killed by SIGTERM from MainProcess"),
    "killed": ("sleeps", "killed by SIGKILL from MainProcess"),
    "Process-7": ("alive", "exit 0"),
}


@pytest.fixture(scope="module", params=["fork", "spawn", "forkserver"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The run of a program that starts processes in every way, by each start method."""
    return record_well(Runner(tmp_path_factory.mktemp("processes")), PROCESSES, request.param)


def test_each_process_is_there_by_its_name_and_pid(processes: Recorded) -> None:
    pids = {fact.thread: fact.pid for fact in processes.truth if fact.what == "alive"}
    assert pids.keys() == ENDS.keys()
    main = next(fact.pid for fact in processes.truth if fact.what == "ended")
    expected = {main: f"MainProcess {main}", **{pid: f"{name} {pid}" for name, pid in pids.items()}}
    assert processes.perfetto.processes == expected
    assert processes.perfetto.threads == sorted((pid, "MainThread") for pid in expected)


def test_each_start_and_join_of_a_process_is_one_slice(processes: Recorded) -> None:
    assert differences(calls(processes.truth), drawn_calls(processes)) == []


def test_a_process_says_what_it_ran_and_how_it_ended(processes: Recorded) -> None:
    for name, (target, end) in ENDS.items():
        life = process_life(processes, name)
        assert (life.name, life.args["ended"], life.args["origin"]) == (target, end, "Process")
        assert life.args["parent"].startswith("MainProcess ")
    codes = {fact.thread: fact.facts["status"] for fact in processes.truth if fact.what == "ended"}
    recorded = {process.name: process.end for process in processes.trace.processes.values() if process.name in ENDS}
    assert codes == {name: end.status if end.how == "exited" else -(end.signal or 0) for name, end in recorded.items()}
    daemons = {process.name for process in processes.trace.processes.values() if process.daemon}
    assert daemons == {"terminated", "killed"}


def process_life(run: Recorded, name: str) -> Drawn:
    """The slice of a process's whole life."""
    (life,) = [
        piece for piece in run.perfetto.of("process")
        if piece.process.rpartition(" ")[0] == name and "ended" in piece.args
    ]  # fmt: skip
    return life


def test_a_process_lives_from_its_first_word_until_it_was_joined(processes: Recorded) -> None:
    for name in ENDS:
        life = process_life(processes, name)
        words = [fact for fact in processes.truth if fact.what == "alive" and fact.thread == name]
        start = fact(processes, f"Process.start {name}")
        ended = fact(processes, "ended", name)
        assert start.before <= life.start <= words[0].before
        assert words[-1].after <= life.end <= ended.before


def test_arrows_lead_from_start_to_process_and_from_its_end_to_the_join(processes: Recorded) -> None:
    starts = Counter(
        ("start", "MainThread", f"Process.start {name}", f"MainThread of {name}", target)
        for name, (target, _) in ENDS.items()
    )
    ends = Counter(
        ("end", f"MainThread of {name}", target, "MainThread", f"Process.join {name}")
        for name, (target, _) in ENDS.items()
    )
    assert arrows(processes, "start", "end", "fork") == starts + ends


def test_terminate_and_kill_are_moments_of_who_sent_them(processes: Recorded) -> None:
    sent = {piece.name: piece for piece in processes.perfetto.of("process") if piece.name.startswith("SIG")}
    assert sent.keys() == {"SIGTERM to terminated", "SIGKILL to killed"}
    for what, name in (("terminate", "SIGTERM to terminated"), ("kill", "SIGKILL to killed")):
        assert fact(processes, what).before <= sent[name].start <= fact(processes, what).after
        assert sent[name].process.startswith("MainProcess ")


# os --------------------------------------------------------------------------------------------------------------

SYSTEM = """
import os
import sys
from truth import log, now, told

def alive():
    log("alive", now(), now())

def fork(how=os.fork):
    # The child is past this call, too, so that only its parent may say when it ended.
    before = now()
    pid = how()
    pid = pid[0] if how is os.forkpty else pid
    if pid:
        log("os." + how.__name__, before, now(), "MainThread", pid=str(pid))
    return pid

def child(status):
    alive()
    os._exit(status)

def reaped(pid, how, status):
    log("reaped", now(), now(), pid=pid, how=how, status=status)

code = os.waitstatus_to_exitcode

if not fork():
    child(1)
with told("os.wait Fork-1", outcome="acquired"):
    pid, status = os.wait()
reaped(pid, "wait", code(status))

if not (pid := fork()):
    child(2)
with told("os.waitpid Fork-2", outcome="acquired"):
    _, status = os.waitpid(pid, 0)
reaped(pid, "waitpid", code(status))

if not fork():
    child(3)
with told("os.wait3 Fork-3", outcome="acquired"):
    pid, status, _ = os.wait3(0)
reaped(pid, "wait3", code(status))

if not (pid := fork()):
    alive()
    os.kill(os.getpid(), 9)
with told("os.wait4 Fork-4", outcome="acquired"):
    _, status, _ = os.wait4(pid, 0)
reaped(pid, "wait4", code(status))

if not (pid := fork()):
    child(255)
with told("os.waitid Fork-5", outcome="acquired"):
    result = os.waitid(os.P_PID, pid, os.WEXITED)
reaped(pid, "waitid", result.si_status)

# A child that asks for nothing: it ends like any program, or by an exception.
if not (pid := fork()):
    alive()
    sys.exit(6)
with told("os.waitpid Fork-6", outcome="acquired"):
    _, status = os.waitpid(pid, 0)
reaped(pid, "waitpid", code(status))

if not (pid := fork(os.forkpty)):
    child(7)
with told("os.waitpid Fork-7", outcome="acquired"):
    _, status = os.waitpid(pid, 0)
reaped(pid, "waitpid", code(status))

# Waiting without waiting is no wait; the status that it reaps is known all the same.
reading, writing = os.pipe()
if not (pid := fork()):
    os.read(reading, 1)
    child(8)
assert os.waitpid(pid, os.WNOHANG) == (0, 0)
os.write(writing, b"x")
done = 0
while not done:
    done, status = os.waitpid(pid, os.WNOHANG)
reaped(pid, "waitpid", code(status))

with told("os.waitpid", outcome="error"):
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        pass
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The run of a program that forks and waits by the functions of os."""
    return record_well(Runner(tmp_path_factory.mktemp("system")), SYSTEM)


def test_each_fork_and_wait_is_one_slice(system: Recorded) -> None:
    assert differences(calls(system.truth), drawn_calls(system)) == []


def test_each_forked_process_is_there_with_its_status(system: Recorded) -> None:
    reaped = [fact.facts for fact in system.truth if fact.what == "reaped"]
    assert [facts["status"] for facts in reaped] == [1, 2, 3, -9, 255, 6, 7, 8]
    for number, facts in enumerate(reaped, 1):
        life = process_life(system, f"Fork-{number}")
        assert life.pid == facts["pid"]
        assert life.args["ended"] == ("killed by SIGKILL" if number == 4 else f"exit {facts['status']}")
        assert life.args["origin"] == "fork"
        words = [fact for fact in system.truth if fact.what == "alive" and fact.pid == life.pid]
        assert life.start <= words[0].before
        assert words[-1].after <= life.end <= fact_of_pid(system, life.pid).before
    assert len(system.perfetto.processes) == 1 + len(reaped)


def fact_of_pid(run: Recorded, pid: int) -> Fact:
    """When the program knew that this child had ended."""
    return next(fact for fact in run.truth if fact.what == "reaped" and fact.facts["pid"] == pid)


def test_arrows_lead_from_fork_to_child_and_from_its_end_to_the_wait(system: Recorded) -> None:
    waits = [fact.what for fact in system.truth if fact.what.startswith("os.wait") and "Fork" in fact.what]
    calls = {7: "os.forkpty"}
    forks = Counter(
        ("fork", "MainThread", calls.get(n, "os.fork"), f"MainThread of Fork-{n}", f"Fork-{n}") for n in range(1, 9)
    )
    ends = Counter(
        ("end", f"MainThread of {name}", name, "MainThread", wait)
        for wait in waits
        for name in [wait.rpartition(" ")[2]]
    )
    assert len(waits) == 7
    assert arrows(system, "fork", "start", "end") == forks + ends
