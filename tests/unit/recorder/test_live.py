"""The live page says who the image is and what it could not keep, in the bytes that `layout` has for it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from conctrace.events import kinds, layout
from conctrace.events.schema import SCHEMA_VERSION, unpack_payload
from conctrace.recorder.command import packed_command
from tests.support.recording import running

if TYPE_CHECKING:
    from tests.support.recording import Session


def command_of(page: bytes) -> list[str]:
    offset, room = layout.LIVE_COMMAND
    length = int.from_bytes(page[offset : offset + 4], "little")
    assert length <= room - 4
    return unpack_payload(page[offset + 4 : offset + 4 + length])


def test_it_tells_who_the_image_is(idle_session: Session, recorder_name: str) -> None:
    before, wall_before = time.monotonic_ns(), time.time_ns()
    idle_session.record(role=1)
    image = idle_session.image()
    facts = layout.LIVE.unpack_from(image.page)
    with open("/proc/self/stat", "rb") as file:
        start_ticks = int(file.read().rpartition(b")")[2].split()[19])
    assert facts[:9] == (
        layout.LIVE_MAGIC, SCHEMA_VERSION, layout.ABI_VERSION, image.nonce, 0, os.getpid(), os.getppid(), start_ticks,
        os.stat("/proc/self/ns/pid").st_ino,
    )  # fmt: skip
    assert before <= facts[9] <= time.monotonic_ns()
    assert wall_before <= facts[10] <= time.time_ns()
    assert facts[11:] == (1, 0, layout.RECORDERS.index(recorder_name), 1, sys.hexversion)
    assert command_of(image.page) == [sys.executable, *sys.orig_argv]


def test_a_forked_childs_tells_whose_it_is_and_that_it_is_no_forkserver(idle_session: Session) -> None:
    idle_session.record(role=1)
    number = running().number()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if running().alive else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    image, other = idle_session.image(), idle_session.image(pid)
    assert other.nonce != image.nonce
    facts = layout.LIVE.unpack_from(other.page)
    assert facts[4:7] == (image.nonce, pid, os.getpid())
    assert (facts[11], facts[14]) == (number + 1, 0)
    assert command_of(other.page) == command_of(image.page)


@pytest.mark.parametrize(
    "words", [["x" * 10_000], ["short", "y" * 5_000, "tail"], [str(number) * 20 for number in range(400)]]
)
def test_a_command_too_long_for_the_page_is_cut_and_still_read(
    idle_session: Session, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", *words])
    idle_session.record()
    command = command_of(idle_session.image().page)
    assert command[0] == sys.executable
    assert command[1] == "python"
    kept = command[2:-1]
    assert command[-1] == "…"
    assert [word.rstrip("…") for word in kept] == [word[:200] for word in words[: len(kept)]]
    assert len(kept) == len(words) or len(kept) > 40


def test_it_counts_and_keeps_the_first_reason_only(session: Session) -> None:
    recorder = running()
    recorder.count("dropped")
    recorder.count("dropped", 4)
    recorder.exits(77, 3, kinds.EXIT_OS_EXIT.number)
    recorder.switch_off("first")
    recorder.switch_off("second")
    image = session.image()
    assert (image.count("dropped"), image.count("errors"), image.count("ended")) == (5, 0, 77)
    assert image.count("exit_value") == 3 + 1
    assert image.born < image.count("off_time") <= time.monotonic_ns()
    assert image.off_reason == "first"
    assert not recorder.alive


def test_a_reason_too_long_for_the_page_is_cut(session: Session) -> None:
    running().switch_off("x" * 1_000)
    assert session.image().off_reason == "x" * (layout.LIVE_OFF_REASON[1] - 1)


def test_two_pages_of_one_process_have_names_of_their_own(idle_session: Session) -> None:
    for _ in range(20):
        idle_session.record()
    assert len(idle_session.images()) == 20
    names = {name.partition(".")[2] for name in os.listdir(idle_session.folder) if ".live" in name}
    assert names == {"live"}


#: Bytes of a word that fills the page to its end, beside another word of one byte.
FULL = layout.LIVE_COMMAND[1] - 4 - 4 - (4 + 1) - 4


@pytest.mark.parametrize(
    "words", [[], ["\udcff\udcfe", "ä", ""], ["p", "x" * FULL], ["p", "x" * (FULL + 1)], ["p", "ä" * (FULL // 2) + "x"]]
)
def test_a_command_is_packed_the_same_by_both_recorders(
    idle_session: Session, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "executable", "")
    idle_session.record()
    packed = packed_command()
    offset, _ = layout.LIVE_COMMAND
    assert idle_session.image().page[offset : offset + 4 + len(packed)] == len(packed).to_bytes(4, "little") + packed


def test_an_interpreter_that_ends_says_so_without_a_status(session: Session) -> None:
    running().emit(kinds.SPAN.number, time.monotonic_ns())
    running().finalizes()
    image = session.image()
    (row,) = image.records(kinds.PROCESS_EXIT)
    assert (row["value"], row["outcome"]) == (-1, kinds.EXIT_FINALIZED.number)
    assert image.count("exit_value") == 0
    assert image.count("ended") == row["time"]
    running().switch_off("the test says so")
    running().finalizes()
    assert len(session.image().records(kinds.PROCESS_EXIT)) == 1
