"""How the exporters call things: the same process, thread, object, place and ending in the same words everywhere."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.trace import End, Object, ObjectKey, Process, Site, ThreadKey, Trace


def process_label(process: Process) -> str:
    """``MainProcess 4242``."""
    return f"{process.name} {process.pid}"


def thread_label(trace: Trace, key: ThreadKey) -> str:
    """``Thread-2 in MainProcess 4242``."""
    thread, process = trace.threads.get(key), trace.processes.get(key[0])
    name = thread.name if thread else f"thread {key[1]}"
    return f"{name} in {process_label(process)}" if process else name


def thread_name(trace: Trace, key: ThreadKey, seen_from: ThreadKey | None = None) -> str:
    """``Thread-2``; with its process when `seen_from` is in another one."""
    if seen_from is not None and seen_from[0] != key[0]:
        return thread_label(trace, key)
    thread = trace.threads.get(key)
    return thread.name if thread else f"thread {key[1]}"


def object_title(thing: Object) -> str:
    """``Lock lock``, or ``Lock@race.py:3`` for one without a name."""
    return f"{thing.kind} {thing.name}" if thing.name else thing.label


def title_of(trace: Trace, key: ObjectKey) -> str:
    """The same for a thing whose definition may have been lost."""
    thing = trace.objects.get(key)
    return object_title(thing) if thing else f"object #{key[1]}"


def place(site: Site | None) -> str:
    """``/tmp/race.py:7 work``, or nothing."""
    return str(site) if site else ""


def signal_name(number: int | None) -> str:
    """``SIGKILL``; real-time and unknown signals by their number."""
    if number is None:
        return "a signal"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ending(end: End) -> str:
    """``exit 0``, ``killed by SIGTERM from MainProcess``, ``still running``, …"""
    if end.how == "exited":
        return f"exit {end.status}"
    if end.how == "killed":
        return f"killed by {signal_name(end.signal)}" + (f" from {end.by}" if end.by else "")
    return {"replaced": "replaced by exec", "left": "left the trace", "open": "still running"}.get(
        end.how, "ended, status not seen"
    )


def run_status(status: int | None, inside: bool = False) -> str:
    """The main process's status as a phrase; one that traced itself went on."""
    if status is None:
        return "traced from inside" if inside else "status not known"
    return f"exit {status}" if status >= 0 else f"killed by {signal_name(-status)}"


def short_command(command: tuple[str, ...]) -> str:
    """The name of what ran: ``race.py`` of ``/tmp/race.py arg``."""
    return os.path.basename(command[0].rstrip("/")) or command[0] if command else ""


def program_name(command: tuple[str, ...]) -> str:
    """What a Python process runs, without the interpreter: ``race.py`` of ``python -u race.py``, ``json.tool`` of ``-m``."""
    from ..model.commands import read_python_command

    # What it was called by may be named otherwise than the interpreter itself, whose path comes first.
    ran = read_python_command(command[2:])
    return "python -c" if ran.way == "c" else short_command((ran.what,)) if ran.what else short_command(command)


def duration(ns: int) -> str:
    """Three figures and a unit: ``12 ns``, ``1.23 ms``, ``4.20 s``, ``2 min 05 s``."""
    if ns >= 60_000_000_000:
        minutes, rest = divmod(round(ns / 1e9), 60)
        return f"{minutes} min {rest:02d} s"
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if ns >= size * 0.9995:
            return f"{_three_figures(ns / size)} {unit}"
    return f"{ns} ns"


def _three_figures(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def many(count: int, noun: str, plural: str = "") -> str:
    """``1 thread``, ``2 threads``, ``1,200 threads``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
