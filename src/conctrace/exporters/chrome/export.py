"""Trace → Chrome JSON.

Slices. Each thread is a lane with one slice from its first to its last moment; what it waited for and what the
program named lie inside it. The slices of a lane must nest (`nesting`), and the events of one lane must stand in the file
in the order of that nesting: of two that begin at the same nanosecond Perfetto takes the first one for the outer.

Arrows are harder than they look: see `arrows`.
"""

from __future__ import annotations

import gc
import gzip
from collections import Counter as Tally
from collections import defaultdict
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from ..._version import __version__
from ...model.trace import Arrow, Hold, ObjectKey, Process, ProcessKey, Span, Stack, Thread, ThreadKey, Trace, Wait
from .. import digest, words
from ..calls import NestedCalls
from ..nesting import Slice, nest
from . import format as chrome
from .arrows import CALL, Ends, Plan
from .lanes import Lanes

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping


class Drawn(NamedTuple):
    """What one slice says."""

    name: str
    category: str
    args: str


class Tallies:
    """What the file shows otherwise than the trace has it."""

    def __init__(self) -> None:
        self.slices_cut = 0
        self.holds_cut = 0
        self.arrows_left_out = 0


def export(trace: Trace, internals: bool = False) -> bytes:
    """The trace as JSON text; with `internals`, the standard library's helper processes too."""
    with no_cycle_search():
        return _Export(trace, internals).text().encode("utf-8")


def export_compressed(trace: Trace, internals: bool = False) -> bytes:
    """The same as a gzip file; the same trace gives the same bytes."""
    return gzip.compress(export(trace, internals), compresslevel=6, mtime=0)


