"""Builds the `Trace` from what a trace file holds.

Order matters only where one thing explains another: processes first (who is who), then their threads and objects, then
holds, then waits (a hold explains a wait), then arrows (drawn from the waits' causes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..events import kinds, layout
from . import marks
from . import programs as others
from .arrows import start_arrows, wait_arrows
from .functions import build_functions
from .holds import HoldIndex, build_holds, let_through
from .images import Family, Image
from .losses import build_losses
from .processes import build_processes
from .programs import Programs
from .ranges import build_ranges, clip, range_span
from .threads import build_threads
from .trace import (
    Facts,
    Hold,
    Object,
    ObjectKey,
    Process,
    ProcessKey,
    Site,
    Span,
    Thread,
    ThreadKey,
    Totals,
    Trace,
    Wait,
)  # fmt: skip
from .waits import World, build_waits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..tracefile.reader import RawTrace


def build(raw: RawTrace) -> Trace:
    """The run that `raw` recorded, or the part of it that its file was made for."""
    whole = _build(raw)
    return clip(whole, raw.part["start"], raw.part["end"], raw.part["name"]) if raw.part else whole


def _build(raw: RawTrace) -> Trace:
    family = Family(raw)
    images = family.in_order
    programs = Programs(raw, family)
    processes = build_processes(raw, family, programs)
    threads = {key: thread for image in images for key, thread in build_threads(image, processes[image.key]).items()}
    threads.update({(each.key, 0): others.thread_of(processes[each.key]) for each in programs.outside})
    objects = {thing.key: thing for image in images for thing in _objects(raw, image)}
    thread_of = {
        (image.key, int(fields[3])): (image.key, number - 1)
        for image in images
        for number, fields in image.data.definitions.get(kinds.THREAD.number, {}).items()
        if fields[3] not in ("0", "")
    }
    holds = sorted((hold for image in images for hold in build_holds(image)), key=lambda hold: hold.start)
    world = World(
        family,
        programs,
        processes,
        threads,
        objects,
        thread_of,
        HoldIndex(holds, {key: ends for image in images for key, ends in let_through(image).items()}),
    )
    waits = sorted((wait for image in images for wait in build_waits(world, image)), key=lambda wait: wait.start)
    ranges = tuple(found for image in images for found in build_ranges(image))
    found_spans = [
        span for image in images
        for span in (*marks.build_spans(image, objects), *others.build_spans(image, processes[image.key]))
    ]  # fmt: skip
    spans = marks.set_apart([*found_spans, *map(range_span, ranges)], waits)
    processes = {key: _with_doing(process, threads, waits, holds, spans, objects) for key, process in processes.items()}
    instants = [
        instant for image in images
        for instant in marks.build_instants(image, processes[image.key], threads, objects)
    ]  # fmt: skip
    instants += [instant for image in images for instant in others.build_instants(image)]
    instants += [end for each in programs.outside for end in marks.end_of(processes[each.key])]
    arrows = [
        arrow for image in images for arrow in start_arrows(family, image, processes, threads, thread_of)
    ] + list(wait_arrows(waits)) + list(others.build_arrows(programs, processes))  # fmt: skip
    recorded = _recorded(holds)
    totals = [row for image in images for row in _totals(image, recorded)]
    functions, calls_lost = build_functions(raw, family, processes, threads)
    return Trace(
        facts=_facts(raw, family, processes),
        processes=processes, threads=threads, objects=objects, waits=waits, holds=holds,
        spans=sorted(spans, key=lambda span: span.start),
        instants=sorted(instants, key=lambda instant: instant.time),
        counters=sorted(
            (row for image in images for row in marks.build_counters(image)), key=lambda row: row.time
        ),
        arrows=sorted(arrows, key=lambda arrow: arrow.source_time),
        totals=totals,
        losses=build_losses(raw, family, programs, processes, objects, totals) + calls_lost,
        ranges=ranges,
        functions=functions,
    )  # fmt: skip


def _objects(raw: RawTrace, image: Image) -> list[Object]:
    """The things that an image defined; locks get their names from the source."""
    found = []
    for number, (kind, name, site_number, _) in image.data.definitions.get(kinds.OBJECT.number, {}).items():
        site = image.define.site(int(site_number)) if site_number != "0" else None
        source_name = raw.names.get(f"{site.file}:{site.line}", "") if site and not name else ""
        found.append(Object((image.key, number), kind, name or source_name, site))
    return found


def _recorded(holds: list[Hold]) -> dict[tuple[ObjectKey, ThreadKey, Site | None], tuple[int, Hold]]:
    """How many holds of each lock, thread and call site have a record, and the last of them."""
    found: dict[tuple[ObjectKey, ThreadKey, Site | None], tuple[int, Hold]] = {}
    for hold in holds:
        if hold.end is not None:
            key = hold.object, hold.thread, hold.site
            found[key] = found.get(key, (0, hold))[0] + 1, hold
    return found


def _totals(
    image: Image, recorded: Mapping[tuple[ObjectKey, ThreadKey, Site | None], tuple[int, Hold]]
) -> list[Totals]:
    names = ("object", "thread", "site", *layout.TOTALS_COUNTS)
    flushed = [dict(zip(names, map(int, fields), strict=True)) for fields in image.data.flushed_totals]
    # A thread can come back to a lock after its totals there were closed; and sites that are not known are one.
    sums: dict[tuple[ObjectKey, ThreadKey, Site | None], dict[str, Any]] = {}
    for row in [*image.data.totals, *flushed]:
        key = (image.key, row["object"]), (image.key, row["thread"]), image.define.site(row["site"])
        counts = sums.setdefault(key, dict.fromkeys(layout.TOTALS_COUNTS, 0))
        for name in layout.TOTALS_COUNTS:
            counts[name] = max(counts[name], row[name]) if "max" in name else counts[name] + row[name]
    totals = []
    for key, counts in sums.items():
        count, last = recorded.get(key, (0, None))
        if last is not None and count == counts["holds"] + 1 and image.is_last_word(last.thread[1], last.end or 0):
            _add(counts, (last.end or 0) - last.start)
        totals.append(Totals(*key, **counts, recorded=count))
    return totals


def _add(counts: dict[str, Any], hold_ns: int) -> None:
    """The hold whose thread was killed between recording and counting it."""
    counts["holds"] += 1
    counts["hold_ns"] += hold_ns
    counts["hold_max_ns"] = max(counts["hold_max_ns"], hold_ns)


def _with_doing(
    process: Process, threads: Mapping[ThreadKey, Thread], waits: list[Wait], holds: list[Hold], spans: list[Span],
    objects: Mapping[ObjectKey, Object],
) -> Process:  # fmt: skip
    """Add what its threads were waiting for and holding when it ended, or when the trace was closed."""
    doing = [
        f"{threads[wait.thread].name} was waiting in {wait.label}"
        for wait in waits if wait.end is None and wait.thread[0] == process.key
    ] + [
        f"{threads[hold.thread].name} was holding {objects[hold.object].label}"
        for hold in holds if hold.end is None and hold.thread[0] == process.key and hold.object in objects
    ] + [
        f"{threads[span.thread].name} was in {span.name}"
        for span in spans if span.end is None and span.thread[0] == process.key
    ]  # fmt: skip
    return process._replace(end=process.end._replace(doing=tuple(doing))) if doing else process


def _facts(raw: RawTrace, family: Family, processes: Mapping[ProcessKey, Process]) -> Facts:
    plan = raw.plan
    start = min((image.born for image in family.in_order), default=0)
    ends = [image.last for image in family.in_order]
    ends += [process.end.time for process in processes.values() if process.end.time is not None]
    if raw.ended_ns is not None and any(process.end.how == "open" for process in processes.values()):
        ends.append(raw.ended_ns)
    recorders = {process.recorder for process in processes.values() if process.recorder}
    return Facts(
        command=tuple(plan.get("command", ())), cwd=str(plan.get("cwd", "")), host=str(plan.get("host", "")),
        started_wall_ns=int(plan.get("wall_ns", 0)), start=start, end=max(ends, default=start),
        status=raw.main.get("status"), conctrace=str(plan.get("conctrace", "")), schema=raw.schema,
        recorder=" and ".join(sorted(recorders)) or "none", python=str(plan.get("python", "")),
        platform=str(plan.get("platform", "")), complete=raw.complete and raw.cut is None,
        native_missing="python" in recorders and plan.get("recorder_asked", "python") != "python",
        inside=bool(plan.get("inside")),
    )  # fmt: skip
