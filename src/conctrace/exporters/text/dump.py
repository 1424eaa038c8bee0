"""A trace file as text, one line a record, nothing interpreted: for bugs, for tests and for grep.

    +0.000123456 4242.0 lock held: duration=480000000 object=7 Lock lock stack=race.py:8 work core=1

That is the time since the first record (in seconds), pid and thread index, the kind's name, and each field that has a
value, by its name. Where a field is a number that a definition stands behind, the definition follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...events import kinds
from ...events.schema import FIELDS, NO_CORE
from ...model.definitions import Definitions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...tracefile.calls import Calls
    from ...tracefile.reader import ImageData, RawTrace

_NAMES = tuple(field.name for field in FIELDS)
#: Said at the line's begin.
_IN_FRONT = frozenset({"time", "thread", "kind"})


def lines(raw: RawTrace) -> Iterator[str]:
    """The whole trace, image by image, each image's records in the order of the file."""
    times = [record[0] for image in raw.images.values() for record in image.records]
    start = min(times, default=0)
    yield f"schema {raw.schema}, images: {len(raw.images)}, records: {len(times)}, first at {start} ns"
    for image in raw.images.values():
        yield from _image(image, raw, start)
    if raw.main:
        yield f"main: {_pairs(raw.main)}"
    for place, name in raw.names.items():
        yield f"name: {_one_line(place)} {_one_line(name)}"
    if raw.cut:
        yield f"cut: {_one_line(raw.cut)}"


def _image(image: ImageData, raw: RawTrace, start: int) -> Iterator[str]:
    yield f"image {image.nonce:016x}: {_pairs({**image.facts, **image.seen})}"
    if image.off_reason:
        yield f"  switched off: {_one_line(image.off_reason)}"
    define = Definitions(image, raw.images)
    pid = image.facts.get("pid", "?")
    for record in image.records:
        yield _record(dict(zip(_NAMES, record, strict=True)), pid, define, start)
    if image.calls is not None:
        yield from _calls(image.calls, pid, start)
    yield from _snapshots(image, pid, define)


def _calls(calls: Calls, pid: object, start: int) -> Iterator[str]:
    """Calls of functions, in the order in which they returned; their thread is a native id."""
    yield f"  function calls {pid}: count={len(calls)} {_pairs(calls.facts)}"
    for time, duration, function, thread in zip(calls.start, calls.duration, calls.function, calls.thread, strict=True):
        name, file, line = calls.functions[function]
        where = _one_line(f"{file}:{line} {name}")
        yield f"{(time - start) / 1e9:+.9f} {pid} tid {calls.threads[thread]} call: duration={duration} {where}"


def _snapshots(image: ImageData, pid: object, define: Definitions) -> Iterator[str]:
    """What stood in the live tables at the end."""
    for row in image.totals:
        yield f"  totals {pid}.{row['thread']}: {_pairs(row)} {_named('object', row['object'], define)}".rstrip()
    for fields in image.flushed_totals:
        yield f"  totals, object gone {pid}: {_pairs(dict(zip(kinds.TOTALS.fields, fields, strict=True)))}"
    for entry in image.threads:
        if entry.get("wait") or entry.get("held"):
            yield f"  thread {pid}.{entry['thread']}: {_pairs(entry)}"
    for row in image.objects:
        yield f"  owner {pid}.{row['thread']}: {_pairs(row)} {_named('object', row['object'], define)}".rstrip()
    if image.counters:
        yield f"  counters {pid}: {_pairs(image.counters)}"


def _record(fields: dict[str, int], pid: object, define: Definitions, start: int) -> str:
    kind = kinds.BY_NUMBER.get(fields["kind"])
    since = (fields["time"] - start) / 1e9
    said = " ".join(_field(name, value, define) for name, value in fields.items() if _is_said(name, value))
    return f"{since:+.9f} {pid}.{fields['thread']} {kind.name if kind else 'kind ' + str(fields['kind'])}: {said}"


def _is_said(name: str, value: int) -> bool:
    return name not in _IN_FRONT and value != (NO_CORE if name == "core" else 0)


def _field(name: str, value: int, define: Definitions) -> str:
    if name == "outcome":
        outcome = kinds.OUTCOME_BY_NUMBER.get(value)
        return f"outcome={outcome.name if outcome else value}"
    named = _named(name, value, define)
    return f"{name}={value} {named}" if named else f"{name}={value}"


def _named(name: str, value: int, define: Definitions) -> str:
    """The definition behind a number, or nothing."""
    if name == "stack":
        return " < ".join(_one_line(str(site)) for site in define.stack(value))
    if name != "object":
        return ""
    thing = define.fields(kinds.OBJECT, value)
    if thing:
        return _one_line(f"{thing[0]} {thing[1]}".rstrip())
    text = define.text(value)
    return repr(text) if text else ""


def _pairs(facts: Mapping[str, object]) -> str:
    return _one_line(" ".join(f"{key}={value}" for key, value in facts.items() if value not in (None, "")))


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
