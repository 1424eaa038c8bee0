"""Who waited for a lock learns who had it, from where, and which release let it through.

That a wait ends when the program itself says so is a matter of microseconds, or of milliseconds when the machine is busy with something
else. So it is asked of most runs, by the slow test, and not of a single one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.soak import contended, contended_and_close, repeat

if TYPE_CHECKING:
    from pathlib import Path


def test_each_wait_names_lock_holder_and_both_places(tmp_path: Path) -> None:
    assert repeat(contended, 3, tmp_path) == []


@pytest.mark.slow
@pytest.mark.soak
def test_45_of_50_times_a_wait_ends_within_2_ms_of_the_programs_own_stamp(tmp_path: Path) -> None:
    failures = repeat(contended_and_close, 50, tmp_path)
    assert len(failures) <= 5, failures
    assert not [failure for failure in failures if not failure.endswith(" ns")]
