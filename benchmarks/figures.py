"""Medians with their interval, and how they are written.

A figure stands for several rounds: the median, and in brackets an interval that holds the true median with at least 95 %
probability, whatever the distribution is like. It reaches from one of the sorted rounds to the one as far from the other end,
of thirty from the tenth to the twenty-first: each round is below the true median with probability ½, as a coin falls. Fewer than
six rounds cannot say as much; their interval is all that was seen.

Differences and ratios are taken round by round, between runs that came one after the other, and the median is of those: what
slows the machine down for a minute then slows both.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95


class Figure(NamedTuple):
    """A median and the ends of its interval."""

    median: float
    low: float
    high: float


def figure(values: Sequence[float]) -> Figure:
    """The figure of some rounds, at least one."""
    ordered = sorted(values)
    beyond = _beyond(len(ordered))
    return Figure(statistics.median(ordered), ordered[beyond], ordered[-1 - beyond])


def _beyond(rounds: int) -> int:
    """How many rounds may lie on either side of the interval: as many as leave it its confidence."""
    missed, count = 0.0, 0
    while (missed := missed + math.comb(rounds, count) / 2**rounds) <= (1 - CONFIDENCE) / 2:
        count += 1
    return max(0, count - 1)


def median(values: Sequence[float]) -> Figure:
    """The median alone, for what need not be known better."""
    middle = statistics.median(values)
    return Figure(middle, middle, middle)


def differences(ones: Sequence[float], others: Sequence[float], divisor: float = 1) -> Figure:
    """How much more the others are, round by round."""
    return figure([(other - one) / divisor for one, other in zip(ones, others, strict=True)])


def ratios(ones: Sequence[float], others: Sequence[float]) -> Figure:
    """How many times the ones the others are, round by round."""
    return figure([other / one for one, other in zip(ones, others, strict=True)])


def noise(values: Sequence[float]) -> Figure | None:
    """The same thing measured twice: each round against the next. None for a single round."""
    return ratios(values[:-1], values[1:]) if len(values) > 1 else None


#: units of time and of size: name, how many of the basic unit
_TIMES = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))
_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))


def time(value: Figure) -> str:
    """Nanoseconds in a unit that suits them."""
    return _scaled(value, _TIMES)


def size(value: Figure) -> str:
    """Bytes in a unit that suits them."""
    return _scaled(value, _SIZES)


def count(value: Figure) -> str:
    """A number of things."""
    return _with_bounds(value, 1, "")


def ratio(value: Figure) -> str:
    """How many times."""
    return _with_bounds(value, 1, "×")


def _scaled(value: Figure, units: tuple[tuple[str, float], ...]) -> str:
    name, unit = next((each for each in units if abs(value.median) >= each[1]), units[-1])
    return _with_bounds(value, unit, f" {name}")


def _with_bounds(value: Figure, unit: float, suffix: str) -> str:
    median, low, high = (_three_digits(each / unit) for each in value)
    return f"{median}{suffix}" if low == high else f"{median}{suffix} ({low}–{high})"


def _three_digits(value: float) -> str:
    """Three digits that matter, never an exponent."""
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")
