"""The record: one event, 64 bytes, the same for every kind.

Which bytes mean what is declared once, in `FIELDS`; the struct format, the columns of a trace file,
the NumPy dtype and the table in ``docs/events.md`` derive from it. `kind` is the last byte on purpose: a
writer stores it last, so a slot whose kind is 0 was never finished (see `layout`).

History of SCHEMA_VERSION
  1  the first
"""

from __future__ import annotations

from struct import Struct

# The record's other half, for those who read or write both.
from .payload import pack_payload as pack_payload  # noqa: PLC0414
from .payload import unpack_payload as unpack_payload  # noqa: PLC0414

SCHEMA_VERSION = 1


class Field:
    """One field of the record: its name, struct code, unit, and meaning."""

    __slots__ = ("code", "meaning", "name", "unit")

    def __init__(self, name: str, code: str, unit: str, meaning: str) -> None:
        self.name = name
        self.code = code
        self.unit = unit
        self.meaning = meaning


FIELDS: tuple[Field, ...] = (
    Field("time", "Q", "ns", "CLOCK_MONOTONIC where the event began"),
    Field("duration", "Q", "ns", "how long it lasted; 0 for a moment"),
    Field("other", "Q", "", "the other party; by kind"),
    Field("value", "q", "", "a number; by kind"),
    Field("cpu", "Q", "ns", "the thread's CPU time at the end of a wait; 0: not read"),
    Field("runq", "Q", "ns", "the thread's run-queue delay so far at the end of a wait; 0: not read"),
    Field("object", "I", "number", "what it happened to"),
    Field("thread", "I", "index", "in which thread of the image"),
    Field("stack", "I", "number", "where in the program; taken before it blocked"),
    Field("core", "H", "", "CPU core at the time of writing, 65535: not known"),
    Field("outcome", "B", "", "how it ended (OUTCOMES)"),
    Field("kind", "B", "", "what it is (KINDS); 0: this slot was never finished"),
)

RECORD = Struct("<" + "".join(field.code for field in FIELDS))
RECORD_SIZE = RECORD.size
RECORD_SHIFT = 6
assert RECORD_SIZE == 1 << RECORD_SHIFT

#: Payload bytes of one `MORE` slot: all but its kind.
MORE_PAYLOAD = RECORD_SIZE - 1

NO_CORE = 0xFFFF

_NUMPY_CODES = {"Q": "<u8", "q": "<i8", "I": "<u4", "H": "<u2", "B": "u1"}


def dtype() -> list[tuple[str, str]]:
    """The record as a NumPy dtype description: ``numpy.dtype(dtype())`` has itemsize 64."""
    return [(field.name, _NUMPY_CODES[field.code]) for field in FIELDS]
