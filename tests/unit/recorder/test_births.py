"""Nurseries: forked children take their live pages from a file that was made beforehand, or make one of their own."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import time
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.collector.liveness import start_ticks
from conctrace.events import layout
from tests.support.recording import _recorders as available
from tests.support.recording import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.recording import Session

CLONE_NEWPID = 0x20000000


@pytest.fixture(autouse=True)
def recorder_name() -> str:
    """The native one alone."""
    if "native" not in available():
        pytest.skip("not built, or not asked for")
    return "native"


def forked(run: Callable[[], object] = lambda: None) -> int:
    """The pid of a child that was forked as the session's hooks have it, ran this, and has ended well."""
    recorder = running()
    recorder.before_fork()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            recorder.announce()
            run()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return pid


def word(session: Session, name: str, offset: int) -> int:
    with open(f"{session.folder}/{name}", "rb") as file:
        return int.from_bytes(file.read()[offset : offset + 8], "little")


def test_children_take_pages_of_a_nursery_and_make_no_file(session: Session) -> None:
    before = set(os.listdir("/proc/self/fd"))
    pids = [forked() for _ in range(layout.FIRST_BIRTHS)]
    (nursery,) = session.files(".births")
    assert nursery == layout.births_name(session.image().nonce, 0)
    assert len(session.files(".live")) == 1
    assert word(session, nursery, layout.BIRTHS_TAKEN_OFFSET) == len(pids)
    images = {image.pid: image for image in session.images().values()}
    assert set(images) == {os.getpid(), *pids}
    assert [images[pid].parent for pid in pids] == [session.image().nonce] * len(pids)
    births = [images[pid].born for pid in pids]
    assert births == sorted(births)
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_next_nursery_is_larger_and_every_child_has_a_page(session: Session) -> None:
    count = layout.FIRST_BIRTHS * 5 + 1
    pids = {forked() for _ in range(count)}
    assert [os.path.getsize(f"{session.folder}/{name}") // layout.PAGE - 1 for name in session.files(".births")] == [
        layout.FIRST_BIRTHS * 4**index for index in range(3)
    ]
    assert {image.pid for image in session.images().values()} == {os.getpid(), *pids}
    assert len(session.files(".live")) == 1


def test_children_of_children_take_pages_too_and_name_their_parent(session: Session) -> None:
    told, tell = os.pipe()
    child = forked(lambda: os.write(tell, b"%d\n" % forked(lambda: running().exits(5, 7, 0))))
    grandchild = int(os.read(told, 100))
    os.close(told)
    os.close(tell)
    assert session.image(grandchild).parent == session.image(child).nonce
    assert session.image(grandchild).count("exit_value") == 7 + 1
    assert session.image(child).count("ended") == 0
    assert len(session.files(".births")) == 1


def test_a_child_that_finds_no_page_left_makes_a_file(session: Session) -> None:
    forked()
    (nursery,) = session.files(".births")
    with open(f"{session.folder}/{nursery}", "r+b") as file:
        file.seek(layout.BIRTHS_TAKEN_OFFSET)
        file.write((layout.FIRST_BIRTHS - 1).to_bytes(8, "little"))
    recorder = running()
    pids = []
    recorder.before_fork()
    for _ in range(2):  # as of two threads at once
        pid = os.fork()
        if pid == 0:
            recorder.announce()
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
    assert len(session.files(".births")) == 1
    assert len(session.files(".live")) == 2
    assert {image.pid for image in session.images().values()} >= {os.getpid(), *pids}


def test_a_nursery_that_is_closed_is_not_used(session: Session) -> None:
    forked()
    (nursery,) = session.files(".births")

    def close() -> None:
        with open(f"{session.folder}/{nursery}", "r+b") as file:
            file.seek(layout.BIRTHS_CLOSED_OFFSET)
            file.write(b"\1")

    recorder = running()
    recorder.before_fork()
    pid = os.fork()
    if pid == 0:
        close()
        recorder.announce()
        os._exit(0)
    os.waitpid(pid, 0)
    with open(f"{session.folder}/{nursery}", "rb") as file:
        assert file.read()[2 * layout.PAGE :].startswith(layout.BIRTH_UNUSED)
    assert session.image(pid).parent == session.image().nonce
    assert len(session.files(".live")) == 2
    another = forked()
    assert len(session.files(".births")) == 2
    assert session.image(another).pid == another


