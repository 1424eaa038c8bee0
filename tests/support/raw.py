"""Raw traces made by hand: what the model is built from, without a process that recorded it.

run = RawRun()
main = run.image(pid=100, nonce=1)
main.text(5, "load")
main.row(kinds.SPAN, time=10, duration=5, object=5)
trace = run.build()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conctrace.events import layout
from conctrace.events.schema import FIELDS
from conctrace.model.builder import build
from conctrace.tracefile.reader import ImageData, RawTrace

if TYPE_CHECKING:
    from conctrace.events import kinds
    from conctrace.model.trace import Trace

_NAMES = tuple(field.name for field in FIELDS)


class RawImage:
    """One image that says what it is told to say."""

    def __init__(self, nonce: int, pid: int, born: int, parent: int, inherited_below: int, ppid: int) -> None:
        self.data = ImageData(nonce)
        self.data.facts = {
            "nonce": nonce, "parent_nonce": parent, "pid": pid, "ppid": ppid, "start_ticks": born, "pidns": 1,
            "born_ns": born, "wall_ns": born, "inherited_below": inherited_below, "exec_generation": 0,
            "recorder": "python", "role": "program", "hexversion": 0x030B07F0, "command": ["python", "python", "x.py"],
            "readable": True,
        }  # fmt: skip
        self.data.counters = dict.fromkeys(layout.LIVE_COUNTER_OFFSETS, 0)

    def row(self, kind: kinds.EventKind, **fields: int) -> None:
        """One record; fields that are not given are 0."""
        fields["kind"] = kind.number
        self.data.records.append(tuple(fields.get(name, 0) for name in _NAMES))

    def define(self, definition: kinds.Definition, number: int, *fields: str | int) -> None:
        """One definition."""
        assert len(fields) == len(definition.fields)
        self.data.definitions.setdefault(definition.number, {})[number] = [str(field) for field in fields]


class RawRun:
    """A run of several images; `build` gives the model's view of it."""

    def __init__(self) -> None:
        self.images: dict[int, ImageData] = {}
        self.plan: dict[str, Any] = {"command": ["x.py"]}
        self.main: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.programs: list[tuple[int, int, int, int | None]] = []
        self.complete = True
        self.cut: str | None = None

    def image(
        self, nonce: int, pid: int, born: int = 0, parent: int = 0, inherited_below: int = 1, ppid: int = 1
    ) -> RawImage:
        """Another process image."""
        image = RawImage(nonce, pid, born, parent, inherited_below, ppid)
        self.images[nonce] = image.data
        return image

    def build(self) -> Trace:
        """What the model makes of it."""
        return build(
            RawTrace(
                plan=self.plan, main=self.main, images=self.images, names=self.names,
                complete=self.complete, cut=self.cut, ended_ns=1_000, schema=1,
                programs=self.programs,
            )
        )  # fmt: skip
