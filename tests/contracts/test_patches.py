"""What every patch must meet, unasked: whatever it replaces comes back, looks the same, and acts the same.

What a patch replaces is found by looking: the attributes of its module and of the module's classes, before and after.
A new patch is tested here as soon as it is in `conctrace.patches.PATCHES`; it only has to say in `CALLS` how to call
what it replaces.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import types
import typing
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.events import kinds
from conctrace.model.builder import build
from conctrace.patches import PATCHES
from conctrace.patches.patchset import PatchSet
from conctrace.session.imports import PatchOnImport
from conctrace.tracefile.reader import read
from tests.support.recording import running, twin_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.support.recording import Image, Session
    from tests.support.run import Runner

MODULES = list(dict.fromkeys(name for name, _ in PATCHES))


def owners(module: ModuleType) -> Iterator[Any]:
    """The module, and the classes it defines."""
    yield module
    for thing in list(vars(module).values()):
        if isinstance(thing, type) and thing.__module__ == module.__name__:
            yield thing


def attributes() -> dict[tuple[Any, str], Any]:
    """All that a patch could replace, as it is now."""
    found = {}
    for name in MODULES:
        for owner in owners(importlib.import_module(name)):
            found.update({(owner, key): value for key, value in list(vars(owner).items()) if key != "__builtins__"})
    return found


def install_all(patches: PatchSet) -> None:
    for name, install in PATCHES:
        install(patches, importlib.import_module(name))


def find_replaced() -> dict[str, tuple[Any, str]]:
    """Name to owner and attribute, of everything that the patches replace."""
    before = attributes()
    patches = PatchSet()
    install_all(patches)
    after = attributes()
    patches.undo()
    changed = [place for place, value in after.items() if place in before and before[place] is not value]
    return {f"{owner.__name__}.{name}": (owner, name) for owner, name in changed}


REPLACED = find_replaced()
each = pytest.mark.parametrize("name", REPLACED)


@pytest.fixture
def installed(session: Session) -> Iterator[PatchSet]:
    """All patches in place, recording."""
    assert session.image().off_reason == ""
    patches = PatchSet()
    install_all(patches)
    yield patches
    patches.undo()


def both(name: str, patches: PatchSet) -> tuple[Any, Any]:
    """An attribute as the patches leave it, and bare."""
    owner, attribute = REPLACED[name]
    patched = vars(owner)[attribute]
    patches.undo()
    bare = vars(owner)[attribute]
    install_all(patches)
    return patched, bare


# Undoing -----------------------------------------------------------------------------------------------------------


def test_the_patches_replace_what_they_are_known_to_replace() -> None:
    expected = {"os.fork", "os._exit", "os.waitpid", "_thread.allocate_lock", "threading.Lock", "threading.RLock",
                "Thread.start", "Thread.join", "BaseProcess.start", "BaseProcess.join", "Popen.wait", "os.execv"}  # fmt: skip
    assert expected <= set(REPLACED)


def test_they_add_nothing_but_what_is_known() -> None:
    before = attributes()
    patches = PatchSet()
    install_all(patches)
    added = {f"{owner.__name__}.{name}" for owner, name in attributes().keys() - before.keys()}
    patches.undo()
    assert added == {"Popen._closed_child_pipe_fds"}


def test_undo_puts_every_attribute_back_exactly() -> None:
    before = attributes()
    patches = PatchSet()
    install_all(patches)
    patches.undo()
    after = attributes()
    assert before.keys() == after.keys()
    assert [place for place, value in after.items() if before[place] is not value] == []


def test_undo_goes_backwards() -> None:
    class Owner:
        thing = 0

    patches = PatchSet()
    patches.replace(Owner, "thing", 1)
    patches.replace(Owner, "thing", 2)
    patches.undo()
    assert Owner.thing == 0


def test_an_inherited_attribute_is_inherited_again() -> None:
    class Base:
        def act(self) -> int:
            return 1

    class Derived(Base):
        pass

    patches = PatchSet()
    patches.wrap(Derived, "act", lambda _: lambda _: 2)
    assert Derived().act() == 2
    patches.undo()
    assert "act" not in vars(Derived)
    assert Derived().act() == 1


def test_a_second_undo_does_nothing() -> None:
    class Owner:
        thing = 0

    patches = PatchSet()
    patches.replace(Owner, "thing", 1)
    patches.undo()
    Owner.thing = 3
    patches.undo()
    assert Owner.thing == 3


def test_installing_twice_changes_nothing_more(installed: PatchSet) -> None:
    once = attributes()
    install_all(installed)
    assert [place for place, value in attributes().items() if once[place] is not value] == []


# Looks ---------------------------------------------------------------------------------------------------------------


def without_address(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x…", text)


@each
def test_it_looks_like_what_it_replaces(name: str, installed: PatchSet) -> None:
    patched, bare = both(name, installed)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(patched, attribute, None) == getattr(bare, attribute, None), attribute
    assert without_address(repr(patched)) == without_address(repr(bare))
    assert isinstance(patched, type(bare))
    assert callable(patched)
    assert inspect.isbuiltin(patched) == inspect.isbuiltin(bare)
    assert inspect.isclass(patched) == inspect.isclass(bare)


@each
def test_its_signature_is_that_of_what_it_replaces(name: str, installed: PatchSet) -> None:
    def signature(thing: Any) -> str:
        try:
            return str(inspect.signature(thing))
        except (TypeError, ValueError) as error:
            return type(error).__name__

    patched, bare = both(name, installed)
    assert signature(patched) == signature(bare)
    assert typing.get_type_hints(patched) == typing.get_type_hints(bare)


@each
def test_it_survives_pickling_where_the_bare_one_does(name: str, installed: PatchSet) -> None:
    patched, bare = both(name, installed)
    installed.undo()
    try:
        assert pickle.loads(pickle.dumps(bare)) is bare
    except (pickle.PicklingError, AttributeError, AssertionError):
        pytest.skip("the bare one cannot be pickled, either")
    finally:
        install_all(installed)
    owner, attribute = REPLACED[name]
    patched = vars(owner)[attribute]
    assert pickle.loads(pickle.dumps(patched)) is patched


@each
def test_as_an_attribute_of_a_class_it_is_bound_when_the_bare_one_is(name: str, installed: PatchSet) -> None:
    patched, bare = both(name, installed)
    bound = [type("Holder", (), {"thing": thing})().thing is thing for thing in (patched, bare)]
    assert bound[0] == bound[1]


# Acts ----------------------------------------------------------------------------------------------------------------


def fork(then: Callable[[], Any]) -> int:
    """Exit status of a child that does this."""
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forkpty() -> int:
    pid, terminal = os.forkpty()
    if pid == 0:
        os._exit(4)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return status


def ended_child() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return pid


def run_thread() -> list[int]:
    seen: list[int] = []
    thread = threading.Thread(target=seen.append, args=(1,))
    thread.start()
    thread.join()
    assert not thread.is_alive()
    return seen


def failing_thread() -> str:
    said: list[Any] = []
    before, threading.excepthook = threading.excepthook, said.append
    try:
        thread = threading.Thread(target=int, args=("x",))
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before
    return f"{said[0].exc_type} {said[0].exc_value} {said[0].thread is thread}"


def bare_thread(start: str) -> str:
    import _thread

    done, seen = _thread.allocate_lock(), []
    done.acquire()

    def work(value: int) -> None:
        seen.append(value)
        done.release()

    ident = getattr(_thread, start)(work, (3,))
    assert done.acquire(timeout=10)
    return f"{type(ident)} {seen}"


def use_lock(make: Any) -> list[Any]:
    lock = make()
    seen = [lock.acquire(), lock.release(), lock.acquire(False), lock.acquire(timeout=0) in {True, False}]
    lock.release()
    with lock as entered:
        seen.append(entered)
    try:
        while True:
            lock.release()
    except RuntimeError as error:
        seen.append(str(error))
    return seen


def process(act: str) -> str:
    import multiprocessing

    child = multiprocessing.get_context("fork").Process(target=signal.pause if act in {"terminate", "kill"} else int)
    said = [child.start()]  # type: ignore[func-returns-value]
    if act in {"terminate", "kill"}:
        said.append(getattr(child, act)())
    said.append(child.join(10))  # type: ignore[func-returns-value]
    return f"{said} {child.exitcode}"


def waited(name: str, *arguments: int) -> str:
    pid = ended_child()
    result = getattr(os, name)(*(pid if argument < 0 else argument for argument in arguments))
    return str(list(result)[1:2]) if name != "waitid" else f"{result.si_status} {result.si_code}"


def popen(act: str) -> str:
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if act == "send_signal":
        child.terminate()
    if act == "wait":
        try:
            child.wait(0.01)
        except subprocess.TimeoutExpired as late:
            return f"{late} {child.communicate(b'x')} {child.wait()}"
    return f"{child.communicate(b'said')} {child.returncode}"


def spawned(function: str) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(getattr(os, function)("/bin/sh", ["sh", "-c", "exit 4"], {}), 0)[1])


def exec_fails(call: Callable[[], Any]) -> str:
    with pytest.raises(FileNotFoundError) as failed:
        call()
    return str(failed.value)


#: How to call each, so that the result can be compared.
CALLS: dict[str, Callable[[], Any]] = {
    "os.fork": lambda: fork(lambda: os._exit(3)),
    "os.forkpty": forkpty,
    "os._exit": lambda: fork(lambda: os._exit(300)),
    "os.wait": lambda: waited("wait"),
    "os.waitpid": lambda: waited("waitpid", -1, 0),
    "os.wait3": lambda: waited("wait3", 0),
    "os.wait4": lambda: waited("wait4", -1, 0),
    "os.waitid": lambda: waited("waitid", os.P_PID, -1, os.WEXITED),
    "_thread.allocate_lock": lambda: use_lock(importlib.import_module("_thread").allocate_lock),
    "_thread.allocate": lambda: use_lock(importlib.import_module("_thread").allocate),
    "_thread.start_new_thread": lambda: bare_thread("start_new_thread"),
    "_thread.start_new": lambda: bare_thread("start_new"),
    "threading.Lock": lambda: use_lock(threading.Lock),
    "threading.RLock": lambda: use_lock(threading.RLock),
    "threading._make_invoke_excepthook": failing_thread,
    "Thread.start": run_thread,
    "Thread.join": run_thread,
    "Thread._bootstrap_inner": run_thread,
    "BaseProcess.start": lambda: process("start"),
    "BaseProcess.join": lambda: process("join"),
    "BaseProcess.terminate": lambda: process("terminate"),
    "BaseProcess.kill": lambda: process("kill"),
    "BaseProcess._bootstrap": lambda: process("start"),
    "os.posix_spawn": lambda: spawned("posix_spawn"),
    "os.posix_spawnp": lambda: spawned("posix_spawnp"),
    "os.system": lambda: os.system("exit 3"),
    "os.execv": lambda: (fork(lambda: os.execv("/bin/true", ["true"])), exec_fails(lambda: os.execv("/not", ["x"]))),
    "os.execve": lambda: exec_fails(lambda: os.execve("/not/there", ["x"], {})),
    "Popen.wait": lambda: popen("wait"),
    "Popen.communicate": lambda: popen("communicate"),
    "Popen.send_signal": lambda: popen("send_signal"),
}
#: These say nothing before they are used, or speak from another process.
_SILENT_HERE = {"os._exit", "BaseProcess._bootstrap"}


@each
def test_its_call_gives_what_the_bare_one_gives(name: str, installed: PatchSet) -> None:
    patched = CALLS[name]()
    installed.undo()
    assert patched == CALLS[name]()


@each
def test_wrong_arguments_are_refused_in_the_same_words(name: str, installed: PatchSet) -> None:
    def refusal(thing: Any) -> str:
        with pytest.raises(TypeError) as refused:
            thing(*"abcdefg")
        return str(refused.value)

    patched, bare = both(name, installed)
    if "*args" in str(inspect.signature(bare) if not inspect.isbuiltin(bare) else ""):
        pytest.skip("it takes any")
    assert refusal(patched) == refusal(bare)


#: Stand-ins that leave the program's own calls to Python.
_LEFT_TO_PYTHON = ("_thread.start_new", "os.posix_spawn", "os.system", "os.exec")


def is_all_c(name: str) -> bool:
    """Whether no Python of ours, which could fail, stands before it: it is a stand-in of the recorder's own."""
    owner, attribute = REPLACED[name]
    stands_in = type(vars(owner)[attribute]).__base__ is types.BuiltinFunctionType
    return stands_in and not name.startswith(_LEFT_TO_PYTHON)


