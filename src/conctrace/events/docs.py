"""Makes ``docs/events.md`` from the tables that declare the events, so that it is never out of date.

``python -m conctrace.events.docs --check`` fails when the file differs from what the tables say; ``--write``
mends it. No traced process imports this module.
"""

from __future__ import annotations

import sys
from struct import calcsize

from conctrace.events import kinds, layout, schema
from conctrace.events.generated import Generated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INTRODUCTION = """\
# Events: what a trace records

<!-- Made by `python -m conctrace.events.docs --write` from src/conctrace/events/; edit those. -->

Every event is one record of {size} bytes, the same for all kinds. What its fields mean depends on the kind;
a field that a kind does not name is 0. Times are CLOCK_MONOTONIC, in nanoseconds. This is schema {version}.
"""


def page() -> str:
    """The whole of ``docs/events.md``."""
    sections = (record_section(), kinds_section(), outcomes_section(), definitions_section(), counters_section())
    introduction = INTRODUCTION.format(size=schema.RECORD_SIZE, version=schema.SCHEMA_VERSION)
    return "\n".join([introduction, *("\n".join(section) + "\n" for section in sections)])


def record_section() -> Iterator[str]:
    yield "## The record\n"
    rows, offset = [], 0
    for field in schema.FIELDS:
        size = calcsize("<" + field.code)
        rows.append((f"`{field.name}`", offset, size, field.unit, field.meaning))
        offset += size
    yield from table(("field", "at", "bytes", "unit", "meaning"), rows)


def kinds_section() -> Iterator[str]:
    yield "## Kinds"
    for kind in kinds.KINDS:
        yield f"\n### {kind.number} · {kind.name}\n\n{kind.meaning}\n"
        if kind.fields:
            yield from table(("field", "holds"), [(f"`{name}`", text) for name, text in kind.fields.items()])


def outcomes_section() -> Iterator[str]:
    yield "## Outcomes\n"
    rows = [(outcome.number, outcome.name or "–", outcome.meaning) for outcome in kinds.OUTCOMES]
    yield from table(("number", "name", "meaning"), rows)


def definitions_section() -> Iterator[str]:
    yield "## Definitions\n\nWhat a number in a record stands for is said once, before it is used.\n"
    rows = [
        (definition.number, definition.name, ", ".join(f"`{name}`" for name in definition.fields), definition.meaning)
        for definition in kinds.DEFINITIONS
    ]
    yield from table(("number", "name", "fields", "meaning"), rows)


def counters_section() -> Iterator[str]:
    yield "## Counters of a process\n\nWhat was recorded, and what was lost; they are in the trace, too.\n"
    yield from table(("counter", "counts"), [(f"`{name}`", meaning) for name, _, meaning in layout.LIVE_COUNTERS])


def table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """A Markdown table."""
    yield row(heads)
    yield row("---" for _ in heads)
    yield from map(row, rows)


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


FILE = Generated("docs/events.md", "conctrace.events.docs", page)

if __name__ == "__main__":
    sys.exit(FILE.main(sys.argv[1:]))