@contextmanager
def no_cycle_search() -> Iterator[None]:
    """A hundred thousand slices make Python look for cycles among them again and again: half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Export:
    """One export: the trace, where things are drawn, and what had to be changed."""

    def __init__(self, trace: Trace, internals: bool) -> None:
        self.trace = trace
        self.lanes = Lanes(trace, internals)
        self.origin = trace.facts.start
        self.tallies = Tallies()
        self.slices = {thread.key: nest(found) for thread, found in self._slices_by_thread()}
        self.calls = {
            key: NestedCalls(lane, self.at, self.slices[key])
            for key, lane in trace.functions.calls.items() if key in self.slices
        }  # fmt: skip
        self.marks = self._marks_by_thread()
        self._texts: dict[Hashable, str] = {}
        self._arrow_times = self._times_of_arrows() if self.calls else {}
        #: numbers of async tracks
        self._tracks = count(1)

    def text(self) -> str:
        events = [piece for part in self._parts() for piece in part]
        facts = self.trace.facts
        about = {
            "schema": facts.schema,
            "recorded_by": facts.conctrace,
            "clock": "CLOCK_MONOTONIC",
            "origin_ns": self.origin,
            "started_wall_ns": facts.started_wall_ns,
            "command": list(facts.command),
            "status": facts.status,
            "python": facts.python,
            "platform": facts.platform,
            "recorder": facts.recorder,
            "complete": facts.complete,
            "losses": [loss._asdict() for loss in self.trace.losses],
            "export": vars(self.tallies),
        }
        return chrome.document(__version__, about, events)

    def _parts(self) -> Iterator[Iterable[str]]:
        yield self._metadata()
        for thread in self.lanes.threads:
            yield self._lane(thread)
        yield self._holds()
        yield self._spans_apart()
        yield self._counters()
        yield self._arrows()
        for thread in self.lanes.threads:
            yield self._moments(thread)

    # Times -----------------------------------------------------------------------------------------------

    def at(self, time: int) -> int:
        """A moment as ns since the trace's first one."""
        return time - self.origin if time > self.origin else 0

    # Lanes -----------------------------------------------------------------------------------------------

    def _metadata(self) -> Iterator[str]:
        for order, (process, threads) in enumerate(self.lanes.threads_by_process()):
            lane = self.lanes.of_process(process.key)
            assert lane is not None
            yield from chrome.process_metadata(lane, words.process_label(process), words.ending(process.end), order)
            for place, thread in enumerate(threads):
                yield from chrome.thread_metadata(self.lane(thread.key), thread.name, place)

    def lane(self, key: ThreadKey) -> chrome.Lane:
        lane = self.lanes.of_thread(key)
        assert lane is not None
        return lane

    def _slices_by_thread(self) -> Iterator[tuple[Thread, list[Slice[Wait | Span | Thread]]]]:
        inner: dict[ThreadKey, list[Slice[Wait | Span | Thread]]] = {thread.key: [] for thread in self.lanes.threads}
        for wait in self.trace.waits:
            if wait.thread in inner:
                end = digest.wait_end(self.trace, wait)
                inner[wait.thread].append(Slice(self.at(wait.start), self.at(max(end, wait.start)), wait))
        for span in self.trace.spans:
            if span.thread in inner and not span.apart:
                end = digest.span_end(self.trace, span)
                inner[span.thread].append(Slice(self.at(span.start), self.at(end), span))
        for thread in self.lanes.threads:
            found = inner[thread.key]
            found.insert(0, self._life(thread, found))
            yield thread, found

    def _life(self, thread: Thread, inner: list[Slice[Wait | Span | Thread]]) -> Slice[Wait | Span | Thread]:
        """From the thread's first to its last moment; whoever does something is alive."""
        start, end = self.at(thread.start), self.at(digest.end_of_thread(self.trace, thread.key))
        for piece in inner:
            start, end = min(start, piece.start), max(end, piece.end)
        calls = self.trace.functions.calls.get(thread.key)
        if calls is not None:
            start, end = min(start, self.at(calls.start[0])), max(end, self.at(max(calls.end)))
        return Slice(start, max(end, start + 1), thread)

    def _marks_by_thread(self) -> dict[ThreadKey, list[tuple[int, str]]]:
        """The instants of each lane, as (time, event), kept inside the thread's life."""
        found: dict[ThreadKey, list[tuple[int, str]]] = {key: [] for key in self.slices}
        for mark in self.trace.instants:
            if mark.thread not in found:
                continue
            life = self.slices[mark.thread][0]
            time = min(max(self.at(mark.time), life.start), life.end - 1)
            args: dict[str, str | int] = {"site": words.place(mark.stack[0])} if mark.stack else {}
            text = chrome.instant(
                self.lane(mark.thread), time, mark.name, mark.category, chrome.words(_with_own(args, mark.args))
            )
            found[mark.thread].append((time, text))
        return found

    def _lane(self, thread: Thread) -> Iterator[str]:
        """The slices of a thread, but for those that take no time."""
        lane, calls = self.lane(thread.key), self.calls.get(thread.key)
        for piece in self.slices[thread.key] if calls is None else calls.merged():
            if isinstance(piece, int):
                assert calls is not None
                if calls.end[piece] > calls.start[piece]:
                    yield self._call(lane, calls, piece)
            elif piece.end > piece.start:
                yield self._slice(lane, piece)

    def _moments(self, thread: Thread) -> Iterator[str]:
        """What takes no time: it comes after the arrows, which would be bound to it otherwise."""
        lane = self.lane(thread.key)
        for piece in self.slices[thread.key]:
            if piece.end == piece.start:
                yield self._slice(lane, piece)
        calls = self.calls.get(thread.key)
        if calls is not None:
            for index in calls.without_length:
                yield self._call(lane, calls, index)
        for _, text in self.marks[thread.key]:
            yield text

    def _slice(self, lane: chrome.Lane, piece: Slice[Wait | Span | Thread]) -> str:
        drawn = self._drawn(piece)
        self.tallies.slices_cut += piece.cut > 0
        return chrome.complete(lane, piece.start, piece.end, drawn.name, drawn.category, drawn.args)

    def _call(self, lane: chrome.Lane, calls: NestedCalls, index: int) -> str:
        place = calls.function[index]
        args = self._texts.get(place)
        if args is None:
            args = self._texts[place] = chrome.words({"site": words.place(self.trace.functions.functions[place])})
        if index in calls.cut:
            self.tallies.slices_cut += 1
            args = chrome.both(args, chrome.numbers(cut_ns=calls.cut[index]))
        name = self.trace.functions.functions[place].function
        return chrome.complete(lane, calls.start[index], calls.end[index], name, "span", args)

    # Slices ----------------------------------------------------------------------------------------------

    def _drawn(self, piece: Slice[Wait | Span | Thread]) -> Drawn:
        what = piece.what
        if isinstance(what, Wait):
            drawn = Drawn(what.label, "wait", self._wait_args(what))
        elif isinstance(what, Span):
            drawn = Drawn(what.name, what.category, self._span_args(what))
        elif what.is_main:
            drawn = self._process_life(what)
        else:
            drawn = self._thread_life(what)
        if not piece.cut:
            return drawn
        return Drawn(drawn.name, drawn.category, chrome.both(drawn.args, chrome.numbers(cut_ns=piece.cut)))

    def _process_life(self, thread: Thread) -> Drawn:
        process = self.trace.processes[thread.key[0]]
        parent = self.trace.processes.get(process.parent) if process.parent is not None else None
        args: dict[str, str | int] = {
            "pid": process.pid,
            "origin": process.origin,
            "parent": words.process_label(parent) if parent else "",
            "command": " ".join(process.command),
            "ended": words.ending(process.end),
            "doing": "; ".join(process.end.doing),
            "error": thread.error or "",
        }
        return Drawn(_life_name(self.trace, process), "process", chrome.words(args))

    def _thread_life(self, thread: Thread) -> Drawn:
        args: dict[str, str | int] = {
            "native_id": thread.native_id,
            "daemon": "yes" if thread.daemon else "",
            "started_by": words.thread_label(self.trace, thread.started_by) if thread.started_by else "",
            "site": words.place(thread.start_site),
            "error": thread.error or "",
            "error_site": words.place(thread.error_stack[0]) if thread.error_stack else "",
        }
        return Drawn(thread.target or thread.name, "thread", chrome.words(args))

    def _wait_args(self, wait: Wait) -> str:
        numbers = chrome.numbers(
            gil_wait_ns=wait.gil_wait_ns or None, cpu_ns=wait.cpu_ns, runq_ns=wait.runq_ns, core=wait.core
        )
        return chrome.both(self._wait_words(wait), numbers)

    def _wait_words(self, wait: Wait) -> str:
        """The texts of a wait's args. A loop makes the same ones a thousand times, so they are kept.

        What is kept is found by the identity of sites and the like, all of which the trace keeps alive: hashing
        their contents would cost as much as the texts.
        """
        cause = wait.cause
        key = (
            wait.thread, id(wait.stack), wait.object, wait.holder, id(wait.holder_site), wait.outcome, wait.end is None, wait.clipped,
            id(wait.args),
            None if cause is None else (cause.thread, id(cause.site)),
        )  # fmt: skip
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = chrome.words(self._wait_facts(wait))
        return found

    def _wait_facts(self, wait: Wait) -> chrome.Args:
        args = self._where(wait.stack, wait.object)
        if wait.holder is not None:
            args["holder"] = words.thread_label(self.trace, wait.holder)
            args["holder_site"] = words.place(wait.holder_site)
        if wait.cause is not None:
            args["woken_by"] = words.thread_label(self.trace, wait.cause.thread)
            args["woken_at"] = words.place(wait.cause.site)
        args["outcome"] = wait.outcome or self._open_outcome(wait)
        args["clipped"] = _clipped(wait)
        return {**args, **wait.args}

    def _open_outcome(self, what: Wait | Span) -> str:
        killed = what.end is None and self.trace.processes[what.thread[0]].end.how == "killed"
        return "killed" if killed else ""

    def _span_args(self, span: Span) -> str:
        args = {
            **self._where(span.stack, span.object),
            "outcome": span.outcome or self._open_outcome(span),
            "clipped": _clipped(span),
        }
        return chrome.both(chrome.words(_with_own(args, span.args)), chrome.numbers(core=span.core))

    def _where(self, stack: Stack, key: ObjectKey | None) -> dict[str, str | int]:
        args: dict[str, str | int] = {"site": words.place(stack[0]) if stack else ""}
        thing = self.trace.objects.get(key) if key is not None else None
        if thing is not None:
            args["object"] = thing.label
            args["object_site"] = words.place(thing.site)
        return args

    def _spans_apart(self) -> Iterator[str]:
        """Spans that do not nest with the rest of their thread, each on a track of its own."""
        for span in self.trace.spans:
            lane = self.lanes.of_thread(span.thread) if span.apart else None
            if lane is not None:
                number = next(self._tracks)
                start, end = self.at(span.start), self.at(digest.span_end(self.trace, span))
                yield chrome.async_begin(lane, start, span.name, span.category, number, self._span_args(span))
                yield chrome.async_end(lane, end, span.name, span.category, number)

    # Holds -----------------------------------------------------------------------------------------------

    def _holds(self) -> Iterator[str]:
        by_track: dict[tuple[ProcessKey, ObjectKey], list[Hold]] = {}
        for hold in self.trace.holds:
            if self.lanes.of_thread(hold.thread) is not None:
                by_track.setdefault((hold.thread[0], hold.object), []).append(hold)
        names: Tally[tuple[ProcessKey, str]] = Tally()
        for (process, key), holds in by_track.items():
            name = words.title_of(self.trace, key)
            names[process, name] += 1
            nth = names[process, name]
            yield from self._hold_track(next(self._tracks), f"{name} #{nth}" if nth > 1 else name, holds)

    def _hold_track(self, number: int, name: str, holds: list[Hold]) -> Iterator[str]:
        """One slice named for the object with its holds inside: the outer one gives the track its name."""
        lane = self.lane(holds[0].thread)
        drawn = list(self._hold_times(sorted(holds, key=lambda hold: hold.start)))
        about = self._where((), holds[0].object)
        yield chrome.async_begin(
            lane,
            drawn[0][1],
            name,
            "hold",
            number,
            chrome.words(about),
        )
        for hold, start, end in drawn:
            held = f"held by {words.thread_name(self.trace, hold.thread)}"
            yield chrome.async_begin(lane, start, held, "hold", number, self._hold_args(hold))
            yield chrome.async_end(lane, end, held, "hold", number)
        yield chrome.async_end(lane, drawn[-1][2], name, "hold", number)

    def _hold_times(self, holds: list[Hold]) -> Iterator[tuple[Hold, int, int]]:
        """The holds one after the other: one that begins before the last one ended, by its stamps, begins there."""
        last = 0
        for hold in holds:
            end = digest.end_of_thread(self.trace, hold.thread) if hold.end is None else hold.end
            start, stop = self.at(hold.start), self.at(end)
            self.tallies.holds_cut += start < last
            start = max(start, last)
            last = max(start, stop)
            yield hold, start, last

    def _hold_args(self, hold: Hold) -> str:
        key = (
            hold.thread, id(hold.site), id(hold.release_site), hold.released_by, hold.contended, hold.end is None, hold.clipped,
        )  # fmt: skip
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = chrome.words(self._hold_facts(hold))
        return chrome.both(found, chrome.numbers(core=hold.core))

    def _hold_facts(self, hold: Hold) -> chrome.Args:
        return {
            "site": words.place(hold.site),
            "release_site": words.place(hold.release_site),
            "released_by": words.thread_name(self.trace, hold.released_by, hold.thread) if hold.released_by else "",
            "contended": "yes" if hold.contended else "",
            "outcome": "never released" if hold.end is None else "",
            "clipped": _clipped(hold),
        }

    # Counters and arrows ---------------------------------------------------------------------------------

    def _counters(self) -> Iterator[str]:
        for value in self.trace.counters:
            lane = self.lanes.of_process(value.process)
            if lane is not None:
                yield chrome.counter(lane, self.at(value.time), value.name, value.value)

    def _plan_arrows(self) -> Plan:
        touched = {key for arrow in self.trace.arrows for key in (arrow.source, arrow.target)}
        plan = Plan({key: self._ends(key) for key in touched & self.slices.keys()})
        plan.add(self.trace.arrows, self.at, self._woken_by)
        plan.finish()
        self.tallies.arrows_left_out = plan.left_out
        return plan

    def _ends(self, key: ThreadKey) -> Ends:
        """Where arrows can touch a lane; of its calls of functions, those that can be met there."""
        moments = [time for time, _ in self.marks[key]]
        calls = self.calls.get(key)
        if calls is None:
            return Ends(self.slices[key], moments)
        met = calls.around(self._arrow_times[key])
        found = [Slice(calls.start[index], calls.end[index], CALL) for index in sorted(met)]
        return Ends([*self.slices[key], *found], moments + [calls.start[index] for index in calls.without_length])

    def _times_of_arrows(self) -> dict[ThreadKey, set[int]]:
        """When arrows may touch each lane; `arrows` draws an end 1 ns earlier where that is where it belongs."""
        found: dict[ThreadKey, set[int]] = defaultdict(set)
        for arrow in self.trace.arrows:
            source, target = self.at(arrow.source_time), self.at(arrow.target_time)
            found[arrow.source] |= {source, source - 1, min(source, target), min(source, target) - 1}
            found[arrow.target] |= {target, target - 1}
        return found

    def _woken_by(self, arrow: Arrow) -> str:
        return f"woken by {words.thread_name(self.trace, arrow.source, arrow.target)}"

    def _arrows(self) -> Iterator[str]:
        plan = self._plan_arrows()
        for key, ends in plan.ends.items():
            for time, name in ends.marks.items():
                yield chrome.complete(self.lane(key), time, time + 1, name, "flow", "")
        for drawn in plan.drawn:
            for key, time in plan.stale_ends(drawn):
                yield chrome.settle(self.lane(key), time)
            source, target = self.lane(drawn.arrow.source), self.lane(drawn.arrow.target)
            yield from chrome.arrow(
                drawn.number, drawn.arrow.name, source, drawn.source_time, target, drawn.target_time
            )


def _clipped(piece: Wait | Hold | Span) -> str:
    return "began before" if piece.clipped else ""


def _life_name(trace: Trace, process: Process) -> str:
    if process.origin == "main" and trace.facts.command:
        return words.short_command(trace.facts.command)
    if process.origin in ("main", "program"):
        return words.program_name(process.command) or process.name
    return process.target or process.name


def _with_own(args: chrome.Args, own: Mapping[str, str]) -> chrome.Args:
    """The program's own arguments beside ours; where names meet, the program's gets an underscore."""
    return {**args, **{f"{key}_" if key in args else key: value for key, value in own.items()}}
