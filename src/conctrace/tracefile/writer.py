"""Writes a trace file, block by block, each in one call: what is there is whole, but for the very last block."""

from __future__ import annotations

import json
import os
import zlib

from .. import sessions
from ..errors import SessionError
from ..events.schema import SCHEMA_VERSION
from . import codec
from . import format as form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class TraceWriter:
    """An open trace file; it holds a lock on it, so that nobody recovers a trace that is still being written."""

    def __init__(self, path: str, *, resume_at: int | None = None) -> None:
        """Makes a new file, or goes on with one whose last whole block ends at `resume_at`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if resume_at is None else 0)
        self.path = path
        self._descriptor = os.open(path, flags, 0o600)
        if not sessions.lock(self._descriptor):
            os.close(self._descriptor)
            raise SessionError(f"{path} is still being written")
        self.size = resume_at or 0
        if self.size:
            os.truncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
        else:
            self._append(form.HEAD.pack(form.MAGIC, form.FORMAT_VERSION, SCHEMA_VERSION))

    def write_records(self, nonce: int, segment: int, first: int, rows: bytes) -> None:
        """Appends rows of one image's segment, the first of which lay in slot `first`."""
        payload, length = codec.encode(segment, first, rows)
        self._write_block(form.RECORDS, nonce, payload, length)

    def write_facts(self, kind: int, nonce: int, facts: dict[str, Any]) -> None:
        """Appends a block of any other kind."""
        raw = json.dumps(facts, separators=(",", ":")).encode()
        self._write_block(kind, nonce, zlib.compress(raw, 1), len(raw))

    def write_part(self, name: str, start: int, end: int) -> None:
        """Appends to a whole trace that only a part of it is asked for."""
        self.write_facts(form.PART, 0, {"name": name, "start": start, "end": end})

    def write_calls(self, nonce: int, raw: bytes) -> None:
        """Appends a part of an image's calls (`calls.encode`)."""
        self._write_block(form.CALLS, nonce, zlib.compress(raw, 1), len(raw))

    def close(self) -> None:
        """Closes the file; whether it is complete is for its last block to say."""
        os.close(self._descriptor)

    def _write_block(self, kind: int, nonce: int, payload: bytes, length: int) -> None:
        self._append(block_header(kind, nonce, payload, length) + payload)

    def _append(self, data: bytes) -> None:
        """All of it or, on a full disk, nothing of it."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.truncate(self._descriptor, self.size)
            raise
        self.size += len(data)


def block_header(kind: int, nonce: int, payload: bytes, length: int) -> bytes:
    """The header of a block with this payload, which was `length` bytes before compression."""
    return form.BLOCK.pack(kind, 0, len(payload), nonce, checksum(kind, nonce, payload, length), length)


def checksum(kind: int, nonce: int, payload: bytes | memoryview, length: int) -> int:
    """What the header says about the rest of the block."""
    return zlib.crc32(payload, zlib.crc32(form.BLOCK_FACTS.pack(kind, 0, len(payload), nonce, length)))
