"""Finds out what the program's source calls its locks, while the source is still what it was when it ran.

The definitions among the rows say which lock was made where; `tracefile.source_names` reads the source there. A
source is looked at when its image's next rows come in, not at the end, so a script in a temporary folder is
not gone yet.
"""

from __future__ import annotations

import os

from ..events import kinds
from ..events.schema import MORE_PAYLOAD, RECORD, RECORD_SIZE, unpack_payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..events.ids import Nonce

#: Kinds of objects that get their names from the source, and how the calls that make them are named.
CALLEES = frozenset({"Lock", "RLock", "allocate_lock"})
_NAMED_KINDS = ("Lock", "RLock")
_LARGEST_SOURCE = 4 * 1024 * 1024


class NameFinder:
    """Collects definitions of all images and turns those of locks into names."""

    def __init__(self, cwd: str, code: str | None) -> None:
        self._cwd = cwd
        self._code = code
        self._facts: dict[Nonce, dict[str, Any]] = {}
        self._process_names: dict[Nonce, str] = {}
        self._sites: dict[tuple[Nonce, int], tuple[str, int]] = {}
        #: sites of locks that have been seen before their own definition, and all of which no name is known yet
        self._wanted: set[tuple[Nonce, int]] = set()
        self._names: dict[str, str] = {}

    def meet(self, nonce: Nonce, facts: dict[str, Any]) -> None:
        """A new image."""
        self._facts[nonce] = facts

    def look_at(self, nonce: Nonce, rows: bytes) -> None:
        """Takes in the definitions among an image's rows."""
        of_kind = rows[RECORD_SIZE - 1 :: RECORD_SIZE]
        at = of_kind.find(kinds.DEFINE.number)
        while at >= 0:
            self._define(nonce, rows, at)
            at = of_kind.find(kinds.DEFINE.number, at + 1)
        for site in list(self._wanted):
            self._look_up(*site)

    def found(self) -> dict[str, str]:
        """Where ("file:line") → name, of every lock whose source was found and says one."""
        return {place: name for place, name in self._names.items() if name}

    def describe(self, nonce: Nonce, main_pid: int | None) -> dict[str, Any]:
        """Pid and name of an image, for people."""
        facts = self._facts.get(nonce, {})
        pid = facts.get("pid")
        command = facts.get("command") or ["python"]
        fallback = "MainProcess" if pid == main_pid else os.path.basename(command[0])
        return {"pid": pid, "name": self._process_names.get(nonce, fallback)}

    def _define(self, nonce: Nonce, rows: bytes, at: int) -> None:
        record = RECORD.unpack_from(rows, at * RECORD_SIZE)
        length, number, which = record[3], record[6], record[10]
        if which not in (kinds.SITE.number, kinds.OBJECT.number, kinds.PROCESS.number):
            return
        try:
            fields = unpack_payload(_payload(rows, at, length))
            self._take(nonce, number, which, fields)
        except (ValueError, IndexError):
            # Not whole: a killed process's last. The reader of the trace counts it.
            pass

    def _take(self, nonce: Nonce, number: int, which: int, fields: list[str]) -> None:
        if which == kinds.SITE.number:
            self._sites[nonce, number] = (fields[0], int(fields[1]))
        elif which == kinds.PROCESS.number:
            self._process_names[nonce] = fields[0]
        elif fields[0] in _NAMED_KINDS and not fields[1] and int(fields[2]):
            self._wanted.add((nonce, int(fields[2])))

    def _look_up(self, nonce: Nonce, number: int) -> None:
        site = self._site(nonce, number)
        if site is None:
            return
        self._wanted.discard((nonce, number))
        place = f"{site[0]}:{site[1]}"
        if place not in self._names:
            self._names[place] = self._name(*site)

    def _site(self, nonce: Nonce, number: int) -> tuple[str, int] | None:
        """A site by its number; one below `inherited_below` that the image did not define is its parent's."""
        while (site := self._sites.get((nonce, number))) is None:
            facts = self._facts.get(nonce, {})
            if number >= facts.get("inherited_below", 0):
                return None
            nonce = facts["parent_nonce"]
        return site

    def _name(self, file: str, line: int) -> str:
        from ..tracefile.source_names import name_at

        source = self._source(file)
        return name_at(source, line, CALLEES) if source else ""

    def _source(self, file: str) -> str | None:
        import tokenize

        if file == "<string>":
            return self._code
        path = os.path.join(self._cwd, file)
        try:
            if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_SOURCE:
                return None
            with tokenize.open(path) as source:
                return source.read()
        except (OSError, SyntaxError, ValueError):
            return None


def _payload(rows: bytes, at: int, length: int) -> bytes:
    parts = -(-length // MORE_PAYLOAD)
    starts = range((at + 1) * RECORD_SIZE, (at + 1 + parts) * RECORD_SIZE, RECORD_SIZE)
    return b"".join(rows[start : start + MORE_PAYLOAD] for start in starts)[:length]
