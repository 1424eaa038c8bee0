"""The figures as Markdown: how far the targets are met, then one table for each kind of figure."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, NamedTuple

from . import figures
from .tools import BARE, RECORDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .figures import Figure
    from .measure import Sample, Series
    from .workloads import Target

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_NONE = "–"


def markdown(all_series: Sequence[Series], pairs: int, scale: float, load: float) -> str:
    """All tables; `load` is the load average before it all began."""
    parts = (
        _machine(pairs, scale, load, max(max(series.loads, default=0) for series in all_series)),
        _targets(all_series),
        _operations(all_series),
        _commands(all_series),
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


def _machine(pairs: int, scale: float, before: float, during: float) -> str:
    rounds = "1 round" if pairs == 1 else f"{pairs} rounds"
    if scale != 1:
        rounds += f" of {scale:g} times the usual counts"
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; {rounds}; "
        f"load average {before:.2f} before, at most {during:.2f} during."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


class Kind(NamedTuple):
    """One kind of figure that a target is set for."""

    says: str
    #: of the bare rounds and the traced ones
    figure: Callable[[Sequence[Sample], Sequence[Sample]], Figure]
    write: Callable[[Figure], str]


def _operation(samples: Sequence[Sample]) -> list[float]:
    return [sample.per_operation for sample in samples]


def _wall(samples: Sequence[Sample]) -> list[float]:
    return [sample.wall_ns for sample in samples]


FIGURES = {
    "ratio": Kind(
        "one operation : bare",
        lambda bare, traced: figures.ratios(_operation(bare), _operation(traced)), figures.ratio,
    ),
    "adds": Kind(
        "added to one operation",
        lambda bare, traced: figures.differences(_operation(bare), _operation(traced)), figures.time,
    ),
    "command": Kind(
        "added to the whole command",
        lambda bare, traced: figures.differences(_wall(bare), _wall(traced)), figures.time,
    ),
    "trace": Kind(
        "size of the trace",
        lambda _, traced: figures.figure([sample.sizes[".ctrace"] for sample in traced]), figures.size,
    ),
    "grown": Kind(
        "memory grown meanwhile",
        lambda _, traced: figures.figure([sample.said["grown"] for sample in traced]), figures.size,
    ),
}  # fmt: skip


def _targets(all_series: Sequence[Series]) -> str:
    rows = [
        _target_row(series, name, target)
        for series in all_series
        for target in series.workload.targets
        for name, tool in RECORDERS.items()
        if tool.name in series.samples and target.recorder in {"", name}
    ]
    return _table("Targets", ("workload", "Python", "recorder", "what", "figure", "target", ""), rows)


def _target_row(series: Series, recorder: str, target: Target) -> list[str]:
    kind = FIGURES[target.figure]
    found = kind.figure(*_pairs(series, RECORDERS[recorder].name))
    limit = kind.write(figures.median([target.limit]))
    row = [f"`{series.workload.name}`", series.python.minor, recorder, kind.says, kind.write(found)]
    return [*row, f"≤ {limit}", _verdict(found, target.limit)]


def _verdict(found: Figure, limit: float) -> str:
    """By the median; "barely" when other rounds might have said the opposite."""
    met = "met" if found.median <= limit else "**missed**"
    return met if (found.low <= limit) == (found.high <= limit) else f"{met}, barely"


def _operations(all_series: Sequence[Series]) -> str:
    rows = [row for series in all_series if series.workload.operation for row in _operation_rows(series)]
    head = ("workload", "one", "Python", "under", "takes", "adds", ": bare")
    return _table("One operation, by the program's own clock", head, rows)


def _operation_rows(series: Series) -> Iterator[list[str]]:
    write = _instructions if series.workload.counted else figures.time
    for tool in series.samples:
        bare, under = map(_operation, _pairs(series, tool))
        row = [f"`{series.workload.name}`", series.workload.operation, series.python.minor, tool]
        row.append(write(figures.figure(under)))
        if tool == BARE.name:
            yield [*row, _NONE, _noise(bare)]
        else:
            yield [*row, write(figures.differences(bare, under)), figures.ratio(figures.ratios(bare, under))]


def _instructions(value: Figure) -> str:
    return f"{figures.count(value)} instr."


def _commands(all_series: Sequence[Series]) -> str:
    # What valgrind takes is of no interest.
    rows = [row for series in all_series if not series.workload.counted for row in _command_rows(series)]
    head = ("workload", "Python", "under", "takes", ": bare", "CPU time", "peak", "`.ctrace`", "`.json`")
    return _table("The whole command, from outside", head, rows)


def _command_rows(series: Series) -> Iterator[list[str]]:
    for tool, samples in series.samples.items():
        bare, under = map(_wall, _pairs(series, tool))
        yield [
            *(f"`{series.workload.name}`", series.python.minor, tool, figures.time(figures.figure(under))),
            _noise(bare) if tool == BARE.name else figures.ratio(figures.ratios(bare, under)),
            figures.time(figures.median([sample.cpu_ns for sample in samples])),
            figures.size(figures.median([sample.peak_bytes for sample in samples])),
            *(_file(samples, extension) for extension in (".ctrace", ".json")),
        ]


def _file(samples: Sequence[Sample], extension: str) -> str:
    sizes = [sample.sizes[extension] for sample in samples if extension in sample.sizes]
    return figures.size(figures.median(sizes)) if sizes else _NONE


def _noise(bare: Sequence[float]) -> str:
    noise = figures.noise(bare)
    return figures.ratio(noise) if noise else _NONE


def _pairs(series: Series, tool: str) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The rounds under this tool, and the bare ones of the same rounds before them."""
    under = series.samples[tool]
    return series.samples[BARE.name][: len(under)], under


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table below its title; nothing for one without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    top = [f"### {title}", "", f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join(top + lines) if lines else ""
