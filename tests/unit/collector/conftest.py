"""A session with a real collector, and children that end with the test."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from conctrace import sessions
from conctrace.collector.launch import Collector, launch
from conctrace.events import layout
from conctrace.tracefile.reader import RawTrace, read
from tests.support.segments import Child, ImageFiles, Steps, child, make_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Nothing here takes so long unless something hangs.
PATIENCE = 20.0


class Session:
    """A session folder and, once launched, its collector."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "sessions"
        self.output = folder / "out.ctrace"
        self._tmp = folder
        self._children: list[Child] = []
        self.collector: Collector | None = None
        self.results: list[dict[str, Any]] = []
        self.folder = ""

    def create(self, **plan: Any) -> str:
        """Makes the folder."""
        plan.setdefault("outputs", [str(self.output)])
        self.folder = sessions.create(make_plan(self._tmp, **plan), str(self.root))
        return self.folder

    def launch(self, **plan: Any) -> Collector:
        """Makes the folder if there is none, and starts the collector."""
        if not self.folder:
            self.create(**plan)
        self.collector = launch(self.folder)
        return self.collector

    def child(self, run: Callable[[Steps], None]) -> Child:
        """A child that the test need not end itself."""
        # The fork would keep the collector's pipes open.
        started = child(run)
        self._children.append(started)
        return started

    def image(self, nonce: int, run: Callable[[ImageFiles, Steps], None], **options: Any) -> Child:
        """A child that is a traced process."""
        folder = self.folder
        return self.child(lambda steps: run(ImageFiles(folder, nonce, **options), steps))

    def run_main(self, run: Callable[[ImageFiles, Steps], None], nonce: int = 1) -> None:
        """A main process from its start to its end; it must not pause."""
        main = self.image(nonce, run)
        self.started(main)
        self.ended(main)

    def started(self, main: Child) -> None:
        """Tells the collector of the main process."""
        assert self.collector is not None
        self.collector.main_started(main.pid)

    def ended(self, main: Child) -> None:
        """Waits for the main process and tells the collector."""
        assert self.collector is not None
        self.collector.main_ended(main.wait(), time.monotonic_ns())

    def result(self, event: str) -> dict[str, Any]:
        """The next result of that name; others on the way are kept in `results`."""
        assert self.collector is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            for result in self.results:
                if result["event"] == event:
                    return result
            assert not self.collector.dead, f"no {event}: {self.log()}"
            assert select.select([self.collector.results], [], [], deadline - time.monotonic())[0], (
                f"no {event} in time"
            )
            self.results += self.collector.read_result()

    def finish(self) -> RawTrace:
        """Waits for the end and reads the trace."""
        assert self.result("done")["failed"] == []
        assert self.reap() == 0
        return read(str(self.output))

    def reap(self) -> int:
        """The collector's exit status."""
        assert self.collector is not None
        pid, self.collector.pid = self.collector.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def log(self) -> str:
        """What the collector and writer said about their failure."""
        with suppress(OSError), open(os.path.join(self.folder, sessions.LOG_FILE), encoding="utf-8") as file:
            return file.read()
        return "no log"

    def until(self, condition: Callable[[], object]) -> None:
        """Waits for something the collector does in its own time and that has no event."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"in vain: {self.log()}"
            select.select([], [], [], 0.005)

    def files(self, ending: str) -> list[str]:
        """Names in the session folder."""
        return sorted(name for name in os.listdir(self.folder) if name.endswith(ending))

    def has_open(self, name: str) -> bool:
        """Whether the collector has a file of the session folder open."""
        assert self.collector is not None
        descriptors = f"/proc/{self.collector.pid}/fd"
        for number in os.listdir(descriptors):
            with suppress(FileNotFoundError):
                if os.readlink(f"{descriptors}/{number}") == os.path.join(self.folder, name):
                    return True
        return False

    def control(self) -> tuple[int, ...]:
        """The control page's fields behind the magic."""
        with open(os.path.join(self.folder, layout.CONTROL_FILE), "rb") as file:
            return layout.CONTROL.unpack(file.read(layout.CONTROL.size))[1:]

    def close(self) -> None:
        """Ends everything."""
        for each in self._children:
            each.close()
        if self.collector is not None:
            self.collector.close()
            if self.collector.pid:
                with suppress(ProcessLookupError):
                    os.kill(self.collector.pid, signal.SIGKILL)
                self.reap()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session in the test's temp folder."""
    made = Session(tmp_path)
    yield made
    made.close()
