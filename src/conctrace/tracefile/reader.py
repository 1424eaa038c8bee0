"""Reads a trace file into `RawTrace`: every image's records in order, definitions resolved, nothing interpreted.

A file can end anywhere: its writer was killed, the disk was full, the download broke off. So blocks are taken one
by one up to the first that is not whole, and what came before counts. Only a file of which nothing can be used
(empty, not a trace, cut inside its first block, of a newer conctrace) is refused.

Rows come in blocks of (segment, first slot). They are put together per segment before anything is looked at,
because a definition may go over the end of a block, and because a session that was recovered holds some rows
twice. What is missing is counted here, where all of it can be seen: a slot without a kind inside the rows is a
hole, so are a definition that is not whole, and its parts that were found alone; a number missing in the
sequence of segments is a lost segment.
"""

from __future__ import annotations

import json
import zlib
from itertools import pairwise

from ..errors import TraceFileError
from ..events import kinds
from ..events.schema import FIELDS, MORE_PAYLOAD, RECORD, RECORD_SIZE, SCHEMA_VERSION, unpack_payload
from . import codec
from . import format as form
from .calls import decode as decode_calls
from .calls import joined
from .writer import checksum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar

    from .calls import Calls

_NAMES = tuple(field.name for field in FIELDS)
_KIND_AT = RECORD_SIZE - 1
#: Translates a kind to 1 when its row is no event of its own.
_SPECIAL = bytes(int(kind in (0, kinds.DEFINE.number, kinds.MORE.number)) for kind in range(256))


# Plain classes: three dataclasses would take 6 ms to make, which the user of an empty script waits for.


class ImageData:
    """One process image, as recorded."""

    def __init__(self, nonce: int) -> None:
        self.nonce = nonce
        #: identity from its live page: pid, ppid, parent_nonce, start_ticks, pidns, born_ns, wall_ns,
        #: inherited_below, exec_generation, recorder, role, hexversion, command
        self.facts: dict[str, Any] = {}
        self.counters: dict[str, int] = {}
        self.off_reason = ""
        #: what the collector saw: dead, died_ns, holes, lost_segments, first_seen_ns, replaced_by (the nonce of the
        #: image that came after exec)
        self.seen: dict[str, Any] = {"dead": False, "died_ns": None, "holes": 0, "lost_segments": 0}
        #: `schema.RECORD` tuples in the order of their slots, definitions taken out
        self.records: list[tuple[int, ...]] = []
        #: number of the definition → number defined → fields; the last one wins
        self.definitions: dict[int, dict[int, list[str]]] = {}
        #: last snapshot of the live totals: object, thread, site and `layout.TOTALS_COUNTS`
        self.totals: list[dict[str, int]] = []
        #: fields of each TOTALS definition: totals of objects that are gone
        self.flushed_totals: list[list[str]] = []
        #: last snapshot of the thread entries: thread, native_id, wait, held
        self.threads: list[dict[str, Any]] = []
        #: last snapshot of the locks that somebody had waited for, and that somebody had: object, thread, site, since
        self.objects: list[dict[str, int]] = []
        #: calls of functions; None: it left none, not even that there were none
        self.calls: Calls | None = None


class RawTrace:
    """A trace file, read."""

    def __init__(
        self,
        *,
        plan: dict[str, Any],
        main: dict[str, Any],
        images: dict[int, ImageData],
        names: dict[str, str],
        complete: bool,
        cut: str | None,
        ended_ns: int | None,
        schema: int,
        part: dict[str, Any] | None = None,
        programs: list[tuple[int, int, int, int | None]] | None = None,
    ) -> None:
        self.plan = plan
        #: pid, status and ended_ns of the main process, as far as they are known
        self.main = main
        self.images = images
        #: "file:line" → what the source calls the lock made there
        self.names = names
        self.complete = complete
        #: one sentence when the file is cut or garbled
        self.cut = cut
        self.ended_ns = ended_ns
        self.schema = schema
        #: name, start and end of the part of the run that the file is about; None: all of it
        self.part = part
        #: programs that record nothing, as the collector saw them: image that started it, pid, when, when it was dead
        self.programs = programs or []


