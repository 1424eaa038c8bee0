"""The process tree: names, parents, and how each process ended, as far as anybody saw it.

A status is only told where a parent reaped it, the process said it itself, or `conctrace run` did (the main process). A
pidfd tells the collector that a process is gone, not with what status.
"""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ..events import kinds
from .commands import program_name
from .images import Family, Image, Reaped
from .programs import Programs, process_of
from .trace import End, Process, ProcessKey

if TYPE_CHECKING:
    from ..tracefile.reader import RawTrace


def build_processes(raw: RawTrace, family: Family, programs: Programs) -> dict[ProcessKey, Process]:
    """All processes; `End.doing` is still empty."""
    reaped = _reaped(raw, family)
    parents = {image.key: _parent(raw, family, programs, image) for image in family.in_order}
    origins = {image.key: _origin(raw, family, programs, image) for image in family.in_order}
    names = _names(family, programs, parents, origins)
    processes = {
        image.key: _process(image, names[image.key], origins[image.key], parents[image.key],
                            _end(family, image, reaped[image.key], names))
        for image in family.in_order
    }  # fmt: skip
    for program in programs.outside:
        killer = _sender(family, program.pid, -(program.status or 0), program.row.time, program.until, names)
        processes[program.key] = process_of(program, killer)
    # What ran between fork and exec, for a ``preexec_fn``, is no process of the program's own.
    for program in programs.all:
        if program.before is not None and program.image is not None:
            processes[program.before.key] = processes[program.before.key]._replace(hidden=True)
    return processes


def _process(image: Image, name: str, origin: str, parent: ProcessKey | None, end: End) -> Process:
    facts = image.data.facts
    fields = image.define.own(kinds.PROCESS, 1)
    hexversion = int(facts["hexversion"])
    return Process(
        key=image.key, pid=image.pid, name=name, origin=origin, start=image.born, end=end,
        parent=parent, parent_pid=int(facts["ppid"]), command=tuple(facts["command"]),
        hidden=image.hidden, daemon=bool(fields) and fields[2] == "1", target=fields[3] if fields else "",
        recorder=str(facts["recorder"]),
        python=f"{hexversion >> 24}.{hexversion >> 16 & 0xFF}.{hexversion >> 8 & 0xFF}",
        counters=dict(image.data.counters), off_reason=image.data.off_reason,
    )  # fmt: skip


# Who is whose child ----------------------------------------------------------------------------------------


def _origin(raw: RawTrace, family: Family, programs: Programs, image: Image) -> str:
    if image.define.own(kinds.PROCESS, 1):
        return "Process"
    if _is_program_after_fork(programs, image):
        return "other"
    if image.data.facts["parent_nonce"] in family.images:
        return "fork"
    if image.pid == _main_pid(raw, family):
        return "main"
    return "program"


def _is_program_after_fork(programs: Programs, image: Image) -> bool:
    """Whether an image was forked to run a ``preexec_fn``, and then became a program that records nothing."""
    program = programs.by_image.get(image.key)
    return program is not None and program.before is image and program.image is None


def _main_pid(raw: RawTrace, family: Family) -> int:
    known = raw.main.get("pid")
    if known:
        return int(known)
    return family.in_order[0].pid if family.in_order else 0


def _parent(raw: RawTrace, family: Family, programs: Programs, image: Image) -> ProcessKey | None:
    fields = image.define.own(kinds.PROCESS, 1)
    if fields:
        parent = family.at(int(fields[1]), image.born)
        return parent.key if parent is not None else None
    if (parent := family.images.get(image.data.facts["parent_nonce"])) is not None:
        return parent.key
    if (replaced := family.predecessor(image)) is not None:
        return _parent(raw, family, programs, replaced)
    if image.pid == _main_pid(raw, family):
        return None
    if (program := programs.by_image.get(image.key)) is not None:
        return program.starter.key
    return programs.who(int(image.data.facts["ppid"]), image.born)


# Names -------------------------------------------------------------------------------------------------------


