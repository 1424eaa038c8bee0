"""Every way in which a program starts a Python that is to be recorded, and what the trace must then say.

The children write a log of their own (module ``truth``, as every program of the tests), by a path that is written into their
source: they are started in other folders, without environment, without ``sys.path``.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.readback import record
from tests.support.soak import Ended, check_processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.run import Runner

#: A child: it says what it is called in the trace, and ends with 3.
CHILD = """
import sys
sys.path.insert(0, FOLDER)
from truth import say
say("alive", NAME)
say("last", NAME)
sys.exit(3)
"""

#: The parent. `ended` says that a child is known to have ended.
_PARENT = """
import os, subprocess, sys
from truth import say

PYTHON, FOLDER = sys.executable, os.path.dirname(os.path.abspath(__file__))

def ended(name, status):
    say("reaped", name)
    assert status == 3, status

def main():
    BODY

if __name__ == "__main__":
    say("alive", "MainProcess")
    main()
    say("last", "MainProcess")
"""

MAIN = Ended("MainProcess", None, "exited", 0)
#: The shell of a command that begins with this Python.
SHELL = f"sh: {Path(sys.executable).name}"


@dataclass(frozen=True)
class Way:
    """A program whose children are started in one way, and the processes of its trace."""

    body: str
    processes: tuple[Ended, ...]
    #: makes what it needs in the runner's folder
    prepare: Callable[[Path, str], None]
    name: str
    #: what stands before `main` in the program
    before: str = ""

    def __call__(self, runner: Runner, _number: int) -> None:
        self.prepare(runner.folder, self.name)
        program = self.before + _PARENT.replace("BODY", self.body.strip().replace("\n", "\n    "))
        run = record(runner, program, json=False)
        assert run.result.status == 0, run.result.stderr
        check_processes(run, self.processes)
        assert [loss.sentence for loss in run.trace.losses] == []
        assert "not recorded" not in run.result.stderr


def child_source(folder: Path, name: str) -> str:
    """The source of the child that is called so."""
    return CHILD.replace("FOLDER", repr(str(folder))).replace("NAME", repr(name))


def _script(folder: Path, name: str) -> None:
    (folder / "child.py").write_text(child_source(folder, name))


def _module(folder: Path, name: str) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "child.py").write_text(child_source(folder, name))


def _folder(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__main__.py").write_text(child_source(folder, name))


def _zip(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("__main__.py", child_source(folder, name))


def _console_script(folder: Path, name: str) -> None:
    script = folder / name
    script.write_text(f"#!{sys.executable}\n{child_source(folder, name)}")
    script.chmod(0o755)


def _elsewhere(folder: Path, name: str) -> None:
    _script(folder, name)
    (folder / "elsewhere").mkdir()


def nested(folder: Path, name: str = "", *, hook: bool = True) -> None:
    """A virtual environment made from this one, in ``folder/nested``; with conctrace installed if `hook`."""
    venv.EnvBuilder(symlinks=True).create(folder / "nested")
    (packages,) = (folder / "nested" / "lib").glob("python3*/site-packages")
    if hook:
        import conctrace

        installed = Path(conctrace.__file__).parents[1]
        (packages / "conctrace-source.pth").write_text(f"{installed}\n")
        shutil.copy(hook_file(), packages)
    if name:
        _script(folder, name)


def hook_file() -> Path:
    """The start-up hook of this Python's conctrace."""
    return Path(sysconfig.get_path("purelib"), "conctrace-startup.pth")


def _started(body: str, name: str = "child.py", prepare: Callable[[Path, str], None] = _script) -> Way:
    """A way that starts one child, which a traced parent reaps."""
    return Way(body, (MAIN, Ended(name, "MainProcess", "exited", 3)), prepare, name)


def _run(command: str, name: str = "child.py", prepare: Callable[[Path, str], None] = _script) -> Way:
    """A way that starts one child by `subprocess`."""
    return _started(f'ended("{name}", subprocess.run({command}).returncode)', name, prepare)


_WAITED = "ended('child.py', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"

_FORKED = Ended("Fork-1", "MainProcess", "replaced")
_AT_FORK = 'os.register_at_fork(after_in_child=lambda: say("alive", "Fork-1"))'


_TASKS = """
import multiprocessing, sys
from truth import say

def began(both):
    global together
    together = both
    say("alive", multiprocessing.current_process().name)

def task():
    together.wait()  # so each of the two workers has one
"""

_POOL = """
from concurrent.futures import ProcessPoolExecutor
context = multiprocessing.get_context("METHOD")
with ProcessPoolExecutor(2, context, began, (context.Barrier(2),)) as pool:
    for future in [pool.submit(task) for _ in range(2)]:
        future.result()
"""


def _executor(method: str, name: str) -> Way:
    processes = (MAIN, *(Ended(f"{name}-{number}", "MainProcess", "exited", 0) for number in (1, 2)))
    return Way(_POOL.replace("METHOD", method), processes, _script, "child.py", _TASKS)


