"""The writer's end of the segment protocol (`events.layout`): reserve slots, fill them, kind last."""

from __future__ import annotations

from ..events import layout
from ..events.schema import MORE_PAYLOAD, RECORD_SHIFT, RECORD_SIZE, SCHEMA_VERSION
from .linux import create_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Segment:
    """One mapped segment file.

    `next` is the next free slot. Under the GIL ``slot = segment.next; segment.next = slot + n`` reserves atomically:
    since CPython 3.10 a thread switch or a signal handler can only come at a call or a jump, and there is none
    between the two. (A free-threaded build needs the native recorder.)
    """

    __slots__ = ("limit", "next", "path", "seq", "view")

    def __init__(self, folder: str, nonce: int, seq: int, size: int) -> None:
        self.path = f"{folder}/{layout.segment_name(nonce, seq)}"
        self.seq = seq
        self.view: Any = memoryview(create_mapped(self.path, size)).cast("B")
        layout.SEGMENT.pack_into(
            self.view, 0, layout.SEGMENT_MAGIC, SCHEMA_VERSION, layout.ABI_VERSION, nonce, seq, size
        )
        self.limit = size >> RECORD_SHIFT
        self.next = 1

    def store_payload(self, slot: int, payload: bytes, more_kind: int) -> None:
        """Fill the MORE slots from `slot` on with the payload."""
        view = self.view
        for at in range(0, len(payload), MORE_PAYLOAD):
            start = slot << RECORD_SHIFT
            part = payload[at : at + MORE_PAYLOAD]
            view[start : start + len(part)] = part
            view[start + RECORD_SIZE - 1] = more_kind
            slot += 1


def more_slots(payload: bytes) -> int:
    """How many MORE slots a payload takes."""
    return -(-len(payload) // MORE_PAYLOAD)


def segment_size(seq: int, least: int) -> int:
    """Size of segment number `seq`: doubling up to the largest, and at least `least` bytes in any case."""
    size = min(layout.FIRST_SEGMENT_SIZE << min(seq, 16), layout.LARGEST_SEGMENT_SIZE)
    while size < least:
        size *= 2
    return size
