"""Texts as bytes, as a definition and a live page hold them.

Apart from `schema` and `layout`, which need `struct`: the native recorder gets by without these, and does not load them.
"""

from __future__ import annotations

#: Room for the command on a live page (`layout.LIVE_COMMAND`), its length in four bytes included.
COMMAND_SIZE = 3072


def pack_payload(fields: tuple[str | int, ...]) -> bytes:
    """The payload of a `DEFINE` record: each field as text, UTF-8, behind its length in four bytes."""
    parts = []
    for field in fields:
        # Names come from the program and may hold lone surrogates.
        text = str(field).encode("utf-8", "backslashreplace")
        parts.append(len(text).to_bytes(4, "little"))
        parts.append(text)
    return b"".join(parts)


def unpack_payload(payload: bytes) -> list[str]:
    """The fields of a `DEFINE` record's payload; raises ValueError when it is cut short."""
    fields, at = [], 0
    while at < len(payload):
        end = at + 4 + int.from_bytes(payload[at : at + 4], "little")
        if end > len(payload):
            raise ValueError(f"definition payload is cut at byte {at} of {len(payload)}")
        fields.append(payload[at + 4 : end].decode("utf-8", "backslashreplace"))
        at = end
    return fields