class Block:
    """One whole block of a file."""

    __slots__ = ("end", "kind", "nonce", "payload", "start")

    def __init__(self, kind: int, nonce: int, start: int, end: int, payload: bytes) -> None:
        self.kind = kind
        self.nonce = nonce
        self.start = start
        self.end = end
        #: decompressed
        self.payload = payload

    def facts(self) -> dict[str, Any]:
        """The JSON of a block that is not RECORDS; ValueError or TypeError when it is none."""
        facts = json.loads(self.payload)
        if not isinstance(facts, dict):
            raise TypeError("not a JSON object")
        return facts


class Blocks:
    """The whole blocks of a file, one after the other; where they end, and why, is known afterwards."""

    def __init__(self, path: str, data: bytes) -> None:
        self._path = path
        self._data = data
        self.size = len(data)
        #: end of the last whole block
        self.end = form.HEAD.size
        #: one sentence when something follows that is not whole
        self.cut: str | None = None

    def __iter__(self) -> Iterator[Block]:
        while self.end < len(self._data) and self.cut is None:
            block = self._block_at(self.end)
            if block is not None:
                self.end = block.end
                yield block

    def stop(self, block: Block, why: str) -> None:
        """Counts a block that cannot be understood as not whole."""
        self.end = block.start
        self._say_cut(why)

    def _block_at(self, start: int) -> Block | None:
        body = start + form.BLOCK.size
        if body > len(self._data):
            self._say_cut("a block's header is not whole")
            return None
        kind, zero, length, nonce, check, raw_length = form.BLOCK.unpack_from(self._data, start)
        payload = memoryview(self._data)[body : body + length]
        if len(payload) < length:
            self._say_cut("a block is not whole")
            return None
        if zero or checksum(kind, nonce, payload, raw_length) != check or raw_length > form.LARGEST_PAYLOAD:
            self._say_cut("a block's checksum is wrong")
            return None
        raw = _decompress(payload, raw_length)
        if raw is None:
            self._say_cut("a block cannot be decompressed")
            return None
        return Block(kind, nonce, start, body + length, raw)

    def _say_cut(self, why: str) -> None:
        self.cut = f"{self._path} can be read up to byte {self.end} of {len(self._data)}: {why} there"


def read(path: str) -> RawTrace:
    """The trace in `path`, or of a cut one what is whole; raises TraceFileError with one clear line."""
    data = _content(path)
    schema = _check_head(path, data)
    blocks = Blocks(path, data)
    gathered = _Gathered()
    for block in blocks:
        try:
            gathered.add(block)
        except (ValueError, KeyError, TypeError, AttributeError):
            blocks.stop(block, f"a block of {form.KINDS.get(block.kind, 'an unknown kind')} makes no sense")
    return gathered.result(path, schema, blocks)


def read_blocks(path: str) -> Blocks:
    """The whole blocks of a file, for whoever wants to go on writing it or to look at its bytes."""
    data = _content(path)
    _check_head(path, data)
    return Blocks(path, data)


