"""The benchmarks: their arithmetic, their tables, and that they run; how fast anything is, no test says."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import figures, table
from benchmarks.measure import BenchmarkError, Python, Sample, Series, check
from benchmarks.tools import BARE, CONCTRACE, TOOLS, VIZTRACER
from benchmarks.workloads import WORKLOADS, named

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LOCK = named(["lock"])[0]
EMPTY = named(["empty"])[0]
WHOLE = {"complete": True, "lost": [], "holds": 10, "hold_ns": 500}


def sample(wall_ns: int, loop_ns: int = 0, operations: int = 0) -> Sample:
    return Sample(wall_ns, cpu_ns=1, peak_bytes=1, loop_ns=loop_ns, operations=operations, sizes={".json": 2})


def test_a_difference_is_the_median_of_the_rounds_not_the_difference_of_medians() -> None:
    bare, traced = [1.0, 2.0, 9.0], [2.0, 7.0, 9.0]
    assert figures.differences(bare, traced).median == 1.0
    assert figures.median(traced).median - figures.median(bare).median == 5.0


def test_a_figure_has_the_quartiles_of_the_rounds_beside_it() -> None:
    assert figures.figure([5, 1, 4, 2, 3]) == (3, 2, 4)
    assert figures.figure([7]) == (7, 7, 7)


def test_noise_is_each_round_against_the_next() -> None:
    noise = figures.noise([1.0, 2.0, 2.0])
    assert noise is not None
    assert noise.median == 1.5
    assert figures.noise([1.0]) is None


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0.00 ns"), (12.34, "12.3 ns"), (1500, "1.50 µs"), (-2_000_000, "−2.00 ms"), (123.4e9, "123 s")],
)
def test_times_have_three_digits_and_a_unit(value: float, written: str) -> None:
    assert figures.time(figures.median([value])) == written


def test_bounds_are_in_the_unit_of_the_median() -> None:
    assert figures.time(figures.Figure(1_000, 900, 1_100)) == "1.00 µs (0.90–1.10)"
    assert figures.ratio(figures.Figure(2, 1.5, 2.5)) == "2.00× (1.50–2.50)"


def test_tables_say_what_is_added_and_whether_that_meets_the_target() -> None:
    lock = Series(LOCK, Python("python", "3.12.1", TOOLS), 1)
    lock.samples = {BARE: [sample(10, 40, 2)], CONCTRACE: [sample(30, 2_040, 2)], VIZTRACER: [sample(20, 60, 2)]}
    empty = Series(EMPTY, Python("python", "3.12.1", TOOLS[:2]), 0)
    empty.samples = {BARE: [sample(10_000_000)], CONCTRACE: [sample(210_000_000)]}
    text = table.markdown([lock, empty], 1, 0.5, 0.0)
    assert "1 round of 0.5 times the usual counts" in text
    assert "| `lock`: one acquire or release | 3.12 | 1.00 µs | ≤ 1.50 µs | met |" in text
    assert "| `lock`: the pair | 3.12 | 2.00 µs |" in text
    assert "| `empty`: the whole command | 3.12 | 200 ms | ≤ 120 ms | **missed** |" in text
    assert "| `lock` | acquire or release | 3.12 | 20.0 ns | 1.00 µs | 51.0× | 10.0 ns | 1.50× |" in text
    assert "| `empty` | 3.12 | 10.0 ms | – | 200 ms | 21.0× | – | – |" in text


def test_only_what_is_between_the_marks_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cost.md"
    path.write_text(f"before\n\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.put_into(str(path), "new\n")
    table.put_into(str(path), "newer\n")
    assert path.read_text() == f"before\n\n{table.BEGIN}\n\nnewer\n\n{table.END}\nafter\n"


def test_a_right_trace_counts() -> None:
    check(LOCK, 10, sample(2_000, 1_000, 20), WHOLE)


@pytest.mark.parametrize(
    "wrong",
    [{"holds": 9}, {"complete": False}, {"lost": ["process 1: 3 records …"]}, {"hold_ns": 1_001}, {"hold_ns": 0}],
    ids=str,
)
def test_a_run_with_a_wrong_trace_does_not_count(wrong: dict[str, object]) -> None:
    with pytest.raises(BenchmarkError):
        check(LOCK, 10, sample(2_000, 1_000, 20), {**WHOLE, **wrong})


def test_names_of_workloads_are_unique_and_their_programs_there() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
    assert all(os.path.exists(workload.command(1)[0]) for workload in WORKLOADS)


def test_a_scaled_run_has_at_least_one_operation() -> None:
    assert [LOCK.scaled(1), LOCK.scaled(1e-9), EMPTY.scaled(3)] == [1_000_000, 1, 0]
    assert dataclasses.replace(LOCK, size=10).expected(3) == {"holds": 3}


@pytest.mark.slow
def test_every_workload_runs_with_every_tool(tmp_path: Path) -> None:
    page = tmp_path / "cost.md"
    command = [sys.executable, "-m", "benchmarks", "--pairs", "1", "--scale", "0.002", "--markdown", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    written = page.read_text()
    assert all(f"| `{workload.name}` |" in written for workload in WORKLOADS)
    assert done.stdout in written
