"""The live page says who the image is and what it could not keep, in the bytes that `layout` has for it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from conctrace.events import layout
from conctrace.events.schema import SCHEMA_VERSION, unpack_payload
from conctrace.recorder.live import LivePage

if TYPE_CHECKING:
    from pathlib import Path


def page_of(live: LivePage, folder: Path) -> bytes:
    return (folder / layout.live_name(live.nonce)).read_bytes()


def command_of(page: bytes) -> list[str]:
    offset, room = layout.LIVE_COMMAND
    length = int.from_bytes(page[offset : offset + 4], "little")
    assert length <= room - 4
    return unpack_payload(page[offset + 4 : offset + 4 + length])


def test_it_tells_who_the_image_is(tmp_path: Path) -> None:
    before = time.monotonic_ns()
    live = LivePage(str(tmp_path), parent_nonce=7, inherited_below=9, role=1)
    facts = layout.LIVE.unpack_from(page_of(live, tmp_path))
    with open("/proc/self/stat", "rb") as file:
        start_ticks = int(file.read().rpartition(b")")[2].split()[19])
    assert facts[:9] == (
        layout.LIVE_MAGIC, SCHEMA_VERSION, layout.ABI_VERSION, live.nonce, 7, os.getpid(), os.getppid(), start_ticks,
        os.stat("/proc/self/ns/pid").st_ino,
    )  # fmt: skip
    assert before <= facts[9] <= time.monotonic_ns()
    assert facts[11:] == (9, 0, layout.RECORDERS.index("python"), 1, sys.hexversion)
    assert command_of(page_of(live, tmp_path)) == [sys.executable, *sys.orig_argv]


@pytest.mark.parametrize(
    "words", [["x" * 10_000], ["short", "y" * 5_000, "tail"], [str(number) * 20 for number in range(400)]]
)
def test_a_command_too_long_for_the_page_is_cut_and_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", *words])
    live = LivePage(str(tmp_path), 0, 1, 0)
    command = command_of(page_of(live, tmp_path))
    assert command[0] == sys.executable
    assert command[1] == "python"
    kept = command[2:-1]
    assert command[-1] == "…"
    assert [word.rstrip("…") for word in kept] == [word[:200] for word in words[: len(kept)]]
    assert len(kept) == len(words) or len(kept) > 40


def test_it_counts_and_keeps_the_first_reason_only(tmp_path: Path) -> None:
    live = LivePage(str(tmp_path), 0, 1, 0)
    live.count("dropped")
    live.count("dropped", 4)
    live.note_off("first")
    live.note_off("second")
    live.note_end(77)
    page = page_of(live, tmp_path)
    words = {name: int.from_bytes(page[offset : offset + 8], "little") for name, offset, _ in layout.LIVE_COUNTERS}
    assert (words["dropped"], words["errors"], words["ended"]) == (5, 0, 77)
    assert 0 < words["off_time"] <= time.monotonic_ns()
    offset, size = layout.LIVE_OFF_REASON
    assert page[offset : offset + size].rstrip(b"\0") == b"first"


def test_two_pages_of_one_process_have_names_of_their_own(tmp_path: Path) -> None:
    pages = [LivePage(str(tmp_path), 0, 1, 0) for _ in range(20)]
    assert len({page.nonce for page in pages}) == 20
    assert all(name.endswith(".live") for name in os.listdir(tmp_path))
