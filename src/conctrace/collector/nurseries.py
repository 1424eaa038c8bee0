"""Live pages that forked children take out of a file their parent made beforehand, a *nursery* (`events.layout`).

No file appears when such a child is born; so the word that counts the taken pages is read at every look, and a
new image is met some milliseconds late. Its page may go on being read after its end, until its last facts are safe.

When may the file go? Everyone who has it mapped is its maker, or has a page in it, or is a child of one of these that has
not come to taking a page yet. So once the maker and all who have a page are gone the nursery is closed; a child that
comes now leaves its page unused. At a later look, if no page is left of which nothing is known, it is unlinked. One of
which nothing ever comes to be known, since its process was killed at just that moment, keeps the file to the session's end.
"""

from __future__ import annotations

import os
from contextlib import suppress
from struct import Struct

from ..events import layout, schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..events.ids import Nonce

_WORD = Struct("<Q")
_MAGIC = slice(0, len(layout.LIVE_MAGIC))


class Nursery:
    """One nursery, as far as it has been looked at."""

    __slots__ = ("_closed_at", "_descriptor", "_looked_at", "_pages", "_unknown", "maker", "path", "residents")

    def __init__(self, folder: str, maker: Nonce, index: int) -> None:
        self.path = os.path.join(folder, layout.births_name(maker, index))
        #: the image that made it
        self.maker = maker
        #: images that have a page in it and of which not everything is safe yet
        self.residents: set[Nonce] = set()
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._pages = 0
        #: pages before it were taken, as last looked
        self._looked_at = 0
        #: taken pages that nothing is known of yet
        self._unknown: list[int] = []
        #: how far it was taken when it was closed
        self._closed_at: int | None = None

    def look(self) -> Iterator[tuple[int, bytes]]:
        """Pages that are whole and not known yet, each with its number; who makes something of one calls `meet`."""
        if not self._is_whole():
            return
        if self._looked_at < self._pages:
            taken = min(self._word(layout.BIRTHS_TAKEN_OFFSET), self._pages)
            self._unknown.extend(range(self._looked_at, taken))
            self._looked_at = taken
        for number in self._unknown.copy():
            page = self.page(number)
            if page[_MAGIC] == layout.LIVE_MAGIC:
                yield number, page
            elif page[_MAGIC] == layout.BIRTH_UNUSED:
                self._unknown.remove(number)

    def meet(self, number: int, nonce: Nonce) -> None:
        """Says whose page it is."""
        self._unknown.remove(number)
        self.residents.add(nonce)

    def page(self, number: int) -> bytes:
        """One of its pages, as it is now."""
        return os.pread(self._descriptor, layout.PAGE, (1 + number) * layout.PAGE)

    def retire(self) -> bool:
        """Called when its maker and its residents are gone, at one look after the other; True once it was unlinked."""
        if self._is_whole() and (self._unknown or self._may_be_taken()):
            return False
        # Or its maker was killed at making it: it has not forked anybody since.
        self.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        return True

    def close(self) -> None:
        """Gives the descriptor up."""
        os.close(self._descriptor)

    def _may_be_taken(self) -> bool:
        """Whether somebody may have come since the last look who found it open; closes it for all who come later."""
        if self._closed_at is None:
            os.pwrite(self._descriptor, _WORD.pack(1), layout.BIRTHS_CLOSED_OFFSET)
        closed_at, self._closed_at = self._closed_at, self._looked_at
        return self._looked_at not in (self._pages, closed_at)

    def _is_whole(self) -> bool:
        if not self._pages:
            head = os.pread(self._descriptor, layout.BIRTHS.size, 0)
            if head[: len(layout.BIRTHS_MAGIC)] == layout.BIRTHS_MAGIC:
                _, version, abi, _, pages, _ = layout.BIRTHS.unpack(head)
                self._pages = pages if (version, abi) == (schema.SCHEMA_VERSION, layout.ABI_VERSION) else 0
        return self._pages > 0

    def _word(self, offset: int) -> int:
        (word,) = _WORD.unpack(os.pread(self._descriptor, _WORD.size, offset))
        return int(word)
