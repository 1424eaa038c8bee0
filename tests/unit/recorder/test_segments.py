"""Records in segments, byte by byte: nothing torn, nothing twice, nothing lost without being counted."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.events import kinds, layout, schema
from conctrace.settings import STACK_DEPTH
from tests.support.recording import running
from tests.support.segments import Steps, child

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.support.recording import Session

INSTANT = kinds.INSTANT.number
FIRST_SLOTS = layout.FIRST_SEGMENT_SIZE // schema.RECORD_SIZE - 1


def emit(value: int) -> None:
    running().emit(INSTANT, 1, 0, 0, 0, value)


def slots_used(session: Session) -> int:
    """How many slots of the only segment are taken, its header not counted."""
    assert len(session.image().segments) == 1
    return sum(1 for _ in session.image().slots())


def values(session: Session, pid: int | None = None) -> list[int]:
    return [row["value"] for row in session.image(pid).records(kinds.INSTANT)]


def test_a_record_is_64_bytes_at_the_next_slot_behind_a_header(session: Session) -> None:
    end = 64 * (1 + slots_used(session))
    running().emit(INSTANT, 3, 4, 5, 6, -7, 8, 9)
    (segment,) = session.image().segments
    nonce = session.image().nonce
    expected = (layout.SEGMENT_MAGIC, schema.SCHEMA_VERSION, layout.ABI_VERSION, nonce, 0, layout.FIRST_SEGMENT_SIZE)
    assert layout.SEGMENT.unpack_from(segment) == expected
    assert segment[64 + 63] == kinds.PROCESS_BORN.number
    *fields, core, outcome, kind = schema.RECORD.unpack_from(segment, end)
    assert fields == [3, 4, 6, -7, 0, 0, 5, 0, 8]
    assert (outcome, kind) == (9, INSTANT)
    assert core in range(os.cpu_count() or 1)
    assert not any(segment[end + 64 :])


def test_a_record_is_of_the_thread_that_emits_it(session: Session) -> None:
    def other() -> None:
        running().thread_begins("worker", True, 77)
        emit(1)
        running().thread_ends("worker, renamed", True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    emit(0)
    image = session.image()
    assert [(row["thread"], row["value"]) for row in image.records(kinds.INSTANT)] == [(1, 1), (0, 0)]
    assert [fields[0] for number, fields in image.all_definitions(kinds.THREAD) if number == 2] == [
        "worker",
        "worker, renamed",
    ]
    begins, ends = image.records(kinds.THREAD_BEGIN), image.records(kinds.THREAD_END)
    assert [(row["thread"], row["object"], row["outcome"]) for row in begins] == [(0, 0, 0), (1, 77, 0)]
    assert [(row["thread"], row["object"]) for row in ends] == [(1, 77)]


def test_a_thread_that_nobody_announced_is_named_as_threading_knows_it(session: Session) -> None:
    thread = threading.Thread(target=emit, args=(5,), name="unheralded", daemon=True)
    thread.start()
    thread.join()
    image = session.image()
    assert [row["thread"] for row in image.records(kinds.INSTANT)] == [1]
    name, native_id, daemon, thing = image.definitions(kinds.THREAD)[2]
    assert (name, native_id, daemon, thing) == ("unheralded", str(thread.native_id), "1", "0")
    (begins,) = (row for row in image.records(kinds.THREAD_BEGIN) if row["thread"] == 1)
    assert begins["outcome"] == kinds.NOT_FROM_START.number


def test_a_call_lasts_from_its_beginning_until_now_and_has_its_stack(session: Session) -> None:
    began = time.monotonic_ns()
    running().call(kinds.PROCESS_FORK.number, began, sys._getframe(), 4, 5, -6, 7)
    ended = time.monotonic_ns()
    image = session.image()
    (row,) = image.records(kinds.PROCESS_FORK)
    assert [row[name] for name in ("time", "object", "other", "value", "outcome")] == [began, 4, 5, -6, 7]
    assert 0 < row["duration"] <= ended - began
    sites = image.definitions(kinds.STACK)[row["stack"]][0].split()
    file, _, function = image.definitions(kinds.SITE)[int(sites[0])]
    assert (file, function) == (__file__, "test_a_call_lasts_from_its_beginning_until_now_and_has_its_stack")
    assert len(sites) == STACK_DEPTH


class Thing:
    pass


def test_a_thing_keeps_its_number_while_it_lives_and_is_defined_once_in_an_image(session: Session) -> None:
    def define(thing: object) -> tuple[str, str, int, str]:
        defined.append(thing)
        return "Thread", "its name", 0, "its target"

    defined: list[object] = []
    one, two = Thing(), Thing()
    number = running().object_number(one, define)
    assert running().object_number(two, define) != number == running().object_number(one, define)
    assert defined == [one, two]
    assert session.image().definitions(kinds.OBJECT)[number] == ["Thread", "its name", "0", "its target"]
    pid = os.fork()
    if pid == 0:
        try:
            for _ in range(2):
                assert running().alive  # whoever asks for a number has made sure of that
                running().object_number(one, define)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert [entry[0] for entry in session.image(pid).all_definitions(kinds.OBJECT)] == [number]
    defined.clear()
    del one
    seen = {running().object_number(Thing(), define) for _ in range(100)}
    assert len(seen) == 100
    assert number not in seen


# Waits -----------------------------------------------------------------------------------------------------------------


def test_a_wait_is_shown_while_it_lasts_and_recorded_when_it_is_over(session: Session) -> None:
    recorder = running()
    before = time.monotonic_ns()
    outer = recorder.begin_wait(kinds.THREAD_JOIN.number, 11, sys._getframe(), 12, -13)
    inner = recorder.begin_wait(kinds.PROCESS_JOIN.number, 21, sys._getframe())
    assert outer == inner == recorder.epoch > 0
    shown = session.image().threads()[0]
    assert (shown["wait"], shown["object"]) == (kinds.PROCESS_JOIN.number, 21)
    recorder.end_wait(inner, kinds.TIMEOUT.number, 22, 23)
    shown = session.image().threads()[0]
    assert (shown["wait"], shown["object"]) == (kinds.THREAD_JOIN.number, 11)
    assert before <= shown["since"] <= time.monotonic_ns()
    recorder.end_wait(outer, kinds.ACQUIRED.number)
    image = session.image()
    assert image.threads()[0]["wait"] == 0
    (join,), (process_join,) = image.records(kinds.THREAD_JOIN), image.records(kinds.PROCESS_JOIN)
    names = ("object", "other", "value", "outcome")
    assert [join[name] for name in names] == [11, 12, -13, kinds.ACQUIRED.number]
    assert [process_join[name] for name in names] == [21, 22, 23, kinds.TIMEOUT.number]
    assert join["time"] == shown["since"]
    assert join["time"] + join["duration"] >= process_join["time"] + process_join["duration"]
    assert image.definitions(kinds.STACK)[join["stack"]]


def test_a_wait_that_began_before_a_fork_is_the_parents_alone(session: Session) -> None:
    recorder = running()
    token = recorder.begin_wait(kinds.THREAD_JOIN.number, 11, sys._getframe())
    pid = os.fork()
    if pid == 0:
        try:
            recorder.end_wait(token, kinds.ACQUIRED.number)
            emit(1)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert session.image().threads()[0]["wait"] == kinds.THREAD_JOIN.number
    assert values(session, pid) == [1]
    assert session.image(pid).records(kinds.THREAD_JOIN) == []
    recorder.end_wait(token, kinds.ACQUIRED.number)
    assert len(session.image().records(kinds.THREAD_JOIN)) == 1


def test_the_end_of_a_wait_that_was_not_recorded_does_nothing(session: Session) -> None:
    running().end_wait(0, kinds.ACQUIRED.number)
    assert running().alive
    running().switch_off("over")
    assert running().begin_wait(kinds.THREAD_JOIN.number, 11, sys._getframe()) == 0
    assert session.image().records(kinds.THREAD_JOIN) == []


# Segments ----------------------------------------------------------------------------------------------------------------


def test_a_full_segment_is_followed_by_one_of_twice_its_size(session: Session) -> None:
    for value in range(4 * FIRST_SLOTS):
        emit(value)
    image = session.image()
    assert values(session) == list(range(4 * FIRST_SLOTS))
    assert [len(segment) // layout.FIRST_SEGMENT_SIZE for segment in image.segments] == [1, 2, 4]
    assert image.count("dropped") == 0
    assert image.count("records") == FIRST_SLOTS + (2 * FIRST_SLOTS + 1)


def test_a_definition_that_does_not_fit_goes_whole_to_the_next_segment(session: Session) -> None:
    for value in range(FIRST_SLOTS - slots_used(session) - 1):
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
            running().emit(INSTANT, 1, 0, thread, 0, value)
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
        assert [row["value"] for row in rows if row["object"] == index] == list(range(1000))
        assert len({row["thread"] for row in rows if row["object"] == index}) == 1
    assert len({row["thread"] for row in rows}) == 8
    texts = {fields[0] for fields in image.definitions(kinds.TEXT).values()}
    assert texts == {f"text {thread} {value}" for thread in range(8) for value in range(0, 1000, 100)}
    assert image.count("dropped") == 0


# Ends of recording ---------------------------------------------------------------------------------------------------


def fill_segment() -> None:
    for value in range(FIRST_SLOTS + 1):
        emit(value)


def test_when_the_folder_is_gone_it_switches_itself_off_and_names_no_other_cause(session: Session) -> None:
    hidden = f"{session.folder}-hidden"
    os.rename(session.folder, hidden)
    fill_segment()
    assert not running().alive
    os.rename(hidden, session.folder)
    assert session.image().off_reason == "the session's folder is gone or out of reach"


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
    deadline = time.monotonic() + 10
    while values(session)[-1] != -1 and time.monotonic() < deadline:
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
        session.moves()
        session.record()
        for value in range(20_000):
            emit(value)
        image = session.image()
        assert image.count("dropped") > 1000
        assert (image.count("errors"), image.off_reason) == (0, "")
        seen = values(session)
        assert seen == list(range(len(seen)))
        assert len(seen) + image.count("dropped") == 20_000

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
@pytest.mark.soak
def test_two_hundred_kills_at_any_moment_leave_whole_records(session: Session) -> None:
    kills(session, 200)


def kills(session: Session, times: int) -> None:
    import random

    moment = random.Random(times)
    for _ in range(times):
        kill_at_random(session, moment)


def test_sites_of_functions_made_and_dropped_are_never_taken_for_one_another(session: Session) -> None:
    def here() -> int:
        return running().site(sys._getframe(1))

    numbers = {}
    for index in range(2000):
        scope: dict[str, Any] = {"here": here}
        exec(compile(f"def f{index}(): return here()\nnumber = f{index}()", f"made-{index}", "exec"), scope)
        numbers[scope["number"]] = f"made-{index}"
    assert len(numbers) == 2000
    sites = session.image().definitions(kinds.SITE)
    assert {number: sites[number][0] for number in numbers} == numbers