class _Gathered:
    """What the blocks seen so far say."""

    def __init__(self) -> None:
        self.plan: dict[str, Any] | None = None
        self.main: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.ended: dict[str, Any] | None = None
        self.part: dict[str, Any] | None = None
        self.images: dict[int, ImageData] = {}
        self.programs: dict[int, list[tuple[int, int, int, int | None]]] = {}
        #: nonce → segment → (first slot, rows)
        self.pieces: dict[int, dict[int, list[tuple[int, bytes]]]] = {}
        #: nonce → number of the part → calls; who recovers a session may write some twice
        self.calls: dict[int, dict[int, Calls]] = {}

    def add(self, block: Block) -> None:
        if block.kind == form.PART:
            part = block.facts()
            self.part = {"name": str(part["name"]), "start": int(part["start"]), "end": int(part["end"])}
            return
        if self.ended is not None:
            # Recovered after it was complete: what follows is only of use when it ends well itself.
            self.ended = None
        if block.kind == form.RECORDS:
            segment, first, rows = codec.decode(block.payload)
            self.pieces.setdefault(block.nonce, {}).setdefault(segment, []).append((first, rows))
        elif block.kind == form.CALLS:
            number, calls = decode_calls(block.payload)
            self.calls.setdefault(block.nonce, {})[number] = calls
        elif (take := self._TAKERS.get(block.kind)) is not None:
            take(self, block.nonce, block.facts())

    def result(self, path: str, schema: int, blocks: Blocks) -> RawTrace:
        if self.plan is None:
            raise TraceFileError(f"{path} is cut at byte {blocks.size}, inside its first block: nothing can be read")
        for nonce, segments in self.pieces.items():
            if nonce in self.images:
                _fill(self.images[nonce], segments)
        for nonce, parts in self.calls.items():
            if nonce in self.images and 0 in parts:
                self.images[nonce].calls = joined([calls for _, calls in sorted(parts.items())])
        cut = blocks.cut
        if cut is None and self.ended is None:
            cut = f"{path} ends at byte {blocks.end} without its last block: it was not finished"
        ended = self.ended or {}
        # A recovered trace is whole, and yet not all of the run: its collector died before the end.
        complete = cut is None and not ended.get("recovered", False)
        return RawTrace(
            plan=self.plan, main=self.main, images=self.images, names=self.names, complete=complete, cut=cut,
            ended_ns=ended.get("ended_ns"), schema=schema, part=self.part,
            programs=[program for programs in self.programs.values() for program in programs],
        )  # fmt: skip

    def _take_plan(self, _nonce: int, facts: dict[str, Any]) -> None:
        self.plan = facts

    def _take_main(self, _nonce: int, facts: dict[str, Any]) -> None:
        self.main = facts

    def _take_names(self, _nonce: int, facts: dict[str, Any]) -> None:
        self.names.update(facts)

    def _take_image(self, nonce: int, facts: dict[str, Any]) -> None:
        image = self.images.setdefault(nonce, ImageData(nonce))
        image.facts = dict(facts["facts"])
        # Whoever recovers a session sees its images for a second time.
        first_seen = image.seen.get("first_seen_ns")
        image.seen.update(facts["seen"])
        if first_seen is not None:
            image.seen["first_seen_ns"] = first_seen

    def _take_final(self, nonce: int, facts: dict[str, Any]) -> None:
        self._take_image(nonce, facts)
        image = self.images[nonce]
        image.counters = dict(facts["counters"])
        image.off_reason = str(facts["off_reason"])
        image.totals = list(facts["totals"])
        image.threads = list(facts["threads"])
        # Traces of before there was such a table have none.
        image.objects = list(facts.get("objects", ()))

    def _take_programs(self, nonce: int, facts: dict[str, Any]) -> None:
        self.programs[nonce] = [(nonce, int(pid), int(began), died) for pid, began, died in facts["programs"]]

    def _take_end(self, _nonce: int, facts: dict[str, Any]) -> None:
        self.ended = facts

    _TAKERS: ClassVar[dict[int, Callable[[_Gathered, int, dict[str, Any]], None]]] = {
        form.PLAN: _take_plan, form.MAIN: _take_main, form.NAMES: _take_names, form.IMAGE: _take_image,
        form.FINAL: _take_final, form.END: _take_end, form.PROGRAMS: _take_programs,
    }  # fmt: skip


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TraceFileError(f"cannot read {path}: {error.strerror}") from error


