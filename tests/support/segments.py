"""Traced processes without a recorder: real children that fill live pages, segments and tables byte by byte.

The collector's tests need processes that are killed, exec'd and forked at chosen moments, with holes and half-made
definitions that a recorder never leaves on purpose. `ImageFiles` writes what `events.layout` says; `child` runs
a function in a real child process that takes its steps when the test says so.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from conctrace import sessions
from conctrace.collector.liveness import start_ticks
from conctrace.events import kinds, layout, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def make_plan(folder: Path, **changes: Any) -> sessions.Plan:
    """A plan with nothing special in it, but for `changes`."""
    values: dict[str, Any] = {
        "command": ["fake.py"], "cwd": str(folder), "outputs": [], "fallback_name": "fake", "wait_seconds": 0.5,
        "detail": "budget", "values": True, "code": None, "waiter_pid": os.getpid(), "wall_ns": time.time_ns(),
        "python": "3", "host": "host", "platform": "linux", "conctrace": "0", "include": [],
    }  # fmt: skip
    return sessions.Plan(**{**values, **changes})


def record(value: int = 0, kind: int = kinds.SPAN.number, **fields: int) -> bytes:
    """One record, its fields zero but for those given."""
    row = {"time": time.monotonic_ns(), "value": value, "core": schema.NO_CORE, "kind": kind, **fields}
    return schema.RECORD.pack(*(row.get(field.name, 0) for field in schema.FIELDS))


def definition(which: kinds.Definition, number: int, *texts: str | int) -> list[bytes]:
    """The slots of one definition."""
    payload = schema.pack_payload(texts)
    head = record(len(payload), kinds.DEFINE.number, object=number, outcome=which.number)
    step = schema.MORE_PAYLOAD
    parts = [payload[at : at + step].ljust(step, b"\0") for at in range(0, len(payload), step)]
    return [head, *(part + bytes([kinds.MORE.number]) for part in parts)]


class ImageFiles:
    """One image's files, written from within its process."""

    def __init__(self, folder: str, nonce: int, *, role: int = 0, parent: int = 0, segment_size: int = 1 << 16) -> None:
        self.folder = folder
        self.nonce = nonce
        self._segment_size = segment_size
        self._seq = -1
        self._segment: Any = None
        self.slot = 0
        self._write_live_page(role, parent)

    def _write_live_page(self, role: int, parent: int) -> None:
        page = self._map(layout.live_name(self.nonce) + ".new", layout.PAGE)
        layout.LIVE.pack_into(
            page, 0, layout.LIVE_MAGIC, schema.SCHEMA_VERSION, layout.ABI_VERSION, self.nonce, parent, os.getpid(),
            os.getppid(), start_ticks(os.getpid()), os.stat("/proc/self/ns/pid").st_ino, time.monotonic_ns(),
            time.time_ns(), 0, 0, 0, role, sys.hexversion,
        )  # fmt: skip
        command = schema.pack_payload(("python", "fake.py"))
        offset = layout.LIVE_COMMAND[0]
        page[offset : offset + 4 + len(command)] = len(command).to_bytes(4, "little") + command
        self.page = page
        name = os.path.join(self.folder, layout.live_name(self.nonce))
        os.rename(name + ".new", name)

    def _map(self, name: str, size: int) -> mmap.mmap:
        descriptor = os.open(os.path.join(self.folder, name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def next_segment(self) -> None:
        """Goes on in a new segment; the slots left in the old one stay free."""
        self._seq += 1
        size = self._segment_size
        self._segment = self._map(layout.segment_name(self.nonce, self._seq), size)
        layout.SEGMENT.pack_into(
            self._segment, 0, layout.SEGMENT_MAGIC, schema.SCHEMA_VERSION, layout.ABI_VERSION, self.nonce, self._seq, size
        )  # fmt: skip
        self.slot = 1

    def store(self, *rows: bytes) -> None:
        """Fills the next slots, the kind last."""
        if self._segment is None or (self.slot + len(rows)) * schema.RECORD_SIZE > self._segment_size:
            self.next_segment()
        for index in reversed(range(len(rows))):
            self.fill(self.slot + index, rows[index])
        self.slot += len(rows)

    def fill(self, slot: int, row: bytes, segment: Any = None) -> None:
        """Fills one slot, wherever."""
        target = segment or self._segment
        start = slot * schema.RECORD_SIZE
        target[start : start + schema.RECORD_SIZE - 1] = row[:-1]
        target[start + schema.RECORD_SIZE - 1] = row[-1]

    def skip(self, slots: int = 1) -> tuple[Any, int]:
        """Reserves slots and leaves them empty; returns where the first is, for `fill`."""
        if self._segment is None:
            self.next_segment()
        self.slot += slots
        return self._segment, self.slot - slots

    def count(self, name: str, value: int) -> None:
        """Sets a counter of the live page."""
        offset = layout.LIVE_COUNTER_OFFSETS[name]
        self.page[offset : offset + 8] = value.to_bytes(8, "little")

    def threads(self, *entries: bytes) -> None:
        """Makes the first chunk of the threads' table."""
        self._table("threads", entries, layout.THREAD_ENTRY_SIZE)

    def totals(self, *entries: bytes) -> None:
        """Makes the first chunk of the totals' table."""
        self._table("totals", entries, layout.TOTALS_ENTRY_SIZE)

    def objects(self, *entries: bytes) -> None:
        """Makes the first chunk of the objects' table."""
        self._table("objects", entries, layout.OBJECT_ENTRY_SIZE)

    def _table(self, name: str, entries: tuple[bytes, ...], size: int) -> None:
        chunk = self._map(layout.chunk_name(self.nonce, name, 0), layout.FIRST_CHUNK_SIZE)
        for index, entry in enumerate(entries):
            chunk[index * size : index * size + len(entry)] = entry


def thread_entry(thread: int, waits: Sequence[tuple[int, ...]], held: Sequence[tuple[int, int, int]]) -> bytes:
    """A thread's entry; `waits` are whole halves with their sequence words."""
    entry = bytearray(layout.THREAD_ENTRY_SIZE)
    layout.THREAD_KEY.pack_into(entry, 0, thread + 1, 4000 + thread)
    for offset, half in zip(layout.THREAD_WAIT_OFFSETS, waits):  # noqa: B905  # one half is fine
        layout.THREAD_WAIT.pack_into(entry, offset, *half)
    for index, (number, site, since) in enumerate(held):
        at = layout.THREAD_HELD_OFFSET + index * layout.THREAD_HELD.size
        layout.THREAD_HELD.pack_into(entry, at, since, number << 32 | site)
    return bytes(entry)


def totals_entry(key: tuple[int, int, int], halves: Sequence[tuple[int, ...]]) -> bytes:
    """A totals entry; `halves` are whole with their sequence words."""
    entry = bytearray(layout.TOTALS_ENTRY_SIZE)
    layout.TOTALS_KEY.pack_into(entry, 0, 1, *key)
    for offset, half in zip(layout.TOTALS_HALF_OFFSETS, halves):  # noqa: B905  # one half is fine
        layout.TOTALS_HALF.pack_into(entry, offset, *half)
    return bytes(entry)


def object_entry(number: int, since: int, owner: int) -> bytes:
    """An entry of the table of objects; `owner` is the whole word."""
    entry = bytearray(layout.OBJECT_ENTRY_SIZE)
    layout.OBJECT_KEY.pack_into(entry, 0, number)
    layout.OBJECT_OWNER.pack_into(entry, layout.OBJECT_OWNER_OFFSET, since, owner)
    return bytes(entry)


class Steps:
    """The child's side of a `Child`: where it tells what it has done, and waits to be told to go on."""

    def __init__(self, go: int, done: int) -> None:
        self._go = go
        self._done = done

    def pause(self) -> None:
        """Says that a step is done, and waits for the next."""
        os.write(self._done, b".")
        if not os.read(self._go, 1):
            os._exit(3)


class Child:
    """A child process of the test."""

    def __init__(self, pid: int, go: int, done: int) -> None:
        self.pid = pid
        self._go = go
        self._done = done
        self.status: int | None = None

    def step(self) -> None:
        """Waits until the child pauses."""
        assert os.read(self._done, 1), "the child died before its step was done"

    def go(self) -> None:
        """Lets it go on after a pause."""
        os.write(self._go, b".")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal and waits for its end."""
        os.kill(self.pid, number)
        self.wait()

    def wait(self) -> int:
        """Its exit status, 0 to 255 or minus a signal's number."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._go)
            os.close(self._done)
        return self.status

    def close(self) -> None:
        """Whatever it is doing, it ends now."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()


def child(run: Callable[[Steps], None]) -> Child:
    """Forks a child that runs a function and exits with status 0."""
    go_out, go_in = os.pipe()
    done_out, done_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.close(go_in)
            os.close(done_out)
            run(Steps(go_out, done_in))
            status = 0
        except BaseException:  # noqa: BLE001  # the test sees the status
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(go_out)
    os.close(done_in)
    return Child(pid, go_in, done_out)
