"""Tables of entries in the shared mapping: taken, freed, taken again, and their files as `layout` has them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from conctrace.events import layout
from conctrace.recorder import tables
from conctrace.recorder.tables import Table

if TYPE_CHECKING:
    from pathlib import Path

NONCE = 0xABC


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(str(tmp_path), NONCE, "totals", layout.TOTALS_ENTRY_SIZE)


def test_no_file_is_made_before_the_first_entry(table: Table, tmp_path: Path) -> None:
    assert os.listdir(tmp_path) == []
    table.take()
    assert os.listdir(tmp_path) == [layout.chunk_name(NONCE, "totals", 0)]
    assert (tmp_path / layout.chunk_name(NONCE, "totals", 0)).stat().st_size == layout.FIRST_CHUNK_SIZE


def test_entries_do_not_overlap_and_chunks_double(table: Table, tmp_path: Path) -> None:
    first = layout.FIRST_CHUNK_SIZE // layout.TOTALS_ENTRY_SIZE
    entries = [table.take() for _ in range(first + 1)]
    places = {(id(view.obj), offset) for view, _, offset in entries}
    assert len(places) == first + 1
    assert all(offset % layout.TOTALS_ENTRY_SIZE == 0 for _, _, offset in entries)
    sizes = [(tmp_path / name).stat().st_size for name in sorted(os.listdir(tmp_path))]
    assert sizes == [layout.FIRST_CHUNK_SIZE, 2 * layout.FIRST_CHUNK_SIZE]


def test_what_is_stored_is_in_the_file_and_gone_when_the_entry_is_freed(table: Table, tmp_path: Path) -> None:
    entry = table.take()
    view, _, offset = entry
    view[offset : offset + 4] = b"held"
    file = tmp_path / layout.chunk_name(NONCE, "totals", 0)
    assert file.read_bytes()[offset : offset + 4] == b"held"
    table.give(entry)
    assert not any(file.read_bytes())
    assert table.take()[2] == offset


def test_a_full_table_has_no_entry_and_says_so(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNKS_MAX", 1)
    count = layout.FIRST_CHUNK_SIZE // layout.TOTALS_ENTRY_SIZE
    assert all(table.take() is not None for _ in range(count))
    assert table.take() is None


def test_threads_that_need_a_chunk_at_once_share_one(table: Table, tmp_path: Path) -> None:
    """More entries than a chunk has, by several threads that begin together: none twice, and no chunk too many."""
    each = layout.FIRST_CHUNK_SIZE // layout.TOTALS_ENTRY_SIZE // 2
    taken: list[tuple[int, int]] = []
    together = threading.Barrier(4)

    def take() -> None:
        together.wait()
        for _ in range(each):
            view, _, offset = table.take()
            taken.append((id(view.obj), offset))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 4 * each
    assert len(os.listdir(tmp_path)) == 2
