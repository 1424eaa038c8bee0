"""The foreign keys: every word and phase letter of the Chrome trace format stands here and nowhere else.

Each function gives the JSON text of one event. The text is put together by hand because that is four times
faster than dictionaries and ``json.dumps``, and because a timestamp must not pass through a float: Perfetto
reads microseconds with three decimals, so `micros` writes an integer of nanoseconds by its digits.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from .prefix import PREFIX

#: What stands in ``args``; nothing deeper is needed.
Args: TypeAlias = Mapping[str, "str | int"]


class Lane(NamedTuple):
    """Where an event is drawn: numbers that are unique in one exported file (see `lanes`)."""

    pid: int
    tid: int


@lru_cache(maxsize=65536)
def quote(text: str) -> str:
    """`text` as a JSON string; lone surrogates, which JSON can't hold, are spelled out."""
    return json.dumps(text.encode("utf-8", "backslashreplace").decode("utf-8"), ensure_ascii=False)


def micros(ns: int) -> str:
    """Nanoseconds as microseconds with exactly three decimals."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def words(args: Args) -> str:
    """What stands between the braces of ``args``; what is not known (an empty text) is left out."""
    return ",".join([f"{quote(key)}:{_word(value)}" for key, value in args.items() if value != ""])


def _word(value: str | int) -> str:
    return quote(value) if isinstance(value, str) else str(value)


def numbers(**args: int | None) -> str:
    """The same for numbers; None is not known."""
    return ",".join([f'"{key}":{value}' for key, value in args.items() if value is not None])


def both(first: str, second: str) -> str:
    """Two pieces of args as one."""
    return f"{first},{second}" if first and second else first or second


def _args(args: str) -> str:
    return f',"args":{{{args}}}' if args else ""


def complete(lane: Lane, start: int, end: int, name: str, category: str, args: str) -> str:
    """A slice of a thread's lane."""
    return (
        f'{{"ph":"X","pid":{lane.pid},"tid":{lane.tid},"ts":{micros(start)},"dur":{micros(end - start)},'
        f'"name":{quote(name)},"cat":{quote(category)}{_args(args)}}}'
    )


def async_begin(lane: Lane, time: int, name: str, category: str, track: int, args: str) -> str:
    """Begin of a slice on track number `track` of a process; slices of one track nest."""
    return _async("b", lane, time, name, category, track, args)


def async_end(lane: Lane, time: int, name: str, category: str, track: int) -> str:
    """End of the innermost slice that is open on the track."""
    return _async("e", lane, time, name, category, track, "")


def _async(phase: str, lane: Lane, time: int, name: str, category: str, track: int, args: str) -> str:
    return (
        f'{{"ph":"{phase}","pid":{lane.pid},"tid":{lane.tid},"ts":{micros(time)},'
        f'"name":{quote(name)},"cat":{quote(category)},"id2":{{"local":"0x{track:x}"}}{_args(args)}}}'
    )


def instant(lane: Lane, time: int, name: str, category: str, args: str) -> str:
    """A moment on a thread's lane."""
    return (
        f'{{"ph":"i","s":"t","pid":{lane.pid},"tid":{lane.tid},"ts":{micros(time)},'
        f'"name":{quote(name)},"cat":{quote(category)}{_args(args)}}}'
    )


def counter(lane: Lane, time: int, name: str, value: float) -> str:
    """A value. Perfetto calls the track "name key", so the last word of a longer name serves as the key."""
    head, _, key = name.rpartition(" ")
    if not head:
        head, key = name, "value"
    return (
        f'{{"ph":"C","pid":{lane.pid},"ts":{micros(time)},"name":{quote(head)},"cat":"counter",'
        f'"args":{{{quote(key)}:{_number(value)}}}}}'
    )


def _number(value: float) -> str:
    """JSON has no infinity and no not-a-number; Perfetto would refuse the whole file."""
    return json.dumps(value) if abs(value) <= 1.7976931348623157e308 else "0"


def arrow(number: int, name: str, source: Lane, source_time: int, target: Lane, target_time: int) -> Iterable[str]:
    """Both ends of an arrow."""
    yield _arrow_end("s", "", number, name, source, source_time)
    yield _arrow_end("f", '"bp":"e",', number, name, target, target_time)


def _arrow_end(phase: str, bind: str, number: int, name: str, lane: Lane, time: int) -> str:
    return (
        f'{{"ph":"{phase}",{bind}"id":{number},"pid":{lane.pid},"tid":{lane.tid},"ts":{micros(time)},'
        f'"name":{quote(name)},"cat":"flow"}}'
    )


def settle(lane: Lane, time: int) -> str:
    """Makes Perfetto forget the slices of a lane that are over at `time` (why: `arrows`)."""
    return f'{{"ph":"E","pid":{lane.pid},"tid":{lane.tid},"ts":{micros(time)}}}'


def process_metadata(lane: Lane, name: str, label: str, order: int) -> Iterable[str]:
    """What the process's group of lanes is called, and its place."""
    yield _metadata(lane, "process_name", "name", quote(name))
    yield _metadata(lane, "process_sort_index", "sort_index", str(order))
    if label:
        yield _metadata(lane, "process_labels", "labels", quote(label))


def thread_metadata(lane: Lane, name: str, order: int) -> Iterable[str]:
    """What the thread's lane is called, and its place."""
    yield _metadata(lane, "thread_name", "name", quote(name))
    yield _metadata(lane, "thread_sort_index", "sort_index", str(order))


def _metadata(lane: Lane, what: str, key: str, value: str) -> str:
    return f'{{"ph":"M","pid":{lane.pid},"tid":{lane.tid},"name":"{what}","args":{{"{key}":{value}}}}}'


def document(version: str, facts: Mapping[str, object], events: Iterable[str]) -> str:
    """The whole file; `facts` follow the version in ``otherData``."""
    rest = "".join(f",{quote(key)}:{_value(value)}" for key, value in facts.items())
    body = ",\n".join(events)
    return f'{PREFIX}{quote(version)}{rest}}},\n"displayTimeUnit":"ns",\n"traceEvents":[\n{body}\n]}}\n'


def _value(value: object) -> str:
    if isinstance(value, str):
        return quote(value)
    return json.dumps(value)