def _names(
    family: Family, programs: Programs, parents: dict[ProcessKey, ProcessKey | None], origins: dict[ProcessKey, str]
) -> dict[ProcessKey, str]:
    """Names in the manner of `multiprocessing`: Process-1, its children Process-1:1; so Fork-1 and Fork-1:1 too."""
    names: dict[ProcessKey, str] = {}
    forks: Counter[ProcessKey] = Counter()
    for image in family.in_order:
        parent, origin = parents[image.key], origins[image.key]
        if origin == "Process":
            names[image.key] = image.define.own(kinds.PROCESS, 1)[0]
        elif origin == "fork" and parent is not None:
            forks[parent] += 1
            names[image.key] = _fork_name(names.get(parent, ""), origins[parent], forks[parent])
        elif origin == "other":
            names[image.key] = programs.by_image[image.key].name
        elif origin == "main":
            names[image.key] = "MainProcess"
        elif image.hidden:
            names[image.key] = str(image.data.facts["role"])
        else:
            # Its first word is the interpreter's path, the second what it was called by.
            names[image.key] = program_name(image.data.facts["command"][2:])
    return names


def _fork_name(parent: str, origin: str, count: int) -> str:
    if origin == "fork":
        return f"{parent}:{count}"
    return f"Fork-{count}" if origin == "main" else f"{parent}:Fork-{count}"


# Ends --------------------------------------------------------------------------------------------------------


def _reaped(raw: RawTrace, family: Family) -> dict[ProcessKey, Reaped]:
    """What is known of each process's end from those who waited for it."""
    seen: dict[ProcessKey, Reaped] = defaultdict(Reaped)
    for watcher in family.in_order:
        for row in watcher.of(kinds.CHILD_STATUS):
            child = family.at(row.other, row.time)
            if child is not None and child is not watcher:
                reaped = seen[child.key]
                reaped.over_by.append(row.time)
                reaped.status = row.value if reaped.status is None else reaped.status
        for row in (*watcher.of(kinds.PROCESS_JOIN), *watcher.of(kinds.CHILD_WAIT)):
            child = family.at(row.value, row.end) if row.outcome == kinds.ACQUIRED.number else None
            if child is not None:
                seen[child.key].over_by.append(row.end)
    main = raw.main
    if main.get("status") is not None:
        last = family.at(int(main["pid"]), int(main["ended_ns"]))
        if last is not None:
            seen[last.key].status = int(main["status"])
            seen[last.key].over_by.append(int(main["ended_ns"]))
    return seen


def _end(family: Family, image: Image, reaped: Reaped, names: dict[ProcessKey, str]) -> End:
    successor = family.successor(image)
    if successor is not None:
        return End("replaced", max(image.last, min(successor.born, *reaped.over_by, successor.born)))
    said = _said_status(image)
    seen = image.data.seen
    if reaped.status is None and not reaped.over_by:
        left = image.data.counters.get("off_time", 0)
        if left and not image.data.off_reason:
            return End("left", max(image.last, left))
        if not seen.get("dead"):
            return End("open", None)
    time = max(image.last, min((*reaped.over_by, *filter(None, [seen.get("died_ns")])), default=image.last))
    status = reaped.status if reaped.status is not None else said
    if status is None:
        return End("ended", time)
    if status < 0:
        return End("killed", time, signal=-status, by=_sender(family, image.pid, -status, image.born, time, names))
    return End("exited", time, status=status)


def _said_status(image: Image) -> int | None:
    """The status that the process said it would end with."""
    said = [row.value for row in image.of(kinds.PROCESS_EXIT) if row.value >= 0]
    # What recorded nothing else says it on its live page alone.
    exit_value = image.data.counters.get("exit_value", 0)
    return said[-1] if said else exit_value - 1 if exit_value else None


def _sender(family: Family, pid: int, number: int, start: int, end: int, names: dict[ProcessKey, str]) -> str | None:
    """The process that is known to have sent this signal to it."""
    for sender in family.in_order:
        for row in sender.of(kinds.PROCESS_SIGNAL):
            if row.other == pid and row.value == number and start <= row.time <= end:
                return names[sender.key]
    return None


def signal_name(number: int) -> str:
    """SIGTERM, or ``signal 77`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
