"""Reads what an image keeps in shared mappings: its live page, and the entries of its threads, totals and objects.

A live page's identity is written once, the entries' double halves again and again (`events.layout`). Of a process
that is dead one look is right. Of one that lives, a look may fall into the middle of a store, and its two equal
sequence words prove nothing, since the copy goes upwards through the bytes like the store itself; so an entry
counts when two looks agree.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count

from ..events import layout, schema
from ..events.schema import unpack_payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_IDENTITY = (
    "nonce", "parent_nonce", "pid", "ppid", "start_ticks", "pidns", "born_ns", "wall_ns", "inherited_below",
    "exec_generation", "recorder", "role", "hexversion",
)  # fmt: skip
_TABLES = ("threads", "totals", "objects")
#: Looks at an entry that is being written all the time, before taking it as it is.
_LOOKS = 5


def identity(page: bytes) -> dict[str, Any] | None:
    """Who an image is, from its live page; None while the page is still being written."""
    if len(page) < layout.PAGE or page[: len(layout.LIVE_MAGIC)] != layout.LIVE_MAGIC:
        return None
    _, version, abi, *values = layout.LIVE.unpack_from(page)
    facts: dict[str, Any] = dict(zip(_IDENTITY, values, strict=False))
    if not (facts["pid"] and facts["hexversion"]):
        return None
    facts["recorder"] = _word(layout.RECORDERS, facts["recorder"])
    facts["role"] = _word(layout.ROLES, facts["role"])
    facts["command"] = _command(page)
    facts["readable"] = (version, abi) == (schema.SCHEMA_VERSION, layout.ABI_VERSION)
    return facts


def counters(page: bytes) -> dict[str, int]:
    """The counters of a live page."""
    return {
        name: int.from_bytes(page[offset : offset + 8], "little")
        for name, offset in layout.LIVE_COUNTER_OFFSETS.items()
    }


def off_reason(page: bytes) -> str:
    """Why the recorder switched itself off, or nothing."""
    offset, length = layout.LIVE_OFF_REASON
    return page[offset : offset + length].split(b"\0", 1)[0].decode("utf-8", "replace")


def live_page(folder: str, nonce: int) -> bytes:
    """An image's live page; nothing when there is none."""
    return _content(os.path.join(folder, layout.live_name(nonce)))


def having(names: list[str]) -> Iterator[int]:
    """Images that have a table of any kind, by the names of files in the session's folder."""
    for name in names:
        nonce, _, rest = name.partition(".")
        if rest.partition(".")[0] in _TABLES:
            with suppress(ValueError):
                yield int(nonce, 16)


def of(folder: str, nonce: int | None) -> dict[str, list[dict[str, Any]]]:
    """All that an image keeps in tables; nothing of None."""
    if nonce is None:
        return {"totals": [], "threads": [], "objects": []}
    return {"totals": totals(folder, nonce), "threads": threads(folder, nonce), "objects": objects(folder, nonce)}


def threads(folder: str, nonce: int) -> list[dict[str, Any]]:
    """What each thread of an image waits for and holds."""
    return _entries(folder, nonce, "threads", layout.THREAD_ENTRY_SIZE, _thread)


def totals(folder: str, nonce: int) -> list[dict[str, int]]:
    """The totals an image keeps, per object, thread and call site."""
    return _entries(folder, nonce, "totals", layout.TOTALS_ENTRY_SIZE, _totals)


def objects(folder: str, nonce: int) -> list[dict[str, int]]:
    """Who has each lock that somebody had to wait for; locks that nobody has are left out."""
    return _entries(folder, nonce, "objects", layout.OBJECT_ENTRY_SIZE, _object)


def unlink(folder: str, nonce: int) -> None:
    """Removes an image's tables, of which everything was taken."""
    for table in _TABLES:
        for path in _chunks(folder, nonce, table):
            os.unlink(path)


