"""CPython's own tests come out under conctrace as they do bare; `scripts/cpython-tests` runs more of them."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import cpython_suite
from tests.support.cpython_suite import RECORDING, WHOLE, compare, run_module

if TYPE_CHECKING:
    from pathlib import Path

needs_tests = pytest.mark.skipif(
    importlib.util.find_spec("test.test_thread") is None, reason="this Python has no tests of CPython's"
)


@needs_tests
@pytest.mark.slow
@pytest.mark.parametrize("module", ["test_thread", "test_fork1"])
def test_cpythons_own_tests_come_out_as_bare(tmp_path: Path, module: str) -> None:
    compared = run_module(sys.executable, module, tmp_path)
    assert compared.differences == []
    assert compared.count("passed") >= 3
    assert module != "test_thread" or min(compared.recorded) > 20


@needs_tests
def test_a_module_is_run_bare_and_recorded(tmp_path: Path) -> None:
    compared = run_module(sys.executable, "test_threading_local", tmp_path, bare_runs=1)
    assert compared.differences == []
    assert compared.count("passed") >= 5
    assert compared.recorded.threads > 3
    assert compared.traced[RECORDING] == ("whole",)


@needs_tests
def test_what_comes_out_otherwise_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not there is the same bare and traced; a recorder that gave up is a difference."""
    (tmp_path / "test").mkdir()
    module = "test_which_is_not_there"
    compared = run_module(sys.executable, module, tmp_path / "test", bare_runs=1)
    assert compared.differences == []
    assert compared.bare[WHOLE] != ("exit 0",)
    monkeypatch.setattr(cpython_suite, "_recording", lambda _: "switched off: why")
    (tmp_path / "off").mkdir()
    compared = run_module(sys.executable, module, tmp_path / "off", bare_runs=1)
    assert compared.differences == [f"{module}: {RECORDING}: whole bare, switched off: why under conctrace"]


def test_tests_that_come_out_otherwise_are_told_and_those_that_do_so_by_themselves_are_set_apart() -> None:
    passed, failed, skipped = ("passed",), ("failed",), ("skipped",)
    steady = {"a": passed, "b": failed, "c": skipped, "d": passed, "": passed, "twice": ("failed", "passed")}
    bare = [{**steady, "chance": passed}, {**steady, "chance": failed}, {**steady, "chance": passed}]
    traced = {
        "a": passed,
        "b": passed,
        "c": failed,
        "": passed,
        "new": passed,
        "twice": ("passed", "passed"),
        "chance": failed,
    }
    compared = compare("m", bare, traced)
    assert compared.differences == [
        "m: b: failed bare, passed under conctrace",
        "m: c: skipped bare, failed under conctrace",
        "m: d: passed bare, not run under conctrace",
        "m: new: not run bare, passed under conctrace",
        "m: twice: failed, passed bare, passed, passed under conctrace",
    ]
    assert compared.unsteady == {"chance": [passed, failed, passed]}
    assert [compared.count(outcome) for outcome in ("passed", "failed", "skipped")] == [4, 2, 1]