#: What patches call of the recorder: those that make locks, and the others.
_MAKING_LOCKS = ("new_lock", "new_rlock")
_RECORDING = (
    "emit", "call", "begin_wait", "object_number", "text", "thread_begins", "thread_ends",
    "thread_number", "starting", "started", "running", "ended", "joining",
)  # fmt: skip


def fails_as_bare(
    name: str, methods: tuple[str, ...], session: Session, installed: PatchSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether nothing but a count tells that these methods of the recorder fail."""
    installed.undo()
    bare = CALLS[name]()
    install_all(installed)

    for method in methods:
        # It refuses its arguments. A function of this file would be taken for the program's, which may raise.
        monkeypatch.setattr(type(running()), method, json.loads)
    assert CALLS[name]() == bare
    if name not in _SILENT_HERE:
        image = session.image()
        assert image.count("errors") == 1  # though some are called again when it is off
        assert image.off_reason.startswith("TypeError: ")


@each
def test_our_own_failure_is_swallowed_and_counted(
    name: str, session: Session, installed: PatchSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_all_c(name):
        pytest.skip("nothing in it can be made to fail")
    makes_locks = name.endswith(("Lock", "allocate", "allocate_lock"))
    fails_as_bare(name, _MAKING_LOCKS if makes_locks else _RECORDING, session, installed, monkeypatch)


@twin_only
@each
def test_a_failure_deep_in_the_twin_is_swallowed_and_counted(
    name: str, session: Session, installed: PatchSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_as_bare(name, ("store", "define", "number"), session, installed, monkeypatch)


class InterruptedByHandlerError(Exception):
    """What a program's signal handler raises."""


@pytest.mark.parametrize(
    "name", ["_thread.allocate_lock", "threading.Lock", "threading.RLock", "Thread.start", "Thread.join"]
)
@pytest.mark.usefixtures("installed")
def test_an_exception_of_the_program_in_the_middle_of_ours_passes(
    name: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(*_: Any, **__: Any) -> None:
        raise InterruptedByHandlerError

    if is_all_c(name):
        pytest.skip("no signal's handler runs in the middle of it")
    for method in ("starting", "joining", *_MAKING_LOCKS):
        monkeypatch.setattr(type(running()), method, handler)
    with pytest.raises(InterruptedByHandlerError):
        CALLS[name]()
    monkeypatch.undo()
    image = session.image()
    assert (image.count("errors"), image.off_reason) == (0, "")


@pytest.mark.usefixtures("installed")
def test_an_exception_that_ends_a_thread_is_recorded_with_the_place_where_it_was_raised(session: Session) -> None:
    failing_thread()
    image = session.image()
    (row,) = image.records(kinds.THREAD_ERROR)
    (start,) = image.records(kinds.THREAD_START)
    assert row["thread"] == 1
    assert row["object"] == start["object"] > 0
    texts = image.definitions(kinds.TEXT)
    assert texts[row["other"]] == ["ValueError: invalid literal for int() with base 10: 'x'"]
    sites = image.definitions(kinds.STACK)[row["stack"]][0].split()
    files = [image.definitions(kinds.SITE)[int(site)][0] for site in sites]
    assert files[0] == threading.__file__
    (end,) = (row for row in image.records(kinds.THREAD_END) if row["thread"] == 1)
    assert end["time"] >= row["time"]
    assert end["object"] == row["object"]


# Records -------------------------------------------------------------------------------------------------------------


def caller_of(row: dict[str, Any], image: Image) -> str:
    """The file of the innermost place of a record's stack."""
    innermost = image.definitions(kinds.STACK)[row["stack"]][0].split()[0]
    return image.definitions(kinds.SITE)[int(innermost)][0]


def text_of(row: dict[str, Any], image: Image) -> str:
    return image.definitions(kinds.TEXT)[row["object"]][0]


@pytest.mark.parametrize("name", ["fork", "forkpty"])
@pytest.mark.usefixtures("installed")
def test_a_fork_is_recorded_with_its_caller(name: str, session: Session) -> None:
    assert CALLS[f"os.{name}"]() in {3, 4}
    image = session.image()
    (row,) = image.records(kinds.PROCESS_FORK)
    assert (text_of(row, image), caller_of(row, image)) == (f"os.{name}", __file__)
    assert row["outcome"] == 0
    assert session.image(row["value"]).parent == image.nonce
    assert row["duration"] > 0


@pytest.mark.usefixtures("installed")
def test_a_fork_that_fails_is_recorded_as_that(session: Session) -> None:
    with pytest.raises(TypeError):
        os.fork(1)  # type: ignore[call-arg]
    (row,) = session.image().records(kinds.PROCESS_FORK)
    assert (row["outcome"], row["value"]) == (kinds.ERROR.number, -1)


@pytest.mark.parametrize("name", ["wait", "waitpid", "wait3", "wait4", "waitid"])
@pytest.mark.usefixtures("installed")
def test_a_wait_for_a_child_is_recorded_with_who_was_reaped(name: str, session: Session) -> None:
    CALLS[f"os.{name}"]()
    image = session.image()
    (fork,) = image.records(kinds.PROCESS_FORK)
    pid = fork["value"]
    (row,) = image.records(kinds.CHILD_WAIT)
    assert (text_of(row, image), caller_of(row, image)) == (name, __file__)
    assert row["other"] == (0 if name in {"wait", "wait3"} else pid)
    assert (row["value"], row["outcome"]) == (pid, kinds.ACQUIRED.number)
    (status,) = image.records(kinds.CHILD_STATUS)
    assert (status["other"], status["value"]) == (pid, 7)


@pytest.mark.usefixtures("installed")
def test_a_poll_is_no_wait_but_tells_the_status(session: Session) -> None:
    pid = ended_child()
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None
    assert os.wait3(options=os.WNOHANG)[0] == pid
    image = session.image()
    assert [text_of(row, image) for row in image.records(kinds.CHILD_WAIT)] == ["waitid"]
    assert [row["value"] for row in image.records(kinds.CHILD_STATUS)] == [7, 7]


@pytest.mark.usefixtures("installed")
def test_what_the_library_does_for_the_user_is_internal(session: Session) -> None:
    assert os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "exit 5"]) == 5
    image = session.image()
    assert [row["outcome"] for row in image.records(kinds.PROCESS_FORK)] == [kinds.INTERNAL.number]
    assert image.records(kinds.CHILD_WAIT) == []
    assert [row["value"] for row in image.records(kinds.CHILD_STATUS)] == [5]


