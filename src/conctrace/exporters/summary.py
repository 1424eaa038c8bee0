"""What a run was, in a dozen lines: for stderr after a run, and for ``info``.

`summary` reduces a Trace to a small dictionary that can be sent as JSON (the writer makes it, the waiter prints it),
and `render` makes text of that. `render` imports nothing heavy: it stands between the program's end and the prompt.
"""

from __future__ import annotations

from . import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ..model.trace import Process, Trace, Wait
    from .digest import LockTotals
    from .places import Places

#: So many processes are in the summary; of the others only how they ended.
PROCESSES = 12
WAITS = 5
LOCKS = 5

#: How the losses are headed, the gravest first.
SEVERITIES = (
    ("lost", "lost"),
    ("summarised", "in the totals only"),
    ("unseen", "not seen"),
    ("changed", "changed by tracing"),
)


def summary(trace: Trace) -> dict[str, Any]:
    """The run in a few facts; the command line may add ``files``, the paths that were written."""
    from . import digest
    from .places import Places

    places = Places(trace.facts.cwd, brief=True)
    processes = digest.shown_processes(trace)
    used = [lock for lock in digest.locks(trace) if lock.waits]
    return {
        "command": list(trace.facts.command),
        "status": trace.facts.status,
        "duration_ns": max(0, trace.facts.end - trace.facts.start),
        "complete": trace.facts.complete,
        "inside": trace.facts.inside,
        "recorder": trace.facts.recorder,
        "native_missing": trace.facts.native_missing,
        "process_count": len(processes),
        "thread_count": len(digest.shown_threads(trace)),
        "processes": [_process(trace, process) for process in processes[:PROCESSES]],
        "other_endings": _tally(words.ending(process.end) for process in processes[PROCESSES:]),
        "function_count": trace.functions.total if trace.functions.asked else None,
        "wait_count": len(trace.waits),
        "waits": [_wait(trace, wait, places) for wait in digest.worth_telling(trace, WAITS)],
        "locks": [_lock(lock, places) for lock in used[:LOCKS]],
        "losses": [
            {"slug": loss.slug, "count": loss.count, "severity": loss.severity, "sentence": loss.sentence}
            for loss in trace.losses
        ],
    }


def _process(trace: Trace, process: Process) -> dict[str, Any]:
    from . import digest

    return {
        "name": process.name,
        "pid": process.pid,
        "how": process.end.how,
        "status": process.end.status,
        "ending": words.ending(process.end),
        "doing": list(process.end.doing[:3]),
        "duration_ns": digest.end_of_process(trace, process) - process.start,
        "threads": sum(1 for key in trace.threads if key[0] == process.key),
    }


def _wait(trace: Trace, wait: Wait, places: Places) -> dict[str, Any]:
    from ..model.trace import own_frames
    from . import digest

    return {
        "label": wait.label,
        "thread": digest.who(trace, wait.thread),
        "site": places.site(own_frames(wait.stack)[0]) if wait.stack else "",
        "wait_ns": digest.wait_length(trace, wait),
        "open": wait.end is None,
        "holder": digest.wait_holder(trace, wait, places),
        "ending": digest.wait_ending(trace, wait, places),
    }


def _lock(lock: LockTotals, places: Places) -> dict[str, Any]:
    return {
        "title": words.object_title(lock.thing),
        "site": places.line(lock.thing.site),
        "waits": lock.waits,
        "wait_ns": lock.wait_ns,
        "wait_max_ns": lock.wait_max_ns,
        "holds": lock.holds,
        "hold_ns": lock.hold_ns,
    }


