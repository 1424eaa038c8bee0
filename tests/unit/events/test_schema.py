"""The schema says each thing once, and what is derived from it agrees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conctrace.events import kinds, layout, schema


def test_a_record_read_by_numpy_has_the_values_that_were_packed() -> None:
    values = tuple(range(1, len(schema.FIELDS) + 1))
    (row,) = np.frombuffer(schema.RECORD.pack(*values), dtype=np.dtype(schema.dtype()))
    assert row.dtype.itemsize == schema.RECORD_SIZE == 64
    assert tuple(int(row[field.name]) for field in schema.FIELDS) == values


def test_the_kind_is_the_last_byte() -> None:
    """A writer stores it last: the protocol hangs on it."""
    assert schema.RECORD.pack(*[0] * (len(schema.FIELDS) - 1), 200)[-1] == 200


@pytest.mark.parametrize(
    "table", [kinds.KINDS, kinds.OUTCOMES, kinds.DEFINITIONS], ids=["kinds", "outcomes", "definitions"]
)
def test_numbers_and_names_are_given_once(
    table: tuple[kinds.EventKind | kinds.OutcomeKind | kinds.Definition, ...],
) -> None:
    assert len({entry.number for entry in table}) == len({entry.name for entry in table}) == len(table)
    assert all(0 <= entry.number < 256 for entry in table)


def test_every_kind_that_is_declared_is_in_the_table() -> None:
    declared = [value for value in vars(kinds).values() if isinstance(value, kinds.EventKind)]
    assert sorted(kind.number for kind in declared) == sorted(kind.number for kind in kinds.KINDS)


def test_kinds_speak_of_fields_that_a_record_has() -> None:
    names = {field.name for field in schema.FIELDS}
    assert [kind.name for kind in kinds.KINDS if not kind.fields.keys() <= names] == []


@given(st.lists(st.text(st.characters(exclude_categories=[])) | st.integers()))
def test_a_payload_gives_back_its_fields_as_text(fields: list[str | int]) -> None:
    """Lone surrogates, which names of the program may hold, come back as escapes."""
    packed = schema.pack_payload(tuple(fields))
    told = [str(field).encode("utf-8", "backslashreplace").decode() for field in fields]
    assert schema.unpack_payload(packed) == told


@given(st.lists(st.text(), min_size=1), st.data())
def test_a_payload_that_is_cut_is_never_taken_for_whole(fields: list[str], data: st.DataObject) -> None:
    packed = schema.pack_payload(tuple(fields))
    rest = unpacked(packed[: data.draw(st.integers(0, len(packed) - 1))])
    assert rest is None or rest == fields[: len(rest)] != fields


def unpacked(payload: bytes) -> list[str] | None:
    """The fields; None where the payload is known to be cut."""
    try:
        return schema.unpack_payload(payload)
    except ValueError:
        return None


def test_entries_of_the_live_mapping_fit_and_their_words_are_aligned() -> None:
    assert layout.THREAD_WAIT_OFFSETS[1] + layout.THREAD_WAIT.size <= layout.THREAD_HELD_OFFSET
    last = layout.THREAD_HELD_OFFSET + (layout.THREAD_HELD_MAX + 1) * layout.THREAD_HELD.size
    assert last <= layout.THREAD_ENTRY_SIZE
    assert layout.TOTALS_HALF_OFFSETS[1] + layout.TOTALS_HALF.size <= layout.TOTALS_ENTRY_SIZE
    offsets = [*layout.THREAD_WAIT_OFFSETS, *layout.TOTALS_HALF_OFFSETS, layout.THREAD_HELD_OFFSET]
    offsets += layout.LIVE_COUNTER_OFFSETS.values()
    assert all(offset % 8 == 0 for offset in offsets)
    assert max(layout.LIVE_COUNTER_OFFSETS.values()) + 8 <= layout.LIVE_OFF_REASON[0]
    assert min(layout.LIVE_COUNTER_OFFSETS.values()) >= layout.LIVE.size
