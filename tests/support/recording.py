"""A real recorder in the test's own process, and its files read byte by byte as `events.layout` says.

The reading is the tests' own: what the collector makes of the files is tested elsewhere. A test that asks for `session`
runs on both recorders; ``@twin_only`` keeps one that looks at insides of the Python recorder to that.
"""

from __future__ import annotations

import fcntl
import importlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from conctrace import recorder as recorders
from conctrace import sessions
from conctrace.events import kinds, layout, schema
from conctrace.settings import RECORDER_VARIABLE
from tests.support.segments import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conctrace.recorder.shared import Interface

_NAMES = [field.name for field in schema.FIELDS]


def _recorders() -> list[str]:
    """Those to test: the one that the environment asks for, else all that are there."""
    if chosen := os.environ.get(RECORDER_VARIABLE):
        return [chosen]
    try:
        importlib.import_module("conctrace.recorder._recorder")
    except ImportError:
        # Where it must be there, its tests fail.
        is_due = os.environ.get("CI") == "true" and os.environ.get("CONCTRACE_TESTS_NATIVE") != "no"
        return ["python", "native"] if is_due else ["python"]
    return ["python", "native"]


#: For a test of what only the Python recorder has inside.
twin_only = pytest.mark.parametrize("recorder_name", ["python"])


class Session:
    """A session's folder whose collector is this test: it holds the lock, and reads when it likes."""

    def __init__(self, root: Path, recorder: str, **plan: Any) -> None:
        self._recorder = recorder
        self.folder = sessions.create(make_plan(root, **plan), str(root / "sessions"))
        self._control = os.open(f"{self.folder}/{layout.CONTROL_FILE}", os.O_RDWR | os.O_CLOEXEC)
        self._lock(fcntl.F_WRLCK)

    def _lock(self, kind: int) -> None:
        fcntl.fcntl(self._control, fcntl.F_OFD_SETLK, kind.to_bytes(2, "little") + bytes(30))

    def collector_goes(self) -> None:
        """As when the collector is killed."""
        self._lock(fcntl.F_UNLCK)

    def moves(self) -> None:
        """The control file is another one now, under the same name; its collector is there."""
        os.close(self._control)
        self._control = os.open(f"{self.folder}/{layout.CONTROL_FILE}", os.O_RDWR | os.O_CLOEXEC)
        self._lock(fcntl.F_WRLCK)

    def switch_off(self) -> None:
        """The session is over."""
        os.pwrite(self._control, bytes(4), layout.CONTROL_ON_OFFSET)

    def record(self, role: int = 0) -> Interface:
        """Starts a recorder of this process, as `session.process.start` does, less the patches."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(RECORDER_VARIABLE, self._recorder)
            recorder = recorders.start(self.folder, role)
        assert recorder.name == self._recorder
        recorder.meet()
        return recorder

    def close(self) -> None:
        """Nothing is recorded any more."""
        if recorders.current is not None:
            recorders.current.switch_off("the test is over")
        recorders.current = None
        os.close(self._control)

    # Reading -----------------------------------------------------------------------------------------------

    def images(self) -> dict[int, Image]:
        """By nonce, what each image has left so far; none of one that was killed while it made its page."""
        pages = [page for name in sorted(os.listdir(self.folder)) for page in self._pages(name)]
        whole = [page for page in pages if page[: len(layout.LIVE_MAGIC)] == layout.LIVE_MAGIC]
        return {image.nonce: image for image in (Image(self.folder, page) for page in whole)}

    def _pages(self, name: str) -> list[bytes]:
        """The live pages in a file of that name: one of its own, or a nursery's."""
        if not name.endswith((".live", ".births")):
            return []
        with open(f"{self.folder}/{name}", "rb") as file:
            content = file.read()
        first = layout.PAGE if name.endswith(".births") else 0
        return [content[at : at + layout.PAGE] for at in range(first, len(content), layout.PAGE)]

    def files(self, ending: str) -> list[str]:
        """Names of files in the session's folder."""
        return sorted(name for name in os.listdir(self.folder) if name.endswith(ending))

    def image(self, pid: int | None = None) -> Image:
        """The image of a process, this one if no other is named."""
        pid = pid or os.getpid()
        (image,) = (image for image in self.images().values() if image.pid == pid)
        return image


def running() -> Interface:
    """The recorder of this process."""
    assert recorders.current is not None
    return recorders.current


@pytest.fixture(params=_recorders())
def recorder_name(request: pytest.FixtureRequest) -> str:
    """Which recorder to test."""
    name: str = request.param
    return name


@pytest.fixture
def idle_session(tmp_path: Path, recorder_name: str) -> Iterator[Session]:
    """A session that records nothing before it is told to."""
    session = Session(tmp_path, recorder_name)
    yield session
    session.close()


@pytest.fixture
def session(idle_session: Session) -> Session:
    """A session that records this process."""
    idle_session.record()
    return idle_session


