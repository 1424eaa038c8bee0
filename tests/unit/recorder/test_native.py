"""What only the native recorder can get wrong: memory, the interpreter's own rules, and what runs without the GIL."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import gc
import operator
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from conctrace import _stdlib
from conctrace.events import kinds, layout
from tests.support.recording import _recorders as available
from tests.support.recording import running
from tests.support.segments import child

if TYPE_CHECKING:
    from tests.support.recording import Session
    from tests.support.run import Runner
    from tests.support.segments import Steps


@pytest.fixture(autouse=True)
def recorder_name() -> str:
    """The native one alone."""
    if "native" not in available():
        pytest.skip("not built, or not asked for")
    return "native"


def new() -> Any:
    """A traced lock made by this file, as a program makes one."""
    return running().new_lock(sys._getframe())


def fresh(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


# Signals -------------------------------------------------------------------------------------------------------------


class TickError(Exception):
    pass


@pytest.mark.parametrize("what", ["text", "site", "define", "thread_begins", "thread_ends"])
@pytest.mark.usefixtures("session")
def test_what_a_handler_raises_is_not_cleared_with_our_own_errors(what: str) -> None:
    """A signal comes in, and no Python code runs between that and the call."""
    recorder = running()
    lock = new()
    calls: dict[str, Any] = {
        "text": (recorder.text, "some text"),
        "site": (lock.acquire,),
        "define": (recorder.define, kinds.OBJECT.number, 12345, ("Lock", "", 5, "")),
        "thread_begins": (recorder.thread_begins, "name", False, 7),
        "thread_ends": (recorder.thread_ends, "another name", False),
    }

    def tick(*_: Any) -> None:
        raise TickError

    signal_comes = functools.partial(ctypes.pythonapi.PyErr_SetInterruptEx, int(signal.SIGALRM))
    calling = operator.methodcaller("__call__")
    before = signal.signal(signal.SIGALRM, tick)

    try:
        with pytest.raises(TickError):
            list(map(calling, [signal_comes, functools.partial(*calls[what])]))
    finally:
        signal.signal(signal.SIGALRM, before)


# Stand-ins -----------------------------------------------------------------------------------------------------------


#: Uses what the recorder stands in for, bare or not; the traced run must be the same program.
LOOKS_CLOSELY = """
import copy, os, sys, traceback, types, weakref
events = []
def frames():
    trace = sys.exc_info()[2]
    return [frame.name for frame in traceback.extract_tb(trace)]
for call in (lambda: os.waitpid(-1, os.WNOHANG), lambda: os.waitpid(-1, 0), lambda: os.fork(1), lambda: os._exit("x")):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error, frames(), type(error.__context__))
if sys.version_info >= (3, 12):  # before, the interpreter tells profilers of its own type alone
    sys.setprofile(lambda frame, event, what: events.append((event, getattr(what, "__qualname__", None))))
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        pass
    sys.setprofile(None)
    print(events)
print(isinstance(os.fork, types.BuiltinFunctionType), os.fork.__class__, os.fork.__self__, os.fork.__text_signature__)
print(copy.copy(os.fork) is os.fork, copy.deepcopy(os.fork) is os.fork, weakref.ref(os.fork)() is os.fork, dir(os.fork))
print(hash(os.fork) == hash(os.fork), os.fork == os.fork, os.fork == os.wait, os.fork < os.wait if False else "")
for act in (lambda: type(os.fork)(), lambda: type("X", (os.fork,), {}), lambda: setattr(os.fork, "x", 1), lambda: vars(os.fork)):
    try:
        print(act())
    except Exception as error:
        print(type(error).__name__, error)
try:
    class X(os.fork): pass
except TypeError as error:
    print(error)