@pytest.mark.usefixtures("installed")
def test_a_wait_that_ends_otherwise_is_recorded_as_that(session: Session) -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    image = session.image()
    assert [(row["value"], row["outcome"]) for row in image.records(kinds.CHILD_WAIT)] == [
        (0, kinds.TIMEOUT.number),
        (pid, kinds.ACQUIRED.number),
        (-1, kinds.ERROR.number),
    ]
    assert [(row["other"], row["value"]) for row in image.records(kinds.CHILD_STATUS)] == [(pid, -signal.SIGKILL)]


@pytest.mark.parametrize(
    ("status", "said"),
    [((300,), 44), ((-1,), 255), ((True,), 1), (("x",), None), ((2**40,), None), ((1, 2), None), ((), None)],
)
@pytest.mark.usefixtures("installed")
def test_an_exit_is_recorded_when_it_happens(status: tuple[Any, ...], said: int | None, session: Session) -> None:
    def end() -> None:
        with contextlib.suppress(TypeError, OverflowError):
            os._exit(*status)
        os.kill(os.getpid(), signal.SIGKILL)

    assert fork(end) == (-signal.SIGKILL if said is None else said)
    (child,) = (image for image in session.images().values() if image.parent)
    assert child.count("exit_value") == (0 if said is None else said + 1)