def _check_head(path: str, data: bytes) -> int:
    """The schema version; refuses what cannot be read."""
    if not data:
        raise TraceFileError(f"{path} is empty")
    if data[: len(form.MAGIC)] != form.MAGIC[: len(data)]:
        raise TraceFileError(f"{path} is not a conctrace trace")
    if len(data) < form.HEAD.size:
        raise TraceFileError(f"{path} is cut at byte {len(data)}, inside its head: nothing can be read")
    _, version, schema = form.HEAD.unpack_from(data)
    if version > form.FORMAT_VERSION or schema > SCHEMA_VERSION:
        raise TraceFileError(
            f"{path} was written by a newer conctrace (format {version}, schema {schema}; "
            f"this one reads up to {form.FORMAT_VERSION} and {SCHEMA_VERSION}): update conctrace"
        )
    if version < 1 or schema < 1:
        raise TraceFileError(f"{path} is garbled: there is no format {version} with schema {schema}")
    return int(schema)


def _decompress(payload: memoryview, length: int) -> bytes | None:
    engine = zlib.decompressobj()
    try:
        raw = engine.decompress(payload, length + 1)
    except zlib.error:
        return None
    return raw if len(raw) == length and engine.eof else None


def _fill(image: ImageData, segments: dict[int, list[tuple[int, bytes]]]) -> None:
    """Puts an image's rows in order and its definitions apart."""
    holes = 0
    for _, pieces in sorted(segments.items()):
        rows, missing = _joined(pieces)
        holes += missing + _scan(image, rows)
    image.seen["holes"] = holes
    image.seen["lost_segments"] = max(segments) + 1 - len(segments)


def _joined(pieces: list[tuple[int, bytes]]) -> tuple[bytes, int]:
    """The rows of one segment by slot, and how many slots between them nobody has."""
    pieces = sorted((first, rows) for first, rows in pieces if rows)
    if all(first + len(rows) // RECORD_SIZE == after for (first, rows), (after, _) in pairwise(pieces)):
        return b"".join(rows for _, rows in pieces), 0
    slots: dict[int, bytes] = {}
    for first, rows in pieces:
        for slot, at in enumerate(range(0, len(rows), RECORD_SIZE), first):
            # The same slot twice: one may have been read before it was finished.
            if slot not in slots or not slots[slot][_KIND_AT]:
                slots[slot] = rows[at : at + RECORD_SIZE]
    missing = max(slots) + 1 - min(slots) - len(slots)
    return b"".join(slots[slot] for slot in sorted(slots)), missing


def _scan(image: ImageData, rows: bytes) -> int:
    """Adds rows to an image: events as they are, definitions put together; returns the number of holes."""
    holes = 0
    of_kind = rows[_KIND_AT::RECORD_SIZE]
    special = of_kind.translate(_SPECIAL)
    at, count = 0, len(of_kind)
    while at < count:
        if not special[at]:
            end = special.find(1, at)
            end = count if end < 0 else end
            image.records.extend(RECORD.iter_unpack(memoryview(rows)[at * RECORD_SIZE : end * RECORD_SIZE]))
            at = end
        elif of_kind[at] == kinds.DEFINE.number:
            taken, whole = _define(image, rows, of_kind, at)
            holes += not whole
            at += taken
        else:
            # Never finished, or a part of a definition whose head was not.
            holes += 1
            at += 1
    return holes


def _define(image: ImageData, rows: bytes, of_kind: bytes, at: int) -> tuple[int, bool]:
    """Takes the definition in row `at`: how many rows it has, and whether it was whole."""
    record = dict(zip(_NAMES, RECORD.unpack_from(rows, at * RECORD_SIZE), strict=False))
    length = record["value"]
    parts = -(-length // MORE_PAYLOAD) if length > 0 else 0
    more = bytes([kinds.MORE.number]) * parts
    if of_kind[at + 1 : at + 1 + parts] != more:
        return 1, False
    payload = b"".join(
        rows[row * RECORD_SIZE : row * RECORD_SIZE + MORE_PAYLOAD] for row in range(at + 1, at + 1 + parts)
    )
    try:
        fields = unpack_payload(payload[: max(length, 0)])
    except ValueError:
        return 1 + parts, False
    which, number = record["outcome"], record["object"]
    if which == kinds.TOTALS.number:
        image.flushed_totals.append(fields)
    else:
        image.definitions.setdefault(which, {})[number] = fields
    return 1 + parts, True
