"""The drawing: time from left to right, a lane for each thread, grouped by process.

Geometry only, in the units of the drawing's view box; the template turns it into SVG. A drawing of any trace stays
small and honest: waits nearer to each other than can be seen are drawn as one bar that says how many it stands for,
lanes and arrows beyond a limit are left out, and `Timeline.notes` says so.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import digest, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...model.trace import Arrow, Process, Thread, ThreadKey, Trace
    from ..places import Places

WIDTH = 1000
LABELS = 176
RIGHT = 14
AXIS = 26
PROCESS_HEIGHT = 24
LANE_HEIGHT = 22
BAR_TOP, BAR_HEIGHT = 4, 11
STRIP_TOP, STRIP_HEIGHT = 16, 3

#: Between two bars that touch, so that they are seen as two.
GAP = 0.5

LANES = 60
BARS = 2500
ARROWS = 200
#: Arrows that say how the program is built come before those that say who waited for whom.
ARROW_ORDER = {"fork": 0, "start": 0, "end": 1, "release": 2}
TICK_STEPS = (1, 2, 5)
#: About so many characters of a label fit beside the lanes.
LABEL_LENGTH = 27


@dataclass
class Bar:
    """A stretch of a lane."""

    x: float
    width: float
    #: ``lock``, ``join``, ``hold`` or ``span``
    kind: str
    title: str


@dataclass
class Lane:
    """One thread."""

    y: float
    label: str
    title: str
    life: Bar
    bars: list[Bar] = field(default_factory=list)
    holds: list[Bar] = field(default_factory=list)
    #: where its process was killed, or None
    cross: float | None = None


@dataclass
class Group:
    """One process."""

    y: float
    label: str
    ending: str
    tone: str
    lanes: list[Lane] = field(default_factory=list)


@dataclass
class Tick:
    """A mark on the axis."""

    x: float
    label: str


@dataclass
class ArrowLine:
    """An arrow from lane to lane."""

    path: str
    name: str
    title: str


@dataclass
class Timeline:
    """The whole drawing."""

    height: float
    groups: list[Group]
    ticks: list[Tick]
    arrows: list[ArrowLine]
    #: what is not drawn or drawn together, one sentence each
    notes: list[str]
    kinds: set[str]
    width: int = WIDTH
    labels: int = LABELS
    right: int = RIGHT
    axis: int = AXIS


@dataclass
class _Stretch:
    """Several waits or holds that are drawn as one."""

    start: int
    end: int
    title: str
    count: int = 1
    total: int = 0


def timeline(trace: Trace, places: Places) -> Timeline:
    """The drawing of a trace."""
    return _Drawing(trace, places).timeline()


class _Drawing:
    def __init__(self, trace: Trace, places: Places) -> None:
        self.trace = trace
        self.places = places
        self.start = trace.facts.start
        self.length = max(1, trace.facts.end - trace.facts.start)
        self.scale = (WIDTH - LABELS - RIGHT) / self.length
        threads = self.in_tree_order()
        self.threads = threads[:LANES]
        self.hidden_lanes = len(threads) - len(self.threads)
        self.middles: dict[ThreadKey, float] = {}
        self.notes: list[str] = []

    def in_tree_order(self) -> list[Thread]:
        by_process: defaultdict[int, list[Thread]] = defaultdict(list)
        for thread in digest.shown_threads(self.trace):
            by_process[thread.key[0]].append(thread)
        return [thread for _, process in digest.tree(self.trace) for thread in by_process[process.key]]

    def timeline(self) -> Timeline:
        stretches = self.fitting()
        groups, height = self.groups(stretches)
        arrows = list(self.arrows())
        if self.hidden_lanes:
            self.notes.insert(0, f"{words.many(self.hidden_lanes, 'more thread')} not drawn; the table below has more.")
        kinds = {bar.kind for group in groups for lane in group.lanes for bar in lane.bars + lane.holds}
        return Timeline(height + 8, groups, list(self.ticks()), arrows, self.notes, kinds)

    def x(self, time: int) -> float:
        inside = min(max(time - self.start, 0), self.length)
        return round(LABELS + inside * self.scale, 1)

    def bar(self, start: int, end: int, kind: str, title: str) -> Bar:
        x = self.x(start)
        return Bar(x, round(max(self.x(end) - x - GAP, 0.8), 1), kind, title)

    # Lanes -----------------------------------------------------------------------------------------------

    def groups(self, stretches: dict[tuple[ThreadKey, str], list[_Stretch]]) -> tuple[list[Group], float]:
        y: float = AXIS
        groups: list[Group] = []
        latest = None
        for thread in self.threads:
            process = self.trace.processes[thread.key[0]]
            if process.key != latest:
                latest = process.key
                groups.append(Group(y, words.process_label(process), words.ending(process.end), _tone(process)))
                y += PROCESS_HEIGHT
            groups[-1].lanes.append(self.lane(thread, process, y, stretches))
            self.middles[thread.key] = y + BAR_TOP + BAR_HEIGHT / 2
            y += LANE_HEIGHT
        return groups, y

    def lane(
        self, thread: Thread, process: Process, y: float, stretches: dict[tuple[ThreadKey, str], list[_Stretch]]
    ) -> Lane:
        end = digest.end_of_thread(self.trace, thread.key)
        title = f"{thread.name}: {words.duration(end - thread.start)}"
        lane = Lane(y, _fit(thread.name), title, self.bar(thread.start, end, "life", title))
        for kind in ("join", "lock", "span"):
            lane.bars += [self.drawn(piece, kind) for piece in stretches.get((thread.key, kind), ())]
        lane.holds = [self.drawn(piece, "hold") for piece in stretches.get((thread.key, "hold"), ())]
        if thread.is_main and process.end.how == "killed" and process.end.time is not None:
            lane.cross = self.x(process.end.time)
        return lane

    def drawn(self, piece: _Stretch, kind: str) -> Bar:
        if piece.count == 1:
            return self.bar(piece.start, piece.end, kind, piece.title)
        noun = {"hold": "hold", "span": "span"}.get(kind, "wait")
        title = f"{words.many(piece.count, noun)}, {words.duration(piece.total)} together"
        return self.bar(piece.start, piece.end, kind, title)

    # Waits and holds -------------------------------------------------------------------------------------

    def fitting(self) -> dict[tuple[ThreadKey, str], list[_Stretch]]:
        """Everything in the lanes, drawn together as far as needed to keep the page small."""
        pieces = self.pieces()
        gap = 0.4 / self.scale
        while True:
            merged = {key: _merge(found, gap) for key, found in pieces.items()}
            if sum(map(len, merged.values())) <= BARS:
                break
            gap *= 2
        together = sum(piece.count for found in merged.values() for piece in found if piece.count > 1)
        if together:
            near = words.duration(max(1, round(gap)))
            self.notes.append(f"Waits, holds and spans less than {near} apart are drawn as one ({together:,} of them).")
        return merged

    def pieces(self) -> dict[tuple[ThreadKey, str], list[_Stretch]]:
        shown = {thread.key for thread in self.threads}
        found: defaultdict[tuple[ThreadKey, str], list[_Stretch]] = defaultdict(list)
        for wait in self.trace.waits:
            if wait.thread in shown:
                end = digest.wait_end(self.trace, wait)
                kind = "lock" if wait.category == "lock" else "join"
                found[wait.thread, kind].append(self.stretch(wait.start, end, f"{wait.label}"))
        for hold in self.trace.holds:
            if hold.thread in shown:
                end = digest.end_of_thread(self.trace, hold.thread) if hold.end is None else hold.end
                name = words.title_of(self.trace, hold.object)
                found[hold.thread, "hold"].append(self.stretch(hold.start, end, f"{name} held"))
        for span in self.trace.spans:
            # Of a coroutine its steps are drawn; its whole life would lie over all else.
            if span.thread in shown and span.category == "span" and span.apart != "life":
                end = digest.span_end(self.trace, span)
                found[span.thread, "span"].append(self.stretch(span.start, end, span.name))
        return found

    def stretch(self, start: int, end: int, what: str) -> _Stretch:
        return _Stretch(start, end, f"{what}: {words.duration(max(0, end - start))}", 1, max(0, end - start))

    # Axis and arrows -------------------------------------------------------------------------------------

    def ticks(self) -> Iterator[Tick]:
        step = tick_step(self.length)
        for time in range(0, self.length + 1, step):
            yield Tick(self.x(self.start + time), _tick_label(time, step))

    def arrows(self) -> Iterator[ArrowLine]:
        drawable = [
            arrow
            for arrow in self.trace.arrows
            if arrow.source in self.middles and arrow.target in self.middles and arrow.source != arrow.target
        ]
        if len(drawable) > ARROWS:
            self.notes.append(f"{ARROWS} of {len(drawable):,} arrows are drawn, starts and ends first.")
        drawable.sort(key=lambda arrow: ARROW_ORDER.get(arrow.name, 2))
        for arrow in drawable[:ARROWS]:
            yield self.arrow(arrow)

    def arrow(self, arrow: Arrow) -> ArrowLine:
        x1, x2 = self.x(arrow.source_time), self.x(arrow.target_time)
        y1, y2 = self.middles[arrow.source], self.middles[arrow.target]
        down = 1 if y2 > y1 else -1
        # Ends at the edge of the bar, so that the head is seen; bends a little, so that arrows can be told apart.
        y2 -= down * (BAR_HEIGHT / 2 + 1)
        bend = min(14.0, abs(y2 - y1) / 4)
        path = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2:.1f} {y2 - down * bend:.1f} {x2:.1f} {y2:.1f}"
        who = words.thread_name(self.trace, arrow.source), words.thread_name(self.trace, arrow.target)
        return ArrowLine(path, arrow.name, f"{arrow.name}: {who[0]} → {who[1]}")


def _merge(pieces: list[_Stretch], gap: float) -> list[_Stretch]:
    """Pieces nearer than `gap` as one; the given ones stay as they are."""
    merged: list[_Stretch] = []
    for piece in sorted(pieces, key=_by_start):
        last = merged[-1] if merged else None
        if last is None or piece.start - last.end > gap:
            merged.append(_Stretch(piece.start, piece.end, piece.title, piece.count, piece.total))
        elif min(piece.total, last.total) > 8 * gap:
            # Two that can be told apart stay two.
            merged.append(_Stretch(piece.start, piece.end, piece.title, piece.count, piece.total))
        elif last.count == 1 and piece.total < gap < last.total:
            # Too short to be seen beside a long one: the long one keeps its words.
            last.end = max(last.end, piece.end)
        else:
            last.end, last.count, last.total = max(last.end, piece.end), last.count + 1, last.total + piece.total
    return merged


_by_start: Callable[[_Stretch], int] = lambda piece: piece.start  # noqa: E731


def tick_step(length: int) -> int:
    """A round number of nanoseconds that divides `length` into five to twelve parts."""
    size = 1
    while True:
        for factor in TICK_STEPS:
            if length <= factor * size * 10:
                return factor * size
        size *= 10


def _tick_label(time: int, step: int) -> str:
    """As many decimals as the step needs, and no more."""
    if time == 0:
        return "0"
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
        if time >= size:
            decimals = max(0, len(str(size // step)) - 1) if step < size else 0
            return f"{time / size:.{decimals}f} {unit}"
    return f"{time} ns"


def _fit(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1] + "…"


def _tone(process: Process) -> str:
    return {"killed": "bad", "open": "open", "left": "good"}.get(
        process.end.how, "bad" if process.end.status else "good"
    )