#: Calls each from the interpreter's own C, where there is no Python that calls.
CALLED_BY_NOBODY = """
import _thread, atexit, os, sys, threading
pid = os.fork()
if pid == 0:
    os._exit(3)
atexit.register(os._exit, 5)
atexit.register(sys.stdout.flush)
atexit.register(_thread.allocate_lock)
atexit.register(threading.RLock)
atexit.register(_thread.start_new_thread, int, ())
atexit.register(os.fork)
atexit.register(os.waitpid, pid, 0)
"""


def test_where_no_python_calls_it_is_as_bare(runner: Runner, recorder_name: str) -> None:
    runner = dataclasses.replace(runner, variables={"CONCTRACE_RECORDER": recorder_name})
    bare = runner.bare("-c", CALLED_BY_NOBODY)
    traced = runner.traced("-c", CALLED_BY_NOBODY, options=["-q", "-o", "t.ctrace"])
    assert (traced.status, traced.stdout) == (bare.status, bare.stdout)
    if recorder_name == "native":  # with the other one, tracebacks have lines of ours (docs/fidelity.md)
        assert traced.stderr == bare.stderr
    else:
        assert traced.stderr.count("RuntimeError") == bare.stderr.count("RuntimeError")
    trace = build(read(str(runner.folder / "t.ctrace")))
    processes = 2 if "can't fork" in bare.stderr else 3  # 3.12 forks no more then
    assert [(process.off_reason, process.counters["errors"]) for process in trace.processes.values()] == [
        ("", 0)
    ] * processes


