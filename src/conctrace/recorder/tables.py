"""Tables of fixed-size entries in the shared mapping: what must survive a kill without being a record.

Two of them: ``threads`` (current wait and held locks) and ``totals`` (`events.layout`). Entries live in chunk files
that double in size; a freed entry is used again.
"""

from __future__ import annotations

from .._stdlib import sleep
from ..events import layout
from .linux import create_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: (bytes of the chunk, its 64-bit words, offset of the entry in bytes)
Entry = tuple  # type: ignore[type-arg]  # (memoryview "B", memoryview "Q", int)

CHUNKS_MAX = 64
#: How often to look again while another thread adds a chunk.
_TRIES = 2_000


class Table:
    """Entries of one size; `take` and `give` are the whole interface."""

    __slots__ = ("_entry_size", "_folder", "_free", "_name", "_nonce", "_views")

    def __init__(self, folder: str, nonce: int, name: str, entry_size: int) -> None:
        self._folder = folder
        self._nonce = nonce
        self._name = name
        self._entry_size = entry_size
        # All chunks, so that none is unmapped while the garbage collector takes its last entries apart.
        self._views: list[Any] = []
        self._free: list[Any] = []

    def take(self) -> Any:
        """A free entry, all zero, as (bytes, words, offset), or None when there is no room; raises OSError."""
        for _ in range(_TRIES):
            if self._free:
                try:
                    return self._free.pop()
                except IndexError:  # another thread took the last one
                    continue
            try:
                if not self._add_chunk():
                    break
            except FileExistsError:  # another thread is adding it
                sleep(0)
        return None

    def give(self, entry: Any) -> None:
        """Zero the entry and let it be taken again."""
        view, _, offset = entry
        view[offset : offset + self._entry_size] = bytes(self._entry_size)
        self._free.append(entry)

    def _add_chunk(self) -> bool:
        index = len(self._views)
        if index >= CHUNKS_MAX:
            return False
        size = min(layout.FIRST_CHUNK_SIZE << index, layout.LARGEST_CHUNK_SIZE)
        path = f"{self._folder}/{layout.chunk_name(self._nonce, self._name, index)}"
        try:
            view = memoryview(create_mapped(path, size)).cast("B")
            self._views.append(view)
        except OSError:
            raise
        except BaseException:  # the program's own, from a signal handler: the file may be there, so go on with the next
            if len(self._views) == index:
                self._views.append(None)
            raise
        words = view.cast("Q")
        offsets = range(0, size - self._entry_size + 1, self._entry_size)
        self._free.extend((view, words, offset) for offset in reversed(offsets))
        return True
