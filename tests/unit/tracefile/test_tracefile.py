"""The trace file: what is written is read, and what is cut or garbled is read as far as it is whole."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conctrace.errors import TraceFileError
from conctrace.events import kinds
from conctrace.events.schema import FIELDS, RECORD, RECORD_SIZE, SCHEMA_VERSION
from conctrace.tracefile import codec
from conctrace.tracefile import format as form
from conctrace.tracefile.reader import RawTrace, read, read_blocks
from conctrace.tracefile.writer import TraceWriter, block_header
from tests.support.segments import definition, record

if TYPE_CHECKING:
    from pathlib import Path

FINAL: dict[str, Any] = {
    "facts": {"pid": 1}, "seen": {"dead": True}, "counters": {"dropped": 1}, "off_reason": "", "totals": [], "threads": [],
}  # fmt: skip


def small_trace(path: Path, *, end: bool = True) -> bytes:
    writer = TraceWriter(str(path))
    writer.write_facts(form.PLAN, 0, {"command": ["x"]})
    writer.write_facts(form.MAIN, 0, {"pid": 1, "status": 0, "ended_ns": 5})
    writer.write_facts(form.IMAGE, 7, {"facts": {"pid": 1}, "seen": {"dead": False}})
    writer.write_records(7, 0, 1, b"".join([*definition(kinds.TEXT, 3, "hello"), record(1), record(2)]))
    writer.write_facts(form.FINAL, 7, FINAL)
    writer.write_facts(form.NAMES, 0, {"x.py:3": "lock"})
    if end:
        writer.write_facts(form.END, 0, {"ended_ns": 9})
    writer.close()
    return path.read_bytes()


def trace_of(path: Path, *blocks: tuple[int, int, bytes]) -> RawTrace:
    """A trace with one image and these blocks of rows: segment, first slot, rows."""
    writer = TraceWriter(str(path))
    writer.write_facts(form.PLAN, 0, {})
    writer.write_facts(form.IMAGE, 7, {"facts": {"pid": 1}, "seen": {}})
    for block in blocks:
        writer.write_records(7, *block)
    writer.write_facts(form.END, 0, {"ended_ns": 9})
    writer.close()
    return read(str(path))


def values(raw: RawTrace) -> list[int]:
    return [row[3] for row in raw.images[7].records]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    small_trace(tmp_path / "x")
    raw = read(str(tmp_path / "x"))
    assert (raw.complete, raw.cut, raw.ended_ns, raw.schema) == (True, None, 9, SCHEMA_VERSION)
    assert (raw.plan, raw.main["pid"], raw.names) == ({"command": ["x"]}, 1, {"x.py:3": "lock"})
    image = raw.images[7]
    assert values(raw) == [1, 2]
    assert image.definitions == {kinds.TEXT.number: {3: ["hello"]}}
    assert image.seen == {"dead": True, "died_ns": None, "holes": 0, "lost_segments": 0}
    assert image.counters == {"dropped": 1}


def test_owners_of_locks_are_read_and_a_trace_from_before_there_was_such_a_table_has_none(tmp_path: Path) -> None:
    small_trace(tmp_path / "old")
    assert read(str(tmp_path / "old")).images[7].objects == []
    owner = {"object": 3, "thread": 1, "site": 4, "since": 5}
    writer = TraceWriter(str(tmp_path / "new"))
    writer.write_facts(form.PLAN, 0, {})
    writer.write_facts(form.FINAL, 7, {**FINAL, "objects": [owner]})
    writer.close()
    assert read(str(tmp_path / "new")).images[7].objects == [owner]


def test_a_file_cut_at_any_byte_gives_what_is_whole_or_one_clear_line(tmp_path: Path) -> None:
    whole = small_trace(tmp_path / "x")
    ends = [form.HEAD.size, *(block.end for block in read_blocks(str(tmp_path / "x")))]
    path = tmp_path / "cut"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size < ends[1]:
            with pytest.raises(TraceFileError) as refused:
                read(str(path))
            assert "\n" not in str(refused.value)
            continue
        raw = read(str(path))
        last = max(end for end in ends if end <= size)
        assert not raw.complete
        assert raw.cut is not None
        assert f"byte {last}" in raw.cut
        assert (values(raw) if 7 in raw.images else []) == ([1, 2] if size >= ends[4] else [])


def test_a_byte_flipped_anywhere_is_noticed(tmp_path: Path) -> None:
    whole = small_trace(tmp_path / "x")
    path = tmp_path / "garbled"
    for at in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                raw = read(str(path))
            except TraceFileError as error:
                assert "\n" not in str(error)  # noqa: PT017  # both ends are right; which one depends on the byte
            else:
                assert raw.cut is not None
                assert not raw.complete


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_blocks_of_nonsense_with_a_right_checksum_end_the_trace_there(payload: bytes) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        whole = small_trace(path, end=False)
        for kind in (*form.KINDS, 99):
            packed = zlib.compress(payload)
            path.write_bytes(whole + block_header(kind, 7, packed, len(payload)) + packed)
            raw = read(str(path))
            assert raw.cut is not None
            assert values(raw) == [1, 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"{}", "is not a conctrace trace"),
        (b"\x93conc", "is cut at byte 5"),
        (form.HEAD.pack(form.MAGIC, form.FORMAT_VERSION + 1, SCHEMA_VERSION), "newer conctrace"),
        (form.HEAD.pack(form.MAGIC, form.FORMAT_VERSION, SCHEMA_VERSION + 1), "newer conctrace"),
        (form.HEAD.pack(form.MAGIC, 0, SCHEMA_VERSION), "is garbled"),
        (form.HEAD.pack(form.MAGIC, form.FORMAT_VERSION, SCHEMA_VERSION), "inside its first block"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(TraceFileError, match=says):
        read(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="No such file"):
        read(str(tmp_path / "x"))
    with pytest.raises(TraceFileError, match="Is a directory"):
        read(str(tmp_path))


def test_rows_that_were_written_twice_count_once(tmp_path: Path) -> None:
    rows = [record(number) for number in range(10)]
    raw = trace_of(tmp_path / "x", (0, 1, b"".join(rows[:4])), (0, 1, b"".join(rows)), (0, 5, b"".join(rows[4:6])))
    assert values(raw) == list(range(10))
    assert raw.images[7].seen["holes"] == 0


def test_a_slot_that_was_finished_the_second_time_is_no_hole(tmp_path: Path) -> None:
    before = record(0) + bytes(RECORD_SIZE) + record(2)
    raw = trace_of(tmp_path / "x", (0, 1, before), (0, 1, record(0) + record(1) + record(2) + record(3)))
    assert values(raw) == [0, 1, 2, 3]
    assert raw.images[7].seen["holes"] == 0


def test_slots_that_no_block_has_are_holes_and_segments_that_no_block_names_are_lost(tmp_path: Path) -> None:
    raw = trace_of(tmp_path / "x", (0, 1, record(0)), (0, 4, record(1)), (3, 1, b""), (4, 1, record(2)))
    assert values(raw) == [0, 1, 2]
    assert raw.images[7].seen["holes"] == 2
    assert raw.images[7].seen["lost_segments"] == 2


def test_a_definition_may_go_over_the_end_of_a_block(tmp_path: Path) -> None:
    rows = [record(0), *definition(kinds.TEXT, 3, "long " * 50), record(1)]
    blocks = [(0, 1 + slot, row) for slot, row in enumerate(rows)]
    raw = trace_of(tmp_path / "x", *blocks)
    assert raw.images[7].definitions[kinds.TEXT.number] == {3: ["long " * 50]}
    assert values(raw) == [0, 1]


def test_totals_of_objects_that_are_gone_add_up_and_other_definitions_replace_each_other(tmp_path: Path) -> None:
    rows = [
        *definition(kinds.TOTALS, 1, 5, 0, 6), *definition(kinds.TOTALS, 1, 5, 1, 6),
        *definition(kinds.THREAD, 1, "Thread-1", 40, 0, 0), *definition(kinds.THREAD, 1, "renamed", 40, 0, 0),
    ]  # fmt: skip
    image = trace_of(tmp_path / "x", (0, 1, b"".join(rows))).images[7]
    assert image.flushed_totals == [["5", "0", "6"], ["5", "1", "6"]]
    assert image.definitions == {kinds.THREAD.number: {1: ["renamed", "40", "0", "0"]}}


def a_field(code: str) -> st.SearchStrategy[int]:
    bits = {"Q": 64, "q": 63, "I": 32, "H": 16, "B": 8}[code]
    return st.integers(-(1 << 63) if code == "q" else 0, (1 << bits) - 1)


@given(
    st.lists(st.tuples(*(a_field(field.code) for field in FIELDS)), max_size=40), st.integers(0, 99), st.integers(1, 99)
)
def test_columns_give_back_the_very_rows(rows: list[tuple[int, ...]], segment: int, first: int) -> None:
    packed = b"".join(RECORD.pack(*row) for row in rows)
    payload, length = codec.encode(segment, first, packed)
    raw = zlib.decompress(payload)
    assert len(raw) == length
    assert codec.decode(raw) == (segment, first, packed)


@given(st.binary(max_size=200))
def test_nonsense_is_no_column(raw: bytes) -> None:
    try:
        _, _, rows = codec.decode(raw)
    except ValueError:
        return
    assert len(rows) % RECORD_SIZE == 0