#: The program's own eyes on what it calls.
WATCHED = """
import _thread, os, sys
def see(event, arguments):
    if event == "os.fork" or event.startswith("_thread."):
        print(event, len(arguments), flush=True)
sys.addaudithook(see)
pid = os.fork()
if pid == 0:
    os._exit(3)
os.waitpid(pid, 0)
done = _thread.allocate_lock()
done.acquire()
_thread.start_new_thread(done.release, ())
done.acquire()
"""


def test_audit_events_are_as_bare(runner: Runner, recorder_name: str) -> None:
    runner = dataclasses.replace(runner, variables={"CONCTRACE_RECORDER": recorder_name})
    traced = runner.traced("-c", WATCHED, options=["-q", "-o", "t.ctrace"])
    assert traced.lines == runner.bare("-c", WATCHED).lines
    assert "os.fork 0" in traced.lines


# Threads of _thread --------------------------------------------------------------------------------------------------


class Task:
    """The function of a thread; fails as it is told to."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act
        self.runs = threading.Event()

    def __call__(self) -> None:
        self.runs.set()
        self.act()

    def __repr__(self) -> str:
        return "a task"


def told_of_failing_threads(hook: Callable[[Any], None] | None) -> tuple[list[Any], str]:
    """What ``sys.unraisablehook`` gets to see of threads that fail, and what is printed, less paths and addresses."""
    import _thread

    seen: list[Any] = []

    def note(told: Any) -> None:
        names, trace = [], told.exc_traceback
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        named = "the function" if told.object in tasks else told.object
        seen.append((told.exc_type, str(told.exc_value), told.err_msg, named, names, type(told), sys.exc_info()))
        if hook is not None:
            hook(told)

    tasks = [Task(lambda: int("x")), Task(lambda: sys.exit(3)), Task(lambda: 1 // 0)]
    before = sys.unraisablehook
    out = io.StringIO()
    with contextlib.redirect_stderr(out):
        sys.unraisablehook = sys.__unraisablehook__ if hook is None else note
        try:
            for task in tasks:
                threads = _thread._count()
                _thread.start_new_thread(task, ())
                assert task.runs.wait(10)
                until = time.monotonic() + 10
                while _thread._count() != threads and time.monotonic() < until:
                    time.sleep(0.001)
        finally:
            sys.unraisablehook = before
    return seen, without_address(out.getvalue())


@pytest.mark.parametrize("hook", ["default", "noting", "failing"])
def test_an_exception_that_ends_a_bare_thread_is_told_as_bare(hook: str, installed: PatchSet) -> None:
    """Of the program's own function, with no frame of ours."""

    def fail(_: Any) -> None:
        raise OSError("from the hook")

    act = {"default": None, "noting": lambda _: None, "failing": fail}[hook]
    patched = told_of_failing_threads(act)
    installed.undo()
    assert patched == told_of_failing_threads(act)
    assert hook == "default" or [row[0] for row in patched[0]] == [ValueError, ZeroDivisionError]
    assert hook == "noting" or len(patched[1].splitlines()) > 4


