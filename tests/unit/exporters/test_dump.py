"""The raw text form: every record is a line, and every number that stands for something says what."""

from __future__ import annotations

from conctrace.events import kinds
from conctrace.events.schema import FIELDS
from conctrace.exporters.text.dump import lines
from conctrace.tracefile.reader import ImageData, RawTrace


def record(**values: int) -> tuple[int, ...]:
    return tuple(values.get(field.name, 0xFFFF if field.name == "core" else 0) for field in FIELDS)


def raw_trace(*records: tuple[int, ...]) -> RawTrace:
    definitions = {
        kinds.SITE.number: {5: ["race.py", "8", "work"]},
        kinds.OBJECT.number: {7: ["Lock", "lo\nck", "5", ""]},
        kinds.TEXT.number: {8: ["a\x1b name"]},
    }
    image = ImageData(0xAB)
    image.facts["pid"] = 4242
    image.records += records
    image.definitions.update(definitions)
    return raw_of({0xAB: image})


def raw_of(images: dict[int, ImageData], cut: str | None = None) -> RawTrace:
    return RawTrace(
        plan={}, main={}, images=images, names={}, complete=cut is None, cut=cut, ended_ns=None, schema=1
    )  # fmt: skip


def test_a_hold_says_its_lock_and_place() -> None:
    held = record(
        time=1_000_000_123, duration=5, object=7, stack=5, core=1, kind=kinds.LOCK_HOLD.number,
        outcome=kinds.CONTENDED.number,
    )  # fmt: skip
    born = record(time=1_000_000_000, value=4242, kind=kinds.PROCESS_BORN.number)
    text = list(lines(raw_trace(born, held)))
    assert "+0.000000000 4242.0 process born: value=4242" in text
    assert (
        "+0.000000123 4242.0 lock held: duration=5 object=7 Lock lo\\nck stack=5 race.py:8 work core=1 outcome=contended"
        in text
    )


def test_who_had_a_lock_at_the_end_is_said() -> None:
    raw = raw_trace()
    raw.images[0xAB].objects = [{"object": 7, "thread": 1, "site": 5, "since": 9}]
    assert "  owner 4242.1: object=7 thread=1 site=5 since=9 Lock lo\\nck" in list(lines(raw))


def test_texts_cannot_break_lines_or_reach_the_terminal() -> None:
    text = list(lines(raw_trace(record(time=1, object=8, kind=kinds.SPAN.number))))
    assert "+0.000000000 4242.0 span: object=8 'a\\x1b name'" in text
    assert all(line.isprintable() for line in text)


def test_unknown_kinds_and_missing_definitions_are_shown_as_numbers() -> None:
    text = list(lines(raw_trace(record(time=1, object=99, stack=98, kind=200, outcome=250))))
    assert "+0.000000000 4242.0 kind 200: object=99 stack=98 outcome=250" in text


def test_an_empty_trace_is_a_line_that_says_so() -> None:
    assert list(lines(raw_of({}, "cut at byte 7"))) == [
        "schema 1, images: 0, records: 0, first at 0 ns",
        "cut: cut at byte 7",
    ]