"""


def test_a_program_that_looks_closely_sees_builtin_functions(runner: Runner) -> None:
    runner = dataclasses.replace(runner, variables={"CONCTRACE_RECORDER": "native"})
    traced = runner.traced("-c", LOOKS_CLOSELY, options=["-q", "-o", "t.ctrace"])
    bare = runner.bare("-c", LOOKS_CLOSELY)
    assert traced.lines == bare.lines
    assert (traced.status, traced.stderr) == (0, bare.stderr)


@pytest.mark.usefixtures("session")
def test_a_stand_in_goes_when_nobody_wants_it_any_more() -> None:
    recorder = running()
    original = os.getppid
    before = sys.getrefcount(original)

    def make() -> None:
        assert recorder.stand_in(original, "os:getppid", None) is None
        circle: list[Any] = []
        circle.extend([recorder.stand_in(original, "os:waitpid", circle), circle])
        assert circle[0] is not original

    for _ in range(100):
        make()
    gc.collect()
    assert sys.getrefcount(original) == before


@pytest.mark.usefixtures("session")
def test_what_is_no_builtin_function_has_no_stand_in() -> None:
    assert running().stand_in(fresh, "os:fork", None) is None
    with pytest.raises(TypeError):
        running().stand_in(os.fork, 3, None)  # type: ignore[arg-type]


def test_without_memory_a_stand_in_does_what_the_bare_one_does(session: Session) -> None:
    testcapi = pytest.importorskip("_testcapi")
    allocate_lock = running().stand_in(_stdlib.allocate_lock, "_thread:allocate_lock", None)
    waitpid = running().stand_in(os.waitpid, "os:waitpid", None)
    made = None
    for first in range(40):
        testcapi.set_nomemory(first, first + 1)
        try:
            made = allocate_lock()
        except MemoryError:
            made = None
        finally:
            testcapi.remove_mem_hooks()
        assert made is None or made.acquire(False)

        error: BaseException | None = None
        testcapi.set_nomemory(first, first + 1)
        try:
            waitpid(-1, 0)
        except (MemoryError, ChildProcessError) as raised:
            error = raised
        finally:
            testcapi.remove_mem_hooks()
        assert error is not None
    image = session.image()
    assert (image.off_reason, image.count("errors")) == ("", 0)


def test_a_stand_in_of_a_recorder_that_is_off_does_what_the_bare_one_does(session: Session) -> None:
    allocate_lock = running().stand_in(_stdlib.allocate_lock, "_thread:allocate_lock", None)
    fork = running().stand_in(os.fork, "os:fork", None)
    waitpid = running().stand_in(os.waitpid, "os:waitpid", None)
    running().switch_off("the test says so")
    assert type(allocate_lock()) is _stdlib.LockType
    pid = fork()
    if pid == 0:
        os._exit(3)
    assert waitpid(pid, 0) == (pid, 3 << 8)
    assert session.image().records(kinds.PROCESS_FORK) == session.image().records(kinds.CHILD_WAIT) == []


# Forks ----------------------------------------------------------------------------------------------------------------


def owners(session: Session) -> list[bytes]:
    """The entries of this process's table of objects."""
    return list(session.image()._entries("objects", layout.OBJECT_ENTRY_SIZE))


def test_a_child_forked_in_a_handler_during_a_wait_writes_nothing_into_its_parents_mapping(session: Session) -> None:
    lock = new()
    held = threading.Event()
    over = threading.Event()
    seen: list[Any] = []

    def hold() -> None:
        with lock:
            held.set()
            over.wait(30)

    def fork(*_: Any) -> None:
        before = owners(session)
        pid = os.fork()
        if pid == 0:
            lock.release()  # its holder is not in the child
            return
        seen.extend([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), before, owners(session)])
        over.set()

    main = os.getpid()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    before_handler = signal.signal(signal.SIGALRM, fork)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        status = 1
        try:
            with lock:
                status = 0
        finally:
            if os.getpid() != main:
                os._exit(status)
    finally:
        signal.signal(signal.SIGALRM, before_handler)
    holder.join()
    status, before, after = seen
    assert status == 0
    assert len(before) == 1
    assert after == before


@pytest.mark.usefixtures("session")
def test_a_child_of_a_process_whose_second_recorder_could_not_start_goes_on() -> None:
    recorder: Any = type(running())
    with pytest.raises(OSError, match="no session"):
        recorder("/no session is here")

    def use(_: Steps) -> None:
        with new():
            pass

    process = child(use)
    assert process.wait() == 0


# Memory -----------------------------------------------------------------------------------------------------------------