def refused(session: Session, how: str) -> Callable[[], None]:
    """Makes that there can be no nursery; returns what undoes it."""
    if how == "limit":
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (layout.PAGE, limits[1]))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with open(f"{session.folder}/{layout.CONTROL_FILE}", "r+b") as file:
        at = layout.CONTROL_UNDRAINED_OFFSET if how == "full" else layout.CONTROL_ON_OFFSET
        file.seek(at)
        file.write(b"\xff" * 7 if how == "full" else bytes(4))
    return lambda: None


@pytest.mark.parametrize("how", ["limit", "full", "off"])
def test_where_no_nursery_may_be_made_each_child_makes_a_file(session: Session, how: str) -> None:
    undo = refused(session, how)
    try:
        pids = [forked() for _ in range(3)]
    finally:
        undo()
    assert session.files(".births") == []
    assert {image.pid for image in session.images().values()} == {os.getpid(), *pids}
    assert running().alive


def test_the_start_time_is_what_proc_says_in_every_child(session: Session) -> None:
    recorder = running()
    told, tell = os.pipe()
    expected: dict[int, tuple[int | None, int]] = {}
    for number in range(200):
        recorder.before_fork()
        if number % 20 == 0:
            time.sleep(0.015)  # the clock has ticked since
        pid = os.fork()
        if pid == 0:
            recorder.announce()
            os.write(tell, b".")
            select.select([], [], [], 60)
            os._exit(0)
        os.read(told, 1)
        expected[pid] = start_ticks(pid), os.stat(f"/proc/{pid}/ns/pid").st_ino
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    os.close(told)
    os.close(tell)
    # Of a pid that was used again, the last one.
    images = sorted(session.images().values(), key=lambda image: image.born)
    found = {image.pid: layout.LIVE.unpack_from(image.page)[7:9] for image in images if image.parent}
    assert found == expected


def test_a_child_in_a_new_pid_namespace_tells_that_one(session: Session) -> None:
    told, tell = os.pipe()

    def unshare() -> None:
        libc: Any = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWPID):
            os.write(tell, b"0")
            return
        running().before_fork()
        pid = os.fork()
        if pid == 0:
            running().announce()
            os.write(tell, b"%d" % os.stat("/proc/self/ns/pid").st_ino)
            os._exit(0)
        os.waitpid(pid, 0)

    forked(unshare)
    namespace = int(os.read(told, 100))
    os.close(told)
    os.close(tell)
    if not namespace:
        pytest.skip("a new pid namespace is not allowed here")
    newest = max(session.images().values(), key=lambda image: image.born)
    facts = layout.LIVE.unpack_from(newest.page)
    assert facts[5:7] == (1, 0)
    assert facts[8] not in (0, os.stat("/proc/self/ns/pid").st_ino)


def test_a_child_of_a_plain_system_call_is_an_image_once_it_records(session: Session) -> None:
    libc: Any = ctypes.PyDLL(None)
    forked()
    time.sleep(0.03)
    pid = libc.fork()  # without the hooks of Python
    if pid == 0:
        running().exits(5, 3, 0)
        os._exit(0)
    os.waitpid(pid, 0)
    assert session.image(pid).count("exit_value") == 3 + 1
    assert len(session.files(".live")) == 1


def test_another_session_makes_nurseries_of_its_own(session: Session, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.support.recording import Session as AnySession

    forked()
    other = AnySession(tmp_path_factory.mktemp("other"), "native")
    other.record()
    pid = forked()
    assert other.image(pid).parent == other.image().nonce
    assert len(session.images()) == 2
    other.close()
