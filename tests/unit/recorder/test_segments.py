"""Records in segments, byte by byte: nothing torn, nothing twice, nothing lost without being counted."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conctrace import recorder as recorders
from conctrace.events import kinds, layout, schema
from tests.support.segments import Steps, child

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from conctrace.recorder.python import Recorder
    from tests.support.recording import Session

INSTANT = kinds.INSTANT.number
FIRST_SLOTS = layout.FIRST_SEGMENT_SIZE // schema.RECORD_SIZE - 1


def running() -> Recorder:
    recorder = recorders.current
    assert recorder is not None
    return recorder


def emit(value: int, thread: int = 0) -> None:
    running().emit(INSTANT, thread, 1, value=value)


def values(session: Session, pid: int | None = None) -> list[int]:
    return [row["value"] for row in session.image(pid).records(kinds.INSTANT)]


def test_a_record_is_64_bytes_at_the_next_slot_behind_a_header(session: Session) -> None:
    running().emit(INSTANT, 2, 3, 4, 5, 6, -7, 8, 9, 10, 11)
    (segment,) = session.image().segments
    nonce = session.image().nonce
    expected = (layout.SEGMENT_MAGIC, schema.SCHEMA_VERSION, layout.ABI_VERSION, nonce, 0, layout.FIRST_SEGMENT_SIZE)
    assert layout.SEGMENT.unpack_from(segment) == expected
    assert segment[64 + 63] == kinds.PROCESS_BORN.number
    *fields, core, outcome, kind = schema.RECORD.unpack_from(segment, 128)
    assert fields == [3, 4, 6, -7, 10, 11, 5, 2, 8]
    assert (outcome, kind) == (9, INSTANT)
    assert core in range(os.cpu_count() or 1)
    assert not any(segment[192:])


def test_a_full_segment_is_followed_by_one_of_twice_its_size(session: Session) -> None:
    for value in range(4 * FIRST_SLOTS):
        emit(value)
    image = session.image()
    assert values(session) == list(range(4 * FIRST_SLOTS))
    assert [len(segment) // layout.FIRST_SEGMENT_SIZE for segment in image.segments] == [1, 2, 4]
    assert image.count("dropped") == 0
    assert image.count("records") == FIRST_SLOTS + (2 * FIRST_SLOTS + 1)


def test_a_definition_that_does_not_fit_goes_whole_to_the_next_segment(session: Session) -> None:
    for value in range(FIRST_SLOTS - 2):  # "born" took one; one is left
        emit(value)
    text = "long " * 100
    number = running().text(text)
    emit(-1)
    first, second = session.image().segments
    assert not any(first[-64:])
    assert second[64 + 63] == kinds.DEFINE.number
    assert session.image().definitions(kinds.TEXT) == {number: [text]}
    assert values(session)[-1] == -1


def test_a_definition_larger_than_any_segment_gets_one_that_holds_it(session: Session) -> None:
    text = "x" * (layout.LARGEST_SEGMENT_SIZE + 1000)
    number = running().text(text)
    assert session.image().definitions(kinds.TEXT) == {number: [text]}


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_threads_that_fill_at_once_share_no_slot_and_lose_none(session: Session) -> None:
    together = threading.Barrier(8)

    def fill(thread: int) -> None:
        together.wait()
        for value in range(1000):
            emit(value, thread)
            if value % 100 == 0:
                running().text(f"text {thread} {value}")

    threads = [threading.Thread(target=fill, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    image = session.image()
    rows = image.records(kinds.INSTANT)
    for index in range(8):
        assert [row["value"] for row in rows if row["thread"] == index] == list(range(1000))
    texts = {fields[0] for fields in image.definitions(kinds.TEXT).values()}
    assert texts == {f"text {thread} {value}" for thread in range(8) for value in range(0, 1000, 100)}
    assert image.count("dropped") == 0


# Ends of recording ---------------------------------------------------------------------------------------------------


def fill_segment() -> None:
    for value in range(FIRST_SLOTS + 1):
        emit(value)


def test_when_the_collector_is_gone_it_switches_itself_off_and_says_why(session: Session) -> None:
    session.collector_goes()
    fill_segment()
    image = session.image()
    assert image.off_reason == "the collector is gone"
    assert image.count("off_time") > 0
    assert len(image.segments) == 1
    assert not running().alive


def test_when_the_session_is_over_it_switches_itself_off(session: Session) -> None:
    session.switch_off()
    fill_segment()
    assert session.image().off_reason == "the session is over"


def test_without_a_free_descriptor_it_drops_and_goes_on_later(session: Session) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        fill_segment()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    image = session.image()
    assert image.off_reason == ""
    assert image.count("dropped") > 0
    running()._no_room_until = 0
    emit(-1)
    assert values(session)[-1] == -1


def test_a_limit_on_file_sizes_ends_in_counted_loss_and_no_signal(session: Session) -> None:
    def limited(steps: Steps) -> None:
        del steps
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        fill_segment()
        fill_segment()

    process = child(limited)
    assert process.wait() == 0
    image = session.image(process.pid)
    assert image.count("dropped") > 0
    assert image.off_reason == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_ends_in_counted_loss(session: Session) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    newns = 0x20000
    private = 1 << 18 | 16384

    def on_small_disk(steps: Steps) -> None:
        del steps
        if libc.unshare(newns) or libc.mount(b"none", b"/", None, private, None):
            os._exit(77)
        path = session.folder.encode()
        with open(f"{session.folder}/{layout.CONTROL_FILE}", "rb") as file:
            control = file.read()
        keep = os.open(session.folder, os.O_RDONLY)
        assert libc.mount(b"tmpfs", path, b"tmpfs", 0, b"size=300k") == 0
        with open(f"{session.folder}/{layout.CONTROL_FILE}", "wb") as file:
            file.write(control)
        os.close(keep)
        from conctrace.recorder.python import Recorder

        Recorder._may_grow = lambda _: True  # type: ignore[assignment,method-assign]  # the lock is on the file below
        recorder = Recorder(session.folder)
        for value in range(20_000):
            recorder.emit(INSTANT, 0, 1, value=value)
        page = recorder.live._words
        assert page[layout.LIVE_COUNTER_OFFSETS["dropped"] // 8] > 1000
        assert page[layout.LIVE_COUNTER_OFFSETS["errors"] // 8] == 0

    process = child(on_small_disk)
    status = process.wait()
    if status == 77:
        pytest.skip("this machine lets nobody mount")
    assert status == 0


# Forks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of fork is that of x86-64")
@pytest.mark.parametrize("fork", [os.fork, lambda: int(ctypes.CDLL(None).syscall(57))], ids=["os.fork", "raw"])
def test_a_forked_child_has_files_of_its_own_and_leaves_its_parents_alone(session: Session, fork: type) -> None:
    emit(1)
    text = running().text("said by the parent")
    mine = session.image()
    pid = fork()
    if pid == 0:
        try:
            for value in range(2000):
                emit(value)
            running().text("said by the child")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    after = session.image()
    assert (after.page, after.segments) == (mine.page, mine.segments)
    other = session.image(pid)
    assert other.parent == mine.nonce
    assert other.inherited_below > text
    assert values(session, pid) == list(range(2000))
    (own,) = other.definitions(kinds.TEXT)
    assert own >= other.inherited_below
    born = other.records(kinds.PROCESS_BORN)
    assert [(row["other"], row["value"]) for row in born] == [(mine.nonce, pid)]


def kill_at_random(session: Session, moment: random.Random) -> None:
    def record(steps: Steps) -> None:
        steps.pause()
        value = 0
        while True:
            emit(value)
            value += 1
            if value % 50 == 0:
                running().text(f"text {value} " * 20)

    process = child(record)
    process.step()
    process.go()
    threading.Event().wait(moment.uniform(0.0005, 0.03))
    process.kill()
    if process.pid not in {image.pid for image in session.images().values()}:
        return  # killed before it had a live page, so before its first record
    image = session.image(process.pid)
    seen = values(session, process.pid)
    assert seen == list(range(len(seen)))
    for fields in image.definitions(kinds.TEXT).values():
        words = fields[0].split()
        assert words == ["text", words[1]] * 20


def test_a_kill_at_any_moment_leaves_whole_records(session: Session) -> None:
    kills(session, 20)


@pytest.mark.slow
def test_two_hundred_kills_at_any_moment_leave_whole_records(session: Session) -> None:
    kills(session, 200)


def kills(session: Session, times: int) -> None:
    import random

    moment = random.Random(times)
    for _ in range(times):
        kill_at_random(session, moment)


def test_sites_of_functions_made_and_dropped_are_never_taken_for_one_another(session: Session) -> None:
    def here() -> int:
        return running().sites.site(sys._getframe(1))

    numbers = {}
    for index in range(2000):
        scope: dict[str, Any] = {"here": here}
        exec(compile(f"def f{index}(): return here()\nnumber = f{index}()", f"made-{index}", "exec"), scope)
        numbers[scope["number"]] = f"made-{index}"
    assert len(numbers) == 2000
    sites = session.image().definitions(kinds.SITE)
    assert {number: sites[number][0] for number in numbers} == numbers