def mapped() -> int:
    """Bytes of memory, touched or not."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


@pytest.mark.usefixtures("session")
def test_tables_that_cannot_grow_take_no_memory() -> None:
    def churn(rounds: int) -> None:
        for _ in range(rounds):
            with new():
                pass

    def run(_: Steps) -> None:
        with new():
            pass
        kept = [new() for _ in range(200)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (layout.FIRST_CHUNK_SIZE, resource.RLIM_INFINITY))
        for lock in kept:
            with lock:
                pass
        churn(1000)
        before = mapped()
        churn(10_000)
        assert mapped() - before < 4 << 20

    process = child(run)
    assert process.wait() == 0


def test_threads_whose_locals_use_locks_when_they_go_leave_nothing_behind(session: Session) -> None:
    lock = new()
    local = threading.local()
    gone: list[int] = []

    class Resource:
        def __del__(self) -> None:
            with lock:
                gone.append(1)

    def use() -> None:
        with lock:
            local.resource = Resource()

    def run(times: int) -> None:
        for _ in range(times):
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()

    run(100)
    gc.collect()
    until = time.monotonic() + 10
    while len(gone) < 100 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(gone) == 100
    image = session.image()
    assert len(image.living_totals()) <= 3
    assert len(image.threads()) <= 3


def test_a_recorder_that_was_never_started_records_nothing() -> None:
    done = fresh(
        """
        from conctrace.recorder import _recorder
        recorder = _recorder.Recorder.__new__(_recorder.Recorder)
        assert not recorder.alive
        recorder.emit(1, 2)
        recorder.count("errors")
        recorder.switch_off("never on")
        try:
            lock = _recorder.Recorder.lock_type()
        except TypeError:
            pass
        else:
            with lock:
                pass
        import os
        pid = os.fork()
        if pid == 0:
            os._exit(recorder.alive)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_daemon_thread_that_gets_a_lock_while_the_interpreter_ends_touches_nothing_that_is_freed(
    session: Session,
) -> None:
    done = fresh(
        """
        import sys, threading, time
        from conctrace import recorder as recorders
        recorder = recorders.start(sys.argv[1], 0)
        recorder.meet()
        lock = recorder.new_lock(sys._getframe())

        class Last:
            def __init__(self):
                self.release, self.sleep = lock.release, time.sleep
            def __del__(self):
                self.release()
                self.sleep(0.3)  # until the other has it

        lock.acquire()
        threading.Thread(target=lock.acquire, daemon=True).start()
        while not lock_is_wanted():
            time.sleep(0)
        last = Last()
        """.replace("lock_is_wanted()", "any('.objects.' in name for name in __import__('os').listdir(sys.argv[1]))"),
        session.folder,
        CONCTRACE_RECORDER="native", MALLOC_PERTURB_="170",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (image,) = (image for image in session.images().values() if image.pid != os.getpid())
    (entry,) = image._entries("objects", layout.OBJECT_ENTRY_SIZE)
    _, owner = layout.OBJECT_OWNER.unpack_from(entry, layout.OBJECT_OWNER_OFFSET)
    assert owner >> 32 == 2  # the second thread


# Code that runs inside ours -----------------------------------------------------------------------------------------------


class InsideGC:
    """Runs something once, the next time that the garbage collector does after it was armed."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.armed = False

    def __call__(self, _phase: str, _: Any) -> None:
        if self.armed:
            self.armed = False
            self._run()

    def __enter__(self) -> None:
        self._before = gc.get_threshold()
        gc.callbacks.append(self)
        gc.set_threshold(1)

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)
        gc.callbacks.remove(self)


@pytest.mark.usefixtures("session")
def test_what_the_garbage_collector_runs_during_a_release_can_take_the_lock() -> None:
    """Up to 3.11 it runs where objects are made, such as the frame that releases; with bare locks it would not run there."""
    lock = new()
    took: list[bool] = []

    def take() -> None:
        took.append(lock.acquire(timeout=2))
        if took[0]:
            lock.release()

    def release() -> None:
        inside.armed = True
        lock.release()

    lock.acquire()
    inside = InsideGC(take)
    with inside:
        release()
        gc.collect()
    assert took == [True]
