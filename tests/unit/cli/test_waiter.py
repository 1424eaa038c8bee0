"""How the waiter dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def status_of(code: str, folder: Path) -> int:
    """The wait status of a Python that runs this with core files allowed."""
    allow_core = 'ulimit -c unlimited; exec "$@"'
    process = subprocess.Popen(["sh", "-c", allow_core, "-", sys.executable, "-c", code], cwd=folder)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0
    return status


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL])
def test_it_dies_by_the_signal_and_leaves_no_core(tmp_path: Path, number: signal.Signals) -> None:
    status = status_of(f"from conctrace.cli.waiter import die_by; die_by({int(number)})", tmp_path)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == number
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_a_core_would_have_been_left(tmp_path: Path) -> None:
    """Otherwise the test above tells nothing."""
    if not os.WCOREDUMP(status_of("import os; os.abort()", tmp_path)):
        pytest.skip("this machine writes no core files")