def _entries(
    folder: str, nonce: int, table: str, size: int, decode: Callable[[bytes], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for path in _chunks(folder, nonce, table):
        content = _stable(path)
        found = (decode(content[at : at + size]) for at in range(0, len(content) - size + 1, size))
        entries.extend(entry for entry in found if entry is not None)
    return entries


def _chunks(folder: str, nonce: int, table: str) -> Iterator[str]:
    for index in count():
        path = os.path.join(folder, layout.chunk_name(nonce, table, index))
        if not os.path.exists(path):
            return
        yield path


def _stable(path: str) -> bytes:
    """A table's content that looked the same twice, or what the last look saw of one that never holds still."""
    content = _content(path)
    for _ in range(_LOOKS):
        again = _content(path)
        if again == content:
            break
        content = again
    return content


def _thread(entry: bytes) -> dict[str, Any] | None:
    key, native_id = layout.THREAD_KEY.unpack_from(entry)
    if key == 0:
        return None
    return {"thread": key - 1, "native_id": native_id, "wait": _wait(entry), "held": _held(entry)}


def _wait(entry: bytes) -> dict[str, int] | None:
    half = _valid_half(entry, layout.THREAD_WAIT, layout.THREAD_WAIT_OFFSETS)
    if half is None:
        return None
    since, other, value, obj, stack, kind, _core = half
    if kind == 0:
        return None
    return {"since": since, "other": other, "value": value, "object": obj, "stack": stack, "kind": kind}


def _held(entry: bytes) -> list[dict[str, int]]:
    held: list[dict[str, int]] = []
    for index in range(layout.THREAD_HELD_MAX):
        since, word = layout.THREAD_HELD.unpack_from(entry, layout.THREAD_HELD_OFFSET + index * layout.THREAD_HELD.size)
        if word == 0:
            break
        held.append({"object": word >> 32, "site": word & 0xFFFFFFFF, "since": since})
    return held


def _totals(entry: bytes) -> dict[str, int] | None:
    used, obj, thread, site = layout.TOTALS_KEY.unpack_from(entry)
    half = _valid_half(entry, layout.TOTALS_HALF, layout.TOTALS_HALF_OFFSETS)
    if not used or half is None:
        return None
    return {"object": obj, "thread": thread, "site": site, **dict(zip(layout.TOTALS_COUNTS, half, strict=False))}


def _object(entry: bytes) -> dict[str, int] | None:
    (number,) = layout.OBJECT_KEY.unpack_from(entry)
    since, owner = layout.OBJECT_OWNER.unpack_from(entry, layout.OBJECT_OWNER_OFFSET)
    thread, site = owner >> 32, owner & 0xFFFFFFFF
    # An owner is stored in one go, and after `since`: one without a thread or a time was never stored.
    if not (number and thread and since):
        return None
    return {"object": number, "thread": thread - 1, "site": site, "since": since}


def _valid_half(entry: bytes, form: Any, offsets: tuple[int, ...]) -> tuple[int, ...] | None:
    """The newer of the two halves that were written to their end, without its sequence words."""
    halves = [form.unpack_from(entry, offset) for offset in offsets]
    whole = [half for half in halves if half[0] == half[-1] and half[0]]
    return max(whole)[1:-1] if whole else None


def _command(page: bytes) -> list[str]:
    offset, room = layout.LIVE_COMMAND
    length = min(int.from_bytes(page[offset : offset + 4], "little"), room - 4)
    payload = page[offset + 4 : offset + 4 + length]
    try:
        return unpack_payload(payload)
    except ValueError:
        return _whole_fields(payload)


def _whole_fields(payload: bytes) -> list[str]:
    """The fields of a payload that was cut to fit: the last one ends where the page does."""
    fields, at = [], 0
    while at + 4 < len(payload):
        end = at + 4 + int.from_bytes(payload[at : at + 4], "little")
        fields.append(payload[at + 4 : end].decode("utf-8", "replace"))
        at = end
    return fields


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if number < len(words) else f"unknown {number}"


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
