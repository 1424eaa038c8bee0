"""However a process ends, it is in the trace: name, parent, start, end, and the status or signal that a parent saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.soak import ENDINGS, repeat

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.run import Runner


@pytest.mark.parametrize("name", ENDINGS)
def test_a_process_is_in_the_trace_however_it_ends(name: str, runner: Runner) -> None:
    ENDINGS[name](runner, 0)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("name", ENDINGS)
def test_a_process_is_in_the_trace_however_it_ends_50_of_50_times(name: str, tmp_path: Path) -> None:
    assert repeat(ENDINGS[name], 50, tmp_path) == []
