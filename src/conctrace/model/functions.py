"""The calls of functions that viztracer recorded, given to the threads that made them; and those that are missing."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from ..events.functions import KEPT
from .trace import Functions, LaneCalls, Loss, Site

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from ..tracefile.calls import Calls
    from ..tracefile.reader import RawTrace
    from .images import Family, Image
    from .trace import Process, ProcessKey, Thread, ThreadKey

_HIGH = 1 << 32


def build_functions(
    raw: RawTrace, family: Family, processes: Mapping[ProcessKey, Process], threads: Mapping[ThreadKey, Thread]
) -> tuple[Functions, list[Loss]]:
    """All calls by thread, and a sentence for each process whose calls are not all there."""
    if raw.plan.get("functions") is None:
        return Functions(), []
    losses: list[Loss] = []
    sites: dict[Site, int] = {}
    lanes: dict[ThreadKey, LaneCalls] = {}
    for image in family.in_order:
        process = processes[image.key]
        if image.data.calls is not None:
            lost = _take(image, image.data.calls, threads, sites, lanes)
            if lost:
                who = f"{process.name} {process.pid}"
                losses.append(
                    Loss("functions-lost", lost, f"{who}: calls in threads that nothing else is known of: {lost}.")
                )
        if not process.hidden:
            losses.extend(_losses(process, image.data.calls))
    return Functions(True, tuple(sites), lanes), losses


def _take(
    image: Image, calls: Calls, threads: Mapping[ThreadKey, Thread], sites: dict[Site, int], lanes: dict[ThreadKey, LaneCalls]
) -> int:  # fmt: skip
    """Puts an image's calls into their lanes; returns how many have none."""
    function = [sites.setdefault(Site(file, line, name), len(sites)) for name, file, line in calls.functions]
    by_id: dict[int, list[Thread]] = {}
    for key, thread in threads.items():
        if key[0] == image.key:
            by_id.setdefault(thread.native_id, []).append(thread)
    order: dict[ThreadKey, list[int]] = {}
    lost = 0
    finders = [_Finder(by_id.get(native_id, [])) for native_id in calls.threads]
    for index, (place, start) in enumerate(zip(calls.thread, calls.start, strict=True)):
        found = finders[place].at(start)
        if found is None:
            lost += 1
        else:
            # Sorts by start; of two that start together, the one that returned later is the outer one.
            order.setdefault(found, []).append(start * _HIGH + _HIGH - 1 - index)
    for key, keys in order.items():
        keys.sort()
        places = [_HIGH - 1 - each % _HIGH for each in keys]
        lanes[key] = LaneCalls(
            array("q", [calls.start[place] for place in places]),
            array("q", [calls.start[place] + calls.duration[place] for place in places]),
            array("I", [function[calls.function[place]] for place in places]),
            int(calls.facts["error_ns"]),
        )
    return lost


def clip_functions(functions: Functions, threads: Container[ThreadKey], first: int, last: int) -> Functions:
    """The calls of these threads that have a part between two moments, and of each that part."""
    lanes = {}
    for key, lane in functions.calls.items():
        pairs = zip(lane.start, lane.end, strict=True)
        kept = [place for place, (start, end) in enumerate(pairs) if start <= last and end >= first]
        if kept and key in threads:
            lanes[key] = LaneCalls(
                array("q", [max(lane.start[place], first) for place in kept]),
                array("q", [min(lane.end[place], last) for place in kept]),
                array("I", [lane.function[place] for place in kept]),
                lane.error_ns,
            )
    return functions._replace(calls=lanes)


class _Finder:
    """The threads that had a native id, one after the other."""

    def __init__(self, threads: list[Thread]) -> None:
        threads = sorted(threads, key=lambda thread: thread.start)
        self._keys = [thread.key for thread in threads]
        #: a thread's first functions are called before it is announced, so the next one's time begins when one ends
        self._from = [thread.start if before.end is None else before.end for before, thread in pairwise(threads)]

    def at(self, time: int) -> ThreadKey | None:
        if not self._keys:
            return None
        return self._keys[bisect_right(self._from, time)] if self._from else self._keys[0]


def _losses(process: Process, calls: Calls | None) -> Iterator[Loss]:
    who = f"{process.name} {process.pid}"
    if calls is None:
        why = {
            "killed": "it was killed, and viztracer keeps them in memory until the end",
            "open": "it still ran when the trace was closed",
            "replaced": "another program took its place by exec",
        }.get(process.end.how, "it ended without handing them over")
        yield Loss("functions-lost", 1, f"{who}: its calls of functions are lost: {why}.")
        return
    if calls.facts["reason"]:
        yield Loss("functions-lost", 1, f"{who}: calls of functions are missing: {calls.facts['reason']}.")
    if calls.facts["overflow"]:
        kept = f"viztracer keeps the last {KEPT:,} of a process"
        yield Loss("functions-overflow", 1, f"{who}: its first calls of functions are missing: {kept}.")
    if calls.facts["cut"]:
        yield Loss("functions-lost", 1, f"{who}: calls of functions are missing: what was written of them is cut.")