class Image:
    """One image's files, as they are right now."""

    def __init__(self, folder: str, page: bytes) -> None:
        self._folder = folder
        self.page = page
        facts = layout.LIVE.unpack_from(page)
        self.nonce, self.parent, self.pid = facts[3], facts[4], facts[5]
        self._prefix = layout.nonce_name(self.nonce)
        self.born, self.inherited_below = facts[9], facts[11]

    def _read(self, name: str) -> bytes:
        with open(f"{self._folder}/{name}", "rb") as file:
            return file.read()

    def _names(self, middle: str) -> list[str]:
        return sorted(
            name for name in os.listdir(self._folder) if name.startswith(f"{self._prefix}.") and middle in name
        )

    def count(self, counter: str) -> int:
        """A counter of the live page."""
        offset = layout.LIVE_COUNTER_OFFSETS[counter]
        return int.from_bytes(self.page[offset : offset + 8], "little")

    @property
    def off_reason(self) -> str:
        offset, size = layout.LIVE_OFF_REASON
        return self.page[offset : offset + size].rstrip(b"\0").decode()

    @property
    def segments(self) -> list[bytes]:
        """The segments' bytes, by number."""
        return [self._read(name) for name in self._names(".seg")]

    def slots(self) -> Iterator[dict[str, Any]]:
        """All slots that hold something, in file order."""
        for segment in self.segments:
            for at in range(schema.RECORD_SIZE, len(segment), schema.RECORD_SIZE):
                slot = segment[at : at + schema.RECORD_SIZE]
                if slot[-1]:
                    row: dict[str, Any] = dict(zip(_NAMES, schema.RECORD.unpack(slot), strict=True))
                    row["bytes"] = slot
                    yield row

    def records(self, kind: kinds.EventKind) -> list[dict[str, Any]]:
        """The records of one kind."""
        return [row for row in self.slots() if row["kind"] == kind.number]

    def definitions(self, which: kinds.Definition) -> dict[int, list[str]]:
        """Number to fields of the definitions of one kind, the last of each."""
        return dict(self.all_definitions(which))

    def all_definitions(self, which: kinds.Definition) -> Iterator[tuple[int, list[str]]]:
        """Numbers and fields of all definitions of one kind."""
        rows = list(self.slots())
        for index, row in enumerate(rows):
            if row["kind"] == kinds.DEFINE.number and row["outcome"] == which.number:
                slots = -(-row["value"] // schema.MORE_PAYLOAD)
                parts = rows[index + 1 : index + 1 + slots]
                assert all(part["kind"] == kinds.MORE.number for part in parts)
                payload = b"".join(part["bytes"][:-1] for part in parts)[: row["value"]]
                yield row["object"], schema.unpack_payload(payload)

    def _entries(self, table: str, size: int) -> Iterator[bytes]:
        for name in self._names(f".{table}."):
            chunk = self._read(name)
            for at in range(0, len(chunk) - size + 1, size):
                if any(chunk[at : at + 4]):
                    yield chunk[at : at + size]

    def totals(self) -> dict[tuple[int, int, int], dict[str, int]]:
        """(object, thread, site) to counts: of the living mapping, and of locks that are gone."""
        found = self.living_totals()
        for _, fields in self.all_definitions(kinds.TOTALS):
            number, thread, site, *counts = map(int, fields)
            found[number, thread, site] = dict(zip(layout.TOTALS_COUNTS, counts, strict=True))
        return found

    def living_totals(self) -> dict[tuple[int, int, int], dict[str, int]]:
        """The same of the living mapping alone."""
        found = {}
        for entry in self._entries("totals", layout.TOTALS_ENTRY_SIZE):
            _, number, thread, site = layout.TOTALS_KEY.unpack_from(entry)
            half = _newer(layout.TOTALS_HALF.unpack_from(entry, at) for at in layout.TOTALS_HALF_OFFSETS)
            found[number, thread, site] = dict(zip(layout.TOTALS_COUNTS, half[1:-1], strict=True))
        return found

    def threads(self) -> dict[int, dict[str, Any]]:
        """Thread index to its current wait (kind, object, …) and the locks it holds, outermost first."""
        found = {}
        for entry in self._entries("threads", layout.THREAD_ENTRY_SIZE):
            index = layout.THREAD_KEY.unpack_from(entry)[0] - 1
            half = _newer(layout.THREAD_WAIT.unpack_from(entry, at) for at in layout.THREAD_WAIT_OFFSETS)
            held = []
            for at in range(layout.THREAD_HELD_OFFSET, layout.THREAD_ENTRY_SIZE, layout.THREAD_HELD.size):
                since, word = layout.THREAD_HELD.unpack_from(entry, at)
                if not word:
                    break
                held.append((word >> 32, word & 0xFFFFFFFF, since))
            found[index] = {"wait": half[6], "object": half[4], "since": half[1], "held": held}
        return found


def _newer(halves: Iterator[tuple[int, ...]]) -> tuple[int, ...]:
    """The newer of those whose two sequence words agree."""
    return max(half for half in halves if half[0] == half[-1])
