"""A nursery as the collector sees it: who is in it, and when it may go."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from conctrace import recorder as recorders
from conctrace.collector.nurseries import Nursery
from conctrace.events import layout, schema
from conctrace.settings import RECORDER_VARIABLE
from tests.support.recording import _recorders as available

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.segments import Steps

    from .conftest import Session


class File:
    """A nursery's file, written byte by byte."""

    def __init__(self, folder: Path, pages: int, magic: bytes = layout.BIRTHS_MAGIC) -> None:
        self.path = folder / layout.births_name(1, 0)
        head = layout.BIRTHS.pack(magic, schema.SCHEMA_VERSION, layout.ABI_VERSION, 1, pages, 99)
        self.path.write_bytes(head.ljust((1 + pages) * layout.PAGE, b"\0"))

    def put(self, offset: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def take(self, number: int) -> None:
        self.put(layout.BIRTHS_TAKEN_OFFSET, struct.pack("<Q", number))

    def fill(self, page: int, magic: bytes = layout.LIVE_MAGIC) -> None:
        self.put((1 + page) * layout.PAGE, magic)


def seen(nursery: Nursery) -> list[int]:
    return [number for number, _ in nursery.look()]


def test_pages_are_seen_until_they_are_met_and_only_when_they_are_whole(tmp_path: Path) -> None:
    file = File(tmp_path, 4)
    nursery = Nursery(str(tmp_path), 1, 0)
    assert seen(nursery) == []
    file.take(3)
    file.fill(0)
    file.fill(2)
    assert seen(nursery) == [0, 2]
    nursery.meet(0, 10)
    assert seen(nursery) == [2]
    file.fill(1)
    assert seen(nursery) == [1, 2]
    assert nursery.residents == {10}


def test_it_is_closed_first_and_goes_at_a_later_look(tmp_path: Path) -> None:
    file = File(tmp_path, 4)
    nursery = Nursery(str(tmp_path), 1, 0)
    file.take(1)
    file.fill(0)
    assert seen(nursery) == [0]
    nursery.meet(0, 10)
    nursery.residents.clear()
    assert not nursery.retire()
    assert file.path.read_bytes()[layout.BIRTHS_CLOSED_OFFSET] == 1
    file.take(2)
    assert seen(nursery) == []
    assert not nursery.retire(), "somebody came meanwhile, of whom nothing is known yet"
    file.fill(1, layout.BIRTH_UNUSED)
    assert seen(nursery) == []
    assert not nursery.retire()
    assert seen(nursery) == []
    assert nursery.retire()
    assert not file.path.exists()


def test_a_page_of_which_nothing_comes_to_be_known_keeps_it(tmp_path: Path) -> None:
    file = File(tmp_path, 2)
    nursery = Nursery(str(tmp_path), 1, 0)
    file.take(5)
    file.fill(0)
    assert seen(nursery) == [0]
    nursery.meet(0, 10)
    nursery.residents.clear()
    for _ in range(3):
        assert seen(nursery) == []
        assert not nursery.retire()
    assert file.path.exists()


def test_one_that_is_used_up_need_not_be_closed(tmp_path: Path) -> None:
    file = File(tmp_path, 1)
    nursery = Nursery(str(tmp_path), 1, 0)
    file.take(2)
    file.fill(0)
    assert seen(nursery) == [0]
    nursery.meet(0, 10)
    assert nursery.retire()
    assert not file.path.exists()


def test_one_that_its_maker_did_not_finish_goes_with_it(tmp_path: Path) -> None:
    file = File(tmp_path, 1, b"\0" * 8)
    nursery = Nursery(str(tmp_path), 1, 0)
    assert seen(nursery) == []
    assert nursery.retire()
    assert not file.path.exists()


@pytest.mark.skipif("native" not in available(), reason="the Python recorder makes none")
def test_nurseries_go_when_those_who_could_use_them_have_gone(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RECORDER_VARIABLE, "native")
    folder = session.create()

    def run(steps: Steps) -> None:
        recorder = recorders.start(folder)
        recorder.before_fork()
        pid = os.fork()
        recorder.announce()
        if pid == 0:
            steps.pause()
        os._exit(0)

    session.launch()
    main = session.child(lambda steps: steps.pause())
    session.started(main)
    parent = session.child(run)
    parent.step()
    # Its child lives, and may fork.
    session.until(lambda: session.files(".births") and not session.files(".live"))
    assert len(session.files(".births")) == 1
    parent.go()
    session.until(lambda: not session.files(".births"))
    main.go()
    session.ended(main)
    raw = session.finish()
    assert len(raw.images) == 2
    assert all(image.seen["dead"] for image in raw.images.values())
