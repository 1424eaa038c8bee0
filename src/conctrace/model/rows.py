"""A stored record with its fields by name."""

from __future__ import annotations

from typing import NamedTuple

from ..events.schema import FIELDS


class Row(NamedTuple):
    """One record, as in `events.schema.FIELDS`; its end is `time` + `duration`."""

    time: int
    duration: int
    other: int
    value: int
    cpu: int
    runq: int
    object: int
    thread: int
    stack: int
    core: int
    outcome: int
    kind: int

    @property
    def end(self) -> int:
        """When it was over."""
        return self.time + self.duration


if Row._fields != tuple(field.name for field in FIELDS):
    raise ImportError("model.rows.Row does not match events.schema.FIELDS")
