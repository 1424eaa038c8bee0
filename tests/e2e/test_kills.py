"""What was recorded survives SIGKILL: of the program at any moment, and of the collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.soak import collector_killed, killed_at_random, kills, repeat

if TYPE_CHECKING:
    from pathlib import Path


def test_no_span_is_lost_when_the_program_is_killed(tmp_path: Path) -> None:
    assert repeat(killed_at_random, 10, tmp_path) == []


def test_a_program_whose_collector_is_killed_ends_as_without_us_and_can_be_recovered(tmp_path: Path) -> None:
    assert repeat(collector_killed, 2, tmp_path) == []


def test_what_killed_threads_had_done_held_and_waited_for_is_told(tmp_path: Path) -> None:
    assert repeat(lambda runner, number: kills(runner, number, 24), 2, tmp_path) == []


@pytest.mark.slow
@pytest.mark.soak
def test_what_the_threads_of_200_killed_processes_had_done_held_and_waited_for_is_told(tmp_path: Path) -> None:
    assert repeat(kills, 4, tmp_path, first=1000) == []


@pytest.mark.slow
@pytest.mark.soak
def test_no_span_is_lost_in_200_kills(tmp_path: Path) -> None:
    assert repeat(killed_at_random, 200, tmp_path, first=1000) == []


@pytest.mark.slow
@pytest.mark.soak
def test_50_killed_collectors_can_be_recovered_from(tmp_path: Path) -> None:
    assert repeat(collector_killed, 50, tmp_path, first=1000) == []
