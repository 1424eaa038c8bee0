"""The live page: who this image is, and the counters of what its recorder could not keep."""

from __future__ import annotations

import os
import sys

from .._stdlib import getpid, getppid, monotonic_ns, time_ns
from ..events import layout
from ..events.schema import SCHEMA_VERSION
from .command import packed_command
from .linux import create_mapped, pid_namespace, start_ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORD = {name: offset // 8 for name, offset in layout.LIVE_COUNTER_OFFSETS.items()}


def new_nonce() -> int:
    """64 random bits, not 0."""
    return int.from_bytes(os.urandom(8), "little") or 1


class LivePage:
    """One image's live page, mapped."""

    __slots__ = ("_view", "_words", "born", "nonce")

    def __init__(self, folder: str, parent_nonce: int, inherited_below: int, role: int) -> None:
        self.nonce = new_nonce()
        path = f"{folder}/{layout.live_name(self.nonce)}"
        # Under another name until it is whole: the collector looks for *.live.
        view = memoryview(create_mapped(path + ".new", layout.PAGE)).cast("B")
        self._view: Any = view
        self._words: Any = view.cast("Q")
        self.born = monotonic_ns()
        layout.LIVE.pack_into(
            view, 0, layout.LIVE_MAGIC, SCHEMA_VERSION, layout.ABI_VERSION, self.nonce, parent_nonce, getpid(), getppid(),
            start_ticks(), pid_namespace(), self.born, time_ns(), inherited_below, 0,
            layout.RECORDERS.index("python"), role, sys.hexversion,
        )  # fmt: skip
        self._store(layout.LIVE_COMMAND, packed_command())
        os.rename(path + ".new", path)

    def _store(self, place: tuple[int, int], data: bytes) -> None:
        offset, size = place
        data = len(data).to_bytes(4, "little") + data
        self._view[offset : offset + min(size, len(data))] = data[:size]

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of `layout.LIVE_COUNTERS`."""
        self._words[_WORD[name]] += by

    def note_end(self, time: int, status: int) -> None:
        """The image's own last breath, with the exit status it is about to end with, or -1."""
        self._words[_WORD["exit_value"]] = status + 1
        self._words[_WORD["ended"]] = time

    def note_off(self, reason: str) -> None:
        """Why the recorder switched itself off; the first reason stays."""
        if not self._words[_WORD["off_time"]]:
            offset, size = layout.LIVE_OFF_REASON
            data = reason.encode("utf-8", "backslashreplace")[: size - 1]
            self._view[offset : offset + len(data)] = data
            self._words[_WORD["off_time"]] = monotonic_ns()