_WORK = """
import multiprocessing, os, subprocess, sys
from truth import say

def work(names):
    name, *below = names
    say("alive", name)
    if below:
        process = multiprocessing.Process(target=work, args=(below,), name=below[0])
        process.start()
        process.join()
        say("reaped", below[0])
    say("last", name)
    sys.exit(3)

def work_by_subprocess():
    say("alive", "worker")
    subprocess.run([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")])
    say("reaped", "child.py")
    say("last", "worker")
    sys.exit(3)
"""


def _workers(method: str, *names: str) -> Way:
    parents = ("MainProcess", *names)
    processes = (MAIN, *(Ended(name, parent, "exited", 3) for name, parent in zip(names, parents[:-1], strict=True)))
    body = f"""
multiprocessing.set_start_method("{method}")
process = multiprocessing.Process(target=work, args=({names!r},), name="{names[0]}")
process.start()
process.join()
ended("{names[0]}", process.exitcode)
"""
    return Way(body, processes, _script, "child.py", _WORK)


def _worker_with_program(method: str) -> Way:
    processes = (MAIN, Ended("worker", "MainProcess", "exited", 3), Ended("child.py", "worker", "exited", 3))
    body = f"""
multiprocessing.set_start_method("{method}")
process = multiprocessing.Process(target=work_by_subprocess, name="worker")
process.start()
process.join()
ended("worker", process.exitcode)
"""
    return Way(body, processes, _script, "child.py", _WORK)


#: Every way of start-up after which a process must be in the trace, named, with parent, end and status, each time.
WAYS: dict[str, Way] = {
    "list": _run('[PYTHON, "child.py"]'),
    "shell string": _run('f"exec {PYTHON} child.py", shell=True'),
    "shell between": Way(
        "subprocess.run(f'{PYTHON} child.py; exit 7', shell=True)",
        (MAIN, Ended(SHELL, "MainProcess", "exited", 7), Ended("child.py", SHELL, "ended")),
        _script,
        "child.py",
    ),
    "env python": _run('["env", f"PATH={os.path.dirname(PYTHON)}:{os.environ[\'PATH\']}", "python", "child.py"]'),
    "-I": _run('[PYTHON, "-I", "child.py"]'),
    "-E": _run('[PYTHON, "-E", "child.py"]'),
    "-I -X dev -W error": _run('[PYTHON, "-I", "-X", "dev", "-Werror", "-W", "error", "child.py"]'),
    "-B -s -u in one word": _run('[PYTHON, "-Bsu", "child.py"]'),
    "-OO": _run('[PYTHON, "-OO", "child.py", "-c", "argument"]'),
    "console script": _run('["./tool"]', "tool", _console_script),
    "-m": _run('[PYTHON, "-m", "package.child"]', "-m package.child", _module),
    "-m in one word": _run('[PYTHON, "-mpackage.child"]', "-m package.child", _module),
    "-c": _run('[PYTHON, "-c", open("child.py").read()]', "python -c"),
    "-Ic": _run('[PYTHON, "-Ic", open("child.py").read()]', "python -c"),
    "stdin": _run('[PYTHON], stdin=open("child.py")', "python"),
    "-": _run('[PYTHON, "-", "argument"], stdin=open("child.py")', "python"),
    "zipapp": _run('[PYTHON, "app.pyz"]', "app.pyz", _zip),
    "folder": _run('[PYTHON, "app/"]', "app", _folder),
    "another working folder": _run('[PYTHON, "../child.py"], cwd="elsewhere"', "child.py", _elsewhere),
    "nothing but the session in the environment": _run(
        '[PYTHON, "child.py"], env={"CONCTRACE_SESSION": os.environ["CONCTRACE_SESSION"]}'
    ),
    "closed descriptors": _run('[PYTHON, "child.py"], close_fds=True, stdin=-3, stdout=-3, stderr=-3'),
    "a session of its own": _run('[PYTHON, "child.py"], start_new_session=True'),
    "nested virtual environment": _run('["nested/bin/python", "child.py"]', "child.py", nested),
    "posix_spawn": _started(f'pid = os.posix_spawn(PYTHON, [PYTHON, "child.py"], os.environ)\n{_WAITED}'),
    "spawnv": Way(
        f'{_AT_FORK}\nended("child.py", os.spawnv(os.P_WAIT, PYTHON, [PYTHON, "child.py"]))',
        (MAIN, _FORKED, Ended("child.py", "MainProcess", "exited", 3)),
        _script,
        "child.py",
    ),
    "exec": Way(
        f'pid = os.fork()\nif pid == 0:\n    say("alive", "Fork-1")\n    os.execv(PYTHON, [PYTHON, "child.py"])\n{_WAITED}',
        (MAIN, _FORKED, Ended("child.py", "MainProcess", "exited", 3)),
        _script,
        "child.py",
    ),
    "spawn": _workers("spawn", "worker"),
    "spawn's children": _workers("spawn", "worker", "below"),
    "forkserver": _workers("forkserver", "worker"),
    "forkserver's children": _workers("forkserver", "worker", "below"),
    "a program from spawn": _worker_with_program("spawn"),
    "a program from forkserver": _worker_with_program("forkserver"),
    "ProcessPoolExecutor by fork": _executor("fork", "ForkProcess"),
    "ProcessPoolExecutor by spawn": _executor("spawn", "SpawnProcess"),
    "ProcessPoolExecutor by forkserver": _executor("forkserver", "ForkServerProcess"),
}
