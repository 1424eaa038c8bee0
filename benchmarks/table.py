"""The figures as Markdown: how far the targets are met, then one table for each kind of figure."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from . import figures
from .tools import BARE, CONCTRACE, VIZTRACER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .figures import Figure
    from .measure import Sample, Series

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_NONE = "–"
#: heads of what `_beside_bare` says of conctrace and of viztracer
_BESIDE_BARE = ("conctrace adds", "conctrace : bare", "viztracer adds", "viztracer : bare")


def markdown(all_series: Sequence[Series], pairs: int, scale: float, load: float) -> str:
    """All tables."""
    parts = (
        _machine(pairs, scale, load),
        _targets(all_series),
        _operations(all_series),
        _commands(all_series),
        _resources(all_series),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def put_into(path: str, text: str) -> None:
    """Replaces what stands between the marks of a file that has them; otherwise the file is the text."""
    written = f"{BEGIN}\n\n{text}\n{END}\n"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.read()
        before, begin, rest = old.partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            written = before + written.rstrip("\n") + after
    with open(path, "w", encoding="utf-8") as file:
        file.write(written)


def _machine(pairs: int, scale: float, load: float) -> str:
    rounds = "1 round" if pairs == 1 else f"{pairs} rounds"
    if scale != 1:
        rounds += f" of {scale:g} times the usual counts"
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; {rounds}; "
        f"load average at the start {load:.2f}."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _targets(all_series: Sequence[Series]) -> str:
    rows = [row for series in all_series for row in _target_rows(series)]
    head = ("added by conctrace to", "Python", "figure", "target", "")
    return _table("Targets", head, rows)


def _target_rows(series: Series) -> Iterable[tuple[str, ...]]:
    name, target = series.workload.name, series.workload.target_ns
    if target is None:
        return
    operation = series.workload.operation
    added = _added(series, CONCTRACE, _per_operation if operation else _wall)
    what = f"`{name}`: one {operation}" if operation else f"`{name}`: the whole command"
    met = "met" if added.median <= target else "**missed**"
    limit = figures.time(figures.median([target]))
    yield what, series.python.minor, figures.time(added), f"≤ {limit}", met
    if operation:
        pair = figures.Figure(*(2 * each for each in added))
        yield f"`{name}`: the pair", series.python.minor, figures.time(pair), "", ""


def _operations(all_series: Sequence[Series]) -> str:
    head = ("workload", "one", "Python", "bare", *_BESIDE_BARE)
    rows = [_operation_row(series) for series in all_series if series.workload.operation]
    return _table("One operation, by the program's own clock", head, rows)


def _operation_row(series: Series) -> list[str]:
    bare = figures.figure(_values(series, BARE, _per_operation))
    row = [f"`{series.workload.name}`", series.workload.operation, series.python.minor, figures.time(bare)]
    return row + [cell for tool in (CONCTRACE, VIZTRACER) for cell in _beside_bare(series, tool, _per_operation)]


def _commands(all_series: Sequence[Series]) -> str:
    head = ("workload", "Python", "bare", "bare : bare", *_BESIDE_BARE)
    return _table("The whole command, from outside", head, map(_command_row, all_series))


def _command_row(series: Series) -> list[str]:
    bare = _values(series, BARE, _wall)
    noise = figures.noise(bare)
    row = [f"`{series.workload.name}`", series.python.minor, figures.time(figures.figure(bare))]
    row.append(figures.ratio(noise) if noise else _NONE)
    return row + [cell for tool in (CONCTRACE, VIZTRACER) for cell in _beside_bare(series, tool, _wall)]


def _resources(all_series: Sequence[Series]) -> str:
    head = (
        "workload", "Python", "`.ctrace`", "`.json`", "viztracer's `.json`",
        "peak: bare", "conctrace", "viztracer", "CPU time: bare", "conctrace", "viztracer",
    )  # fmt: skip
    return _table("Files, memory, CPU time", head, map(_resource_row, all_series))


def _resource_row(series: Series) -> list[str]:
    def size(tool: str, extension: str) -> str:
        return _middle(series, tool, lambda sample: sample.sizes.get(extension, 0), figures.size)

    tools = (BARE, CONCTRACE, VIZTRACER)
    return [
        f"`{series.workload.name}`",
        series.python.minor,
        *(size(CONCTRACE, ".ctrace"), size(CONCTRACE, ".json"), size(VIZTRACER, ".json")),
        *(_middle(series, tool, lambda sample: sample.peak_bytes, figures.size) for tool in tools),
        *(_middle(series, tool, lambda sample: sample.cpu_ns, figures.time) for tool in tools),
    ]


def _wall(sample: Sample) -> float:
    return sample.wall_ns


def _per_operation(sample: Sample) -> float:
    return sample.loop_ns / sample.operations


def _values(series: Series, tool: str, value: Callable[[Sample], float]) -> list[float]:
    return [value(sample) for sample in series.samples[tool]]


def _added(series: Series, tool: str, value: Callable[[Sample], float]) -> Figure:
    return figures.differences(_values(series, BARE, value), _values(series, tool, value))


def _beside_bare(series: Series, tool: str, value: Callable[[Sample], float]) -> tuple[str, str]:
    """What the tool adds to this time, and how many times the bare time it is."""
    if tool not in series.samples:
        return _NONE, _NONE
    ratio = figures.ratios(_values(series, BARE, value), _values(series, tool, value))
    return figures.time(_added(series, tool, value)), figures.ratio(ratio)


def _middle(series: Series, tool: str, value: Callable[[Sample], float], write: Callable[[Figure], str]) -> str:
    return write(figures.median(_values(series, tool, value))) if tool in series.samples else _NONE


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table below its title; nothing for one without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    top = [f"### {title}", "", f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join(top + lines) if lines else ""
