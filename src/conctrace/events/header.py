"""Makes ``schema.h``, from which the native recorder has every number it shares with the rest.

``python -m conctrace.events.header --check`` fails when the file differs from what `schema`, `kinds`, `layout` and
`settings` say; ``--write`` mends it. A C name is ``CT_`` and the name in Python; no traced process imports this module.
"""

from __future__ import annotations

import sys
from struct import Struct

from conctrace import settings
from conctrace.events import kinds, layout, schema
from conctrace.events.generated import Generated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INTRODUCTION = """\
/* Made by `python -m conctrace.events.header --write` from src/conctrace/events/ and settings.py; edit those. */
#ifndef CT_SCHEMA_H
#define CT_SCHEMA_H

#include <stdint.h>
"""

#: What a struct code is in C.
C_TYPES = {"Q": "uint64_t", "q": "int64_t", "I": "uint32_t", "H": "uint16_t", "B": "uint8_t"}

FROM_SCHEMA = ("SCHEMA_VERSION", "RECORD_SIZE", "RECORD_SHIFT", "MORE_PAYLOAD", "NO_CORE")
FROM_SETTINGS = (
    "BUDGET_FIRST",
    "BUDGET_PER_SECOND",
    "BUDGET_LEAST",
    "SHORT_NS",
    "STACK_DEPTH",
    "STACKS_MAX",
    "TEXTS_MAX",
)


def header() -> str:
    """The whole of ``schema.h``."""
    sections = {
        "schema.py": [(name, getattr(schema, name)) for name in FROM_SCHEMA],
        "kinds.py: what an event is": numbers("KIND", kinds.KINDS),
        "kinds.py: how it ended": numbers("OUTCOME", kinds.OUTCOMES),
        "kinds.py: what a DEFINE record defines": numbers("DEFINE", kinds.DEFINITIONS),
        "layout.py": list(of_layout()),
        "layout.py: offsets of the live page's counters": [
            (f"LIVE_{name.upper()}", offset) for name, offset, _ in layout.LIVE_COUNTERS
        ],
        "settings.py": [(name, getattr(settings, name)) for name in FROM_SETTINGS],
    }
    names = [name for section in sections.values() for name, _ in section]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two constants would have the same name in C: {', '.join(sorted(repeated))}")
    lines = [INTRODUCTION, *record()]
    for title, section in sections.items():
        lines.append(f"\n/* {title} */")
        lines.extend(f"#define CT_{name} {literal(value)}" for name, value in section)
    return "\n".join([*lines, "\n#endif\n"])


def record() -> Iterator[str]:
    """The record as a struct; that it has no padding follows from its size."""
    yield "struct ct_record {"
    for field in schema.FIELDS:
        unit = f" ({field.unit})" if field.unit else ""
        yield f"    {C_TYPES[field.code]} {field.name}; /* {field.meaning}{unit} */"
    yield "};"
    yield f'_Static_assert(sizeof(struct ct_record) == {schema.RECORD_SIZE}, "a record has {schema.RECORD_SIZE} bytes");'


def numbers(
    prefix: str, declared: Iterable[kinds.EventKind | kinds.OutcomeKind | kinds.Definition]
) -> list[tuple[str, int]]:
    """The numbers of what `kinds` declares, under the names of its variables."""
    variables = {id(value): name for name, value in vars(kinds).items()}
    return [(f"{prefix}_{variables[id(one)]}", one.number) for one in declared]


def of_layout() -> Iterator[tuple[str, int | str | bytes]]:
    """The constants of `layout`: numbers and texts as they are, a Struct's size, a name's place in its tuple."""
    for name, value in vars(layout).items():
        if not name.isupper() or name == "LIVE_COUNTERS":
            continue
        if type(value) in (int, str, bytes):
            yield name, value
        elif isinstance(value, Struct):
            yield f"SIZEOF_{name}", value.size
        elif isinstance(value, tuple):
            for index, member in enumerate(value):
                if isinstance(member, int):
                    yield f"{name}_{index}", member
                else:
                    yield f"{name.removesuffix('S')}_{member.upper().replace(' ', '_')}", index


def literal(value: int | str | bytes) -> str:
    if isinstance(value, int):
        return str(value)
    return '"' + (value.decode("ascii") if isinstance(value, bytes) else value) + '"'


FILE = Generated("src/conctrace/recorder/native/schema.h", "conctrace.events.header", header)

if __name__ == "__main__":
    sys.exit(FILE.main(sys.argv[1:]))