def _tally(endings: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for ending in endings:
        found[ending] = found.get(ending, 0) + 1
    return found


# Text ----------------------------------------------------------------------------------------------------


def render(about: dict[str, Any], colour: bool, width: int = 80) -> str:
    """The summary as text: a first line that begins with ``conctrace:``, the rest indented."""
    page = _Page(colour, width)
    _head(page, about)
    _processes(page, about)
    _waits(page, about)
    _locks(page, about)
    _losses(page, about)
    _files(page, about)
    return "\n".join(page.lines) + "\n"


class _Page:
    """Lines of at most `width` columns."""

    def __init__(self, colour: bool, width: int) -> None:
        self.lines: list[str] = []
        self._colour = colour
        self._width = max(width, 40)

    def title(self, text: str) -> None:
        self.lines.append("  " + self._paint("1", text))

    def say(self, text: str, indent: int = 4, hang: int = 2, style: str = "", lead: str = "") -> None:
        """A paragraph behind `lead`, broken at blanks; following lines stand `hang` further in."""
        hang += len(lead)
        for number, line in enumerate(_wrap(printable(text), self._width - indent - hang)):
            margin = " " * indent + (" " * hang if number else lead)
            self.lines.append(margin + self._paint(style, line))

    def _paint(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour and style else text


def printable(text: str) -> str:
    """Names come from the program: a newline or an escape sequence in one must not take over the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _wrap(text: str, width: int) -> Iterator[str]:
    line = ""
    # Columns made with blanks stay columns as long as the line need not be broken.
    if len(text) <= width:
        yield text
        return
    for word in _pieces(text, width):
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _pieces(text: str, width: int) -> Iterator[str]:
    for word in text.split():
        for at in range(0, len(word), width):
            yield word[at : at + width]


def _head(page: _Page, about: dict[str, Any]) -> None:
    name = words.short_command(tuple(about["command"])) or "the program"
    status = words.run_status(about["status"], about["inside"])
    if not about["process_count"]:
        # When the program began and ended nobody has written down.
        page.say(f"conctrace: {name}: {status}; no process of it was recorded", 0, 4, "1")
        return
    page.say(f"conctrace: {name}: {status} after {words.duration(about['duration_ns'])}", 0, 4, "1")
    counts = words.many(about["process_count"], "process", "processes"), words.many(about["thread_count"], "thread")
    page.say(f"{', '.join(counts)}; {about['recorder']} recorder", 2)
    if about.get("function_count") is not None:
        page.say(f"{words.many(about['function_count'], 'function call')}, recorded by viztracer", 2)
    if about["native_missing"]:
        page.say("The native recorder is not built here, so locks cost more time: see README.", 2)
    if not about["complete"]:
        page.say("The trace is not complete.", 2, 2, "31")


def _processes(page: _Page, about: dict[str, Any]) -> None:
    processes = about["processes"]
    if about["process_count"] < 2 and all(process["how"] == "exited" for process in processes):
        return
    page.title("processes")
    labels = [f"{printable(process['name'])} {process['pid']}" for process in processes]
    wide = min(30, max(map(len, labels), default=0))
    for label, process in zip(labels, processes, strict=True):
        good = process["how"] in ("replaced", "ended", "left") or (
            process["how"] == "exited" and process["status"] == 0
        )
        line = f"{label:{wide}}  {words.duration(process['duration_ns']):>8}  {process['ending']}"
        if process["threads"] > 1:
            line += f", {process['threads']} threads"
        page.say(line, style="" if good else "33")
        for sentence in process["doing"]:
            page.say(sentence, indent=6)
    others = about["other_endings"]
    if others:
        rest = ", ".join(f"{count} {ending}" for ending, count in others.items())
        page.say(f"… and {sum(others.values())} more: {rest}")


def _waits(page: _Page, about: dict[str, Any]) -> None:
    if not about["waits"]:
        return
    page.title(f"longest waits of {about['wait_count']:,}")
    for wait in about["waits"]:
        where = f" at {wait['site']}" if wait["site"] else ""
        page.say(f"{wait['label']} ({wait['thread']}){where}", hang=0, lead=_column(wait["wait_ns"]))
        page.say("; ".join(filter(None, (wait["holder"], wait["ending"]))), indent=14, hang=0, style="2")


def _locks(page: _Page, about: dict[str, Any]) -> None:
    if not about["locks"]:
        return
    page.title("locks waited for most")
    for lock in about["locks"]:
        made = f" (made at {lock['site']})" if lock["site"] and lock["site"] not in lock["title"] else ""
        waited = f"{words.many(lock['waits'], 'wait')}, the longest {words.duration(lock['wait_max_ns'])}"
        held = f"held {words.many(lock['holds'], 'time')} for {words.duration(lock['hold_ns'])}"
        page.say(f"{lock['title']}{made}: {waited}; {held}", hang=0, lead=_column(lock["wait_ns"]))


def _column(ns: int) -> str:
    return f"{words.duration(ns):>8}  "


def _losses(page: _Page, about: dict[str, Any]) -> None:
    for severity, title in SEVERITIES:
        losses = [loss for loss in about["losses"] if loss["severity"] == severity]
        if losses:
            page.title(title)
        for loss in losses:
            page.say(loss["sentence"], style="31" if severity == "lost" else "")


def _files(page: _Page, about: dict[str, Any]) -> None:
    if about.get("files"):
        page.title("written")
    for path in about.get("files", ()):
        page.lines.append("    " + printable(path))
