"""However a Python is started, it is in the trace: name, parent, start, end and status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.soak import repeat
from tests.support.ways import WAYS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.run import Runner


@pytest.mark.parametrize("way", WAYS)
def test_a_python_is_in_the_trace_however_it_was_started(way: str, runner: Runner) -> None:
    WAYS[way](runner, 0)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_a_python_is_in_the_trace_however_it_was_started_50_of_50_times(way: str, tmp_path: Path) -> None:
    assert repeat(WAYS[way], 50, tmp_path) == []
