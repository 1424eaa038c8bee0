"""The benchmarks: their arithmetic, their tables, and that they run; how fast anything is, no test says."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import figures, table, workloads
from benchmarks.measure import BenchmarkError, Python, Sample, Series, check, said, tools_of
from benchmarks.tools import BARE, RECORDERS, VIZTRACER
from benchmarks.workloads import WORKLOADS, named

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LOCK = named(["lock"])[0]
COUNTED = named(["contended_count"])[0]
EMPTY = named(["empty"])[0]
NATIVE, TWIN = RECORDERS["native"], RECORDERS["python"]
WHOLE = {
    "complete": True, "lost": [], "recorder": "native", "holds": 210, "hold_ns": 500, "timed_holds": 200, "timed_ns": 115,
}  # fmt: skip


def sample(wall_ns: int, ns: int = 0, operations: int = 0, **more: int) -> Sample:
    said = {"ns": ns, "operations": operations, **more}
    return Sample(wall_ns, cpu_ns=1, peak_bytes=1, said=said, sizes={".ctrace": 3, ".json": 2})


def locks(ns: int) -> Sample:
    return sample(ns, ns, 2, grown=0, held=100)


def test_a_difference_is_the_median_of_the_rounds_not_the_difference_of_medians() -> None:
    bare, traced = [1.0, 2.0, 9.0], [2.0, 7.0, 9.0]
    assert figures.differences(bare, traced).median == 1.0
    assert figures.median(traced).median - figures.median(bare).median == 5.0


@pytest.mark.parametrize(
    ("rounds", "low", "high"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (9, 2, 8), (12, 3, 10), (30, 10, 21)]
)
def test_a_figure_has_the_interval_of_its_median_beside_it(rounds: int, low: int, high: int) -> None:
    """The ranks that every table of the binomial distribution gives for 95 %."""
    assert figures.figure(range(rounds, 0, -1))[1:] == (low, high)


def test_ninety_five_of_a_hundred_intervals_hold_the_true_median() -> None:
    chance = random.Random(3)
    found = [figures.figure([chance.expovariate(1) for _ in range(30)]) for _ in range(2_000)]
    held = sum(low <= math.log(2) <= high for _, low, high in found) / len(found)
    assert 0.94 < held < 0.98


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
    lock = Series(LOCK, Python("python", "3.12.1", (BARE, NATIVE, TWIN, VIZTRACER)), 1, loads=[0.25, 1.5])
    lock.samples = {
        BARE.name: [locks(100), locks(200)], NATIVE.name: [locks(85), locks(170)], TWIN.name: [locks(4_100), locks(4_200)],
        VIZTRACER.name: [locks(150)],
    }  # fmt: skip
    empty = Series(EMPTY, Python("python", "3.12.1", (BARE, NATIVE)), 0)
    empty.samples = {BARE.name: [sample(10_000_000)], NATIVE.name: [sample(210_000_000)]}
    text = table.markdown([lock, empty], 2, 0.5, 0.125)
    assert "2 rounds of 0.5 times the usual counts; load average 0.12 before, at most 1.50 during." in text
    assert "| `lock` | 3.12 | native | one operation : bare | 0.85× | ≤ 0.90× | met |" in text
    assert "| `lock` | 3.12 | python | added to one operation | 2.00 µs | ≤ 1.50 µs | **missed** |" in text
    assert "| `lock` | 3.12 | python | one operation : bare |" not in text
    assert "| `empty` | 3.12 | native | added to the whole command | 200 ms | ≤ 120 ms | **missed** |" in text
    assert "| `lock` | acquire or release | 3.12 | bare | 75.0 ns (50.0–100) | – | 2.00× |" in text
    assert (
        "| `lock` | acquire or release | 3.12 | conctrace, native | 63.8 ns (42.5–85.0) | −11.2 ns (−15.0–−7.50) | 0.85× |"
        in text
    )
    assert "| `lock` | acquire or release | 3.12 | viztracer | 75.0 ns | 25.0 ns | 1.50× |" in text
    assert "| `empty` | 3.12 | conctrace, native | 210 ms | 21.0× | 1.00 ns | 1.00 B | 3.00 B | 2.00 B |" in text


@pytest.mark.parametrize(
    ("found", "verdict"),
    [((1, 0, 2), "met"), ((1, 0, 4), "met, barely"), ((4, 2, 5), "**missed**, barely"), ((5, 4, 6), "**missed**")],
)
def test_a_verdict_says_when_other_rounds_might_have_said_the_opposite(
    found: tuple[int, int, int], verdict: str
) -> None:
    assert table._verdict(figures.Figure(*found), 3) == verdict


def test_instructions_are_counted_where_time_is_not() -> None:
    counted = Series(COUNTED, Python("python", "3.12.1", (BARE, NATIVE)), 1)
    counted.samples = {
        BARE.name: [sample(1, 5, 10, instructions=10_000)],
        NATIVE.name: [sample(1, 5, 10, instructions=12_500)],
    }
    text = table.markdown([counted], 1, 1, 0)
    assert "| `contended_count` | 3.12 | native | one operation : bare | 1.25× | ≤ 1.10× | **missed** |" in text
    assert "| 3.12 | conctrace, native | 1,250 instr. | 250 instr. | 1.25× |" in text
    assert "The whole command" not in text


def test_only_what_is_between_the_marks_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cost.md"
    path.write_text(f"before\n\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.put_into(str(path), "new\n")
    table.put_into(str(path), "newer\n")
    assert path.read_text() == f"before\n\n{table.BEGIN}\n\nnewer\n\n{table.END}\nafter\n"


def test_programs_and_valgrind_say_what_was_done() -> None:
    output = "noise=1\noperations=20 ns=7 grown=0\n"
    assert said(output, "") == {"operations": 20, "ns": 7, "grown": 0}
    assert said(output, "==7== Collected : 85405592\n")["instructions"] == 85405592
    assert said("", "") == {}


def test_without_a_wish_it_is_the_recorder_that_conctrace_chooses() -> None:
    assert tools_of("python", ["conctrace", "viztracer", "native"], None) == (BARE, NATIVE, VIZTRACER)
    assert tools_of("python", ["conctrace"], None) == (BARE, TWIN)
    assert tools_of("python", ["conctrace", "native"], "both") == (BARE, NATIVE, TWIN)


@pytest.mark.parametrize(("names", "recorder"), [([], None), (["conctrace"], "native"), (["conctrace"], "both")])
def test_what_is_not_there_is_not_measured(names: list[str], recorder: str | None) -> None:
    with pytest.raises(BenchmarkError):
        tools_of("python", names, recorder)


def test_a_right_trace_counts() -> None:
    check(LOCK, 10, "native", sample(2_000, 1_000, 20, held=100), WHOLE)
    check(COUNTED, 2_000, "native", sample(1, 1_000, 20), {**WHOLE, "holds": 8_000, "waits": 2, "timed_ns": 0})


@pytest.mark.parametrize(
    "wrong",
    [
        {"holds": 209}, {"complete": False}, {"lost": ["process 1: 3 records …"]}, {"hold_ns": 1_001}, {"hold_ns": 0},
        {"recorder": "native and python"}, {"timed_holds": 199}, {"timed_ns": 121}, {"timed_ns": 79},
    ],
    ids=str,
)  # fmt: skip
def test_a_run_with_a_wrong_trace_does_not_count(wrong: dict[str, object]) -> None:
    with pytest.raises(BenchmarkError):
        check(LOCK, 10, "native", sample(2_000, 1_000, 20, held=100), {**WHOLE, **wrong})


def test_contention_without_a_wait_does_not_count() -> None:
    with pytest.raises(BenchmarkError, match="2 waits, and has 1"):
        check(COUNTED, 2_000, "native", sample(1, 1_000), {**WHOLE, "holds": 8_000, "waits": 1, "timed_ns": 0})


def test_names_of_workloads_are_unique_and_their_programs_there() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
    assert all(os.path.exists(workload.command(1)[0]) for workload in WORKLOADS)


def test_a_scaled_run_has_at_least_one_operation() -> None:
    assert [LOCK.scaled(1), LOCK.scaled(1e-9), EMPTY.scaled(3)] == [1_000_000, 1, 0]
    assert LOCK.expected(3) == {"holds": 203, "timed_holds": 200}


def test_what_takes_minutes_runs_only_when_asked_for() -> None:
    assert "lock_billion" not in {workload.name for workload in named([])}
    assert [workload.name for workload in named(["lock_billion"])] == ["lock_billion"]


@pytest.mark.parametrize("valgrind", [None, "/usr/bin/valgrind"])
def test_instructions_are_left_out_where_nothing_can_count_them(
    valgrind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "VALGRIND", valgrind)
    assert (COUNTED in named([])) == bool(valgrind)


def test_every_target_is_about_a_figure_that_is_in_the_tables() -> None:
    assert {target.figure for workload in WORKLOADS for target in workload.targets} == set(table.FIGURES)
    assert {target.recorder for workload in WORKLOADS for target in workload.targets} <= {"", *RECORDERS}


@pytest.mark.slow
def test_every_workload_runs_with_every_tool(tmp_path: Path) -> None:
    page = tmp_path / "cost.md"
    command = [sys.executable, "-m", "benchmarks", "--pairs", "1", "--scale", "0.002", "--markdown", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    written = page.read_text()
    assert all(f"| `{workload.name}` |" in written for workload in named([]))
    assert done.stdout in written
