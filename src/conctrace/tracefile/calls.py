"""Calls of functions as a block of the trace file holds them: names once, then columns.

There may be a million in an image, so they stay columns (`array`) up to the exporter: 24 bytes a call, where objects
would take 200. In the file their bytes are transposed, like those of records (`codec`), for zlib.
"""

from __future__ import annotations

import json
from array import array
from itertools import accumulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    #: Qualified name, file, line.
    Function: TypeAlias = tuple[str, str, int]

#: Calls in one part, at most.
PART = 1 << 16
_WRAP = (1 << 64) - 1


class Calls:
    """Calls of one image, in the order in which they returned; `function` and `thread` are places in the two lists."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        #: native ids
        self.threads: list[int] = []
        self.start = array("Q")
        self.duration = array("Q")
        self.function = array("I")
        self.thread = array("H")
        #: of the whole image: error_ns, reason (why calls are missing, or nothing), overflow, cut
        self.facts: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.start)


def encode(calls: Calls, part: int) -> bytes:
    """One part of an image's calls; parts count from 0."""
    head = json.dumps([part, calls.facts, calls.functions, calls.threads, len(calls)], separators=(",", ":")).encode()
    deltas = array("Q", [time - before & _WRAP for time, before in zip(calls.start, [0, *calls.start], strict=False)])
    columns = (deltas, calls.duration, calls.function, calls.thread)
    return len(head).to_bytes(4, "little") + head + b"".join(map(_planes, columns))


def decode(raw: bytes) -> tuple[int, Calls]:
    """The number of a part, and its calls; ValueError when it is none."""
    at = 4 + int.from_bytes(raw[:4], "little")
    part, facts, functions, threads, count = json.loads(raw[4:at])
    calls = Calls()
    calls.facts = facts
    calls.functions = [(name, file, line) for name, file, line in functions]
    calls.threads = threads
    columns = (calls.start, calls.duration, calls.function, calls.thread)
    if len(raw) != at + sum(count * column.itemsize for column in columns):
        raise ValueError("a block of calls is not as long as its head says")
    for column in columns:
        end = at + count * column.itemsize
        _fill(column, raw[at:end])
        at = end
    calls.start = array("Q", [time & _WRAP for time in accumulate(calls.start)])
    return part, calls


def joined(parts: Sequence[Calls]) -> Calls:
    """All calls of an image, of its parts in order."""
    whole = Calls()
    whole.facts = parts[0].facts
    functions: dict[Function, int] = {}
    threads: dict[int, int] = {}
    for part in parts:
        function = [functions.setdefault(each, len(functions)) for each in part.functions]
        thread = [threads.setdefault(each, len(threads)) for each in part.threads]
        whole.start.extend(part.start)
        whole.duration.extend(part.duration)
        whole.function.extend([function[each] for each in part.function])
        whole.thread.extend([thread[each] for each in part.thread])
    whole.functions, whole.threads = list(functions), list(threads)
    return whole


def _planes(column: Any) -> bytes:
    data = column.tobytes()
    return b"".join(data[byte :: column.itemsize] for byte in range(column.itemsize))


def _fill(column: Any, planes: bytes) -> None:
    count = len(planes) // column.itemsize
    data = bytearray(len(planes))
    for byte in range(column.itemsize):
        data[byte :: column.itemsize] = planes[byte * count : (byte + 1) * count]
    column.frombytes(bytes(data))
