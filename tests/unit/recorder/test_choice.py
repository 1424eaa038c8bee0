"""Which recorder a process takes, and that it loads nothing of the other."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from conctrace import recorder as recorders
from conctrace.recorder import python
from conctrace.settings import RECORDER_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.recording import Session


class Native:
    """Stands in for the native recorder's class."""


@pytest.mark.parametrize(("choice", "expected"), [(None, Native), ("native", Native), ("python", python.Recorder)])
def test_the_native_one_is_taken_where_it_is_there_and_the_twin_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, choice: str | None, expected: type
) -> None:
    monkeypatch.setattr(recorders, "native", SimpleNamespace(Recorder=Native), raising=False)
    if choice is None:
        monkeypatch.delenv(RECORDER_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(RECORDER_VARIABLE, choice)
    assert recorders._chosen() is expected


@pytest.mark.parametrize("choice", ["", "native"])
def test_without_the_native_module_it_is_the_twin(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.delattr(recorders, "native", raising=False)
    monkeypatch.delitem(sys.modules, "conctrace.recorder.native", raising=False)
    monkeypatch.delattr(recorders, "_recorder", raising=False)
    monkeypatch.setitem(sys.modules, "conctrace.recorder._recorder", None)
    monkeypatch.setenv(RECORDER_VARIABLE, choice)
    assert recorders._chosen() is python.Recorder


#: Starts a session with a native recorder that only counts what is asked of it; says what was loaded.
WITH_A_STAND_IN = """
import _thread, os, sys
loaded_before = set(sys.modules)
def ask(name):
    return lambda *arguments: asked.append(name)
asked = []
names = "emit announce before_fork finalizes".split()
stand_in = type("Recorder", (), {**{name: ask(name) for name in names}, "alive": True, "epoch": 1, "lock_type": object})
stand_in.__init__ = lambda self, folder, role: asked.append((folder, role))
stand_in.new_lock = lambda self, frame, make=_thread.allocate_lock: make()  # asked by the import system
stand_in.stand_in = lambda self, original, place, in_python: type("Call", (), {"__conctrace__": place, "__call__": staticmethod(original)})()
module = type(sys)("conctrace.recorder._recorder")
module.Recorder = stand_in
sys.modules[module.__name__] = module
from conctrace import recorder
from conctrace.session.process import start
start("/nowhere", 1)
assert recorder.current.name == "native"
assert asked == [("/nowhere", 1), "announce"], asked
assert (os.fork.__conctrace__, _thread.allocate.__conctrace__) == ("os:fork", "_thread:allocate")
recorder.current = None
loaded = set(sys.modules) - loaded_before
ours = ("conctrace.recorder.", "conctrace.patches.", "conctrace.events.")
print(*sorted(name for name in loaded if name.startswith(ours) or not name.startswith("conctrace")))
"""


def test_a_start_with_the_native_one_loads_nothing_of_the_twin_and_little_of_the_standard_library(
    tmp_path: Path,
) -> None:
    environment = {"PATH": "/usr/bin:/bin", RECORDER_VARIABLE: "native"}
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_STAND_IN],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) <= {
        *(f"conctrace.recorder.{name}" for name in ("_recorder", "native", "shared")),
        "conctrace.patches.patchset",
        "__future__", "atexit",
    }  # fmt: skip


def test_each_recorder_has_the_whole_interface(session: Session) -> None:
    """What mypy cannot see of a C type."""
    del session
    recorder = recorders.current
    shared = [name for name in vars(python.Recorder) if not name.startswith("_")]
    of_the_twin = {"local", "live", "session", "sites", "wipe", "store", "state", "reopen_in_child", "take_entry", "give_entry",
                   "thread_gone"}  # fmt: skip
    missing = [name for name in shared if name not in of_the_twin and not hasattr(recorder, name)]
    assert missing == []