#: Starts a bare thread when nothing can be imported any more.
LAST_WORDS = """
import _thread, sys
class Last:
    def __del__(self, start=_thread.start_new_thread, say=print, system=sys):
        try:
            start(int, ())
        except RuntimeError as error:
            say(type(error).__name__, error)
        say(system.meta_path)
kept = Last()
"""


def test_a_bare_thread_that_is_started_while_the_interpreter_ends_is_as_bare(runner: Runner) -> None:
    bare = runner.bare("-c", LAST_WORDS)
    traced = runner.traced("-c", LAST_WORDS, options=["-q", "-o", "t.ctrace"])
    assert (traced.stdout, traced.stderr) == (bare.stdout, bare.stderr)
    assert traced.lines[-1] == "None"
    # Before 3.12 the thread begins in an interpreter that goes, which crashes now and then, bare too.
    assert traced.status == 0 or sys.version_info < (3, 12)
    trace = build(read(str(runner.folder / "t.ctrace")))
    assert [(process.off_reason, process.counters["errors"]) for process in trace.processes.values()] == [("", 0)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no warning before 3.12")
def test_a_warning_about_a_fork_names_the_programs_own_line(installed: PatchSet) -> None:
    def warned() -> list[tuple[str, int, str]]:
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert fork(lambda: os._exit(0)) == 0
        done.set()
        thread.join()
        return [(warning.filename, warning.lineno, type(warning.message).__name__) for warning in said]

    patched = warned()
    installed.undo()
    assert patched == warned()
    assert patched[0][2] == "DeprecationWarning"


def test_every_replaced_attribute_has_a_call() -> None:
    assert set(REPLACED) == set(CALLS)


# Importing -------------------------------------------------------------------------------------------------------------


def test_a_module_imported_later_is_patched_and_shows_nothing_of_it() -> None:
    called: list[str] = []
    finder = PatchOnImport({"colorsys": lambda module: called.append(module.__name__)})
    sys.modules.pop("colorsys", None)
    bare = importlib.util.find_spec("colorsys")
    finder.install()
    try:
        module = importlib.import_module("colorsys")
        assert called == ["colorsys"]
        assert bare is not None
        assert module.__spec__ is not None
        assert type(module.__spec__.loader) is type(bare.loader)
        assert module.__loader__ is module.__spec__.loader
        assert importlib.reload(module) is module
        assert type(module.__spec__.loader) is type(bare.loader)
    finally:
        finder.undo()
        sys.modules.pop("colorsys", None)
    assert finder not in sys.meta_path


def test_a_fresh_second_copy_of_a_module_is_patched_too() -> None:
    called: list[int] = []
    finder = PatchOnImport({"colorsys": lambda module: called.append(id(module))})
    first = importlib.import_module("colorsys")
    finder.install()
    try:
        del sys.modules["colorsys"]
        second = importlib.import_module("colorsys")
    finally:
        finder.undo()
        sys.modules["colorsys"] = first
    assert called == [id(first), id(second)]
    assert first is not second


def test_a_module_that_fails_to_import_fails_as_without_us(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module_of_a_test.py").write_text("raise ValueError('mine')")
    monkeypatch.syspath_prepend(str(tmp_path))
    finder = PatchOnImport({"broken_module_of_a_test": lambda module: pytest.fail(f"{module} was patched")})
    finder.install()
    try:
        with pytest.raises(ValueError, match="mine"):
            importlib.import_module("broken_module_of_a_test")
    finally:
        finder.undo()
