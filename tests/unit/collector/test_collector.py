"""The collector with real processes: everything finished is in the trace, however its process ended."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from conctrace import sessions, settings
from conctrace.collector.recovery import recover
from conctrace.errors import SessionError
from conctrace.events import kinds, layout
from conctrace.tracefile.reader import ImageData, read
from tests.support.segments import (
    ImageFiles,
    Steps,
    definition,
    object_entry,
    record,
    thread_entry,
    totals_entry,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Session


def values(image: ImageData) -> list[int]:
    return [row[3] for row in image.records]


def store_numbers(files: ImageFiles, first: int, end: int) -> None:
    for number in range(first, end):
        files.store(record(number))


def five_and_pause(files: ImageFiles, steps: Steps) -> None:
    store_numbers(files, 0, 5)
    steps.pause()


def test_every_record_of_a_process_that_ended_is_there_in_order(session: Session) -> None:
    session.launch()
    session.run_main(lambda files, _steps: store_numbers(files, 0, 5000))
    raw = session.finish()
    assert values(raw.images[1]) == list(range(5000))
    assert raw.images[1].facts["command"] == ["python", "fake.py"]
    assert raw.images[1].seen["dead"]
    assert (raw.images[1].seen["holes"], raw.images[1].seen["lost_segments"]) == (0, 0)
    assert raw.complete
    assert raw.main["status"] == 0


def test_the_hook_is_announced_and_nothing_is_left_in_the_end(session: Session) -> None:
    session.launch()
    main = session.image(1, lambda _files, steps: steps.pause())
    session.started(main)
    assert session.result("hook")["pid"] == main.pid
    main.go()
    session.ended(main)
    session.finish()
    assert os.listdir(session.root) == []


def test_what_a_killed_process_finished_is_there_and_its_holes_are_counted(session: Session) -> None:
    def run(files: ImageFiles, steps: Steps) -> None:
        store_numbers(files, 0, 10)
        files.skip(3)
        store_numbers(files, 10, 20)
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    os.kill(main.pid, signal.SIGKILL)
    session.ended(main)
    raw = session.finish()
    assert values(raw.images[1]) == list(range(20))
    assert raw.images[1].seen["holes"] == 3
    assert raw.main["status"] == -signal.SIGKILL


def test_a_definition_that_was_not_finished_counts_as_holes(session: Session) -> None:
    def run(files: ImageFiles, _steps: Steps) -> None:
        files.store(*definition(kinds.TEXT, 7, "x" * 200))
        head, *more = definition(kinds.TEXT, 8, "y" * 200)
        files.skip()
        for part in more:
            files.store(part)
        files.store(head)
        files.store(more[0])
        files.store(record(1))

    session.launch()
    session.run_main(run)
    image = session.finish().images[1]
    assert image.definitions[kinds.TEXT.number] == {7: ["x" * 200]}
    assert values(image) == [1]
    # The missing head and its 4 parts; then a head whose parts are not all there, and the one part it has.
    assert image.seen["holes"] == 5 + 2


def test_free_slots_before_a_successor_are_no_holes(session: Session) -> None:
    def run(files: ImageFiles, _steps: Steps) -> None:
        store_numbers(files, 0, 10)
        files.next_segment()
        store_numbers(files, 10, 20)

    session.launch()
    session.run_main(run)
    image = session.finish().images[1]
    assert values(image) == list(range(20))
    assert image.seen["holes"] == 0


def test_a_slot_that_is_filled_late_in_an_old_segment_is_not_lost_and_delays_no_other(session: Session) -> None:
    def run(files: ImageFiles, steps: Steps) -> None:
        store_numbers(files, 0, 10)
        where, slot = files.skip()
        for number in range(11, 1024):
            files.store(record(number))
        store_numbers(files, 1024, 8192)
        steps.pause()
        files.fill(slot, record(10), where)
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    # All but the one with the hole, and the last.
    session.until(lambda: len(session.files(".seg")) == 2)
    main.go()
    main.step()
    main.go()
    session.ended(main)
    image = session.finish().images[1]
    assert values(image) == list(range(8192))
    assert image.seen["holes"] == 0


@pytest.mark.slow
def test_a_hole_that_stays_in_an_old_segment_is_given_up_while_the_process_lives(session: Session) -> None:
    def run(files: ImageFiles, steps: Steps) -> None:
        files.skip()
        store_numbers(files, 0, 2000)
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    session.until(lambda: session.files(".seg") == [layout.segment_name(1, 1)])
    main.go()
    session.ended(main)
    image = session.finish().images[1]
    assert values(image) == list(range(2000))
    assert image.seen["holes"] == 1


def test_a_segment_that_was_withdrawn_is_not_taken_for_the_next_of_its_number(session: Session) -> None:
    """A file that could not be mapped is unlinked by its maker, and the number used again."""

    def run(files: ImageFiles, steps: Steps) -> None:
        store_numbers(files, 0, 1023)
        withdrawn = os.path.join(files.folder, layout.segment_name(1, 1))
        with open(withdrawn, "xb") as file:
            file.write(bytes(1 << 16))
        steps.pause()
        os.unlink(withdrawn)
        store_numbers(files, 1023, 3000)
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    session.until(lambda: session.has_open(layout.segment_name(1, 1)))
    main.go()
    main.step()
    session.until(lambda: session.files(".seg") == [layout.segment_name(1, 2)])
    main.go()
    session.ended(main)
    assert values(session.finish().images[1]) == list(range(3000))


def test_a_segment_is_unlinked_only_when_it_was_drained(session: Session) -> None:
    def run(files: ImageFiles, steps: Steps) -> None:
        store_numbers(files, 0, 1023 * 5)
        steps.pause()
        store_numbers(files, 1023 * 5, 1023 * 6)
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    session.until(lambda: session.files(".seg") == [layout.segment_name(1, 4)])
    session.until(lambda: session.control()[8] == 1 << 16)
    main.go()
    main.step()
    session.until(lambda: session.files(".seg") == [layout.segment_name(1, 5)])
    main.go()
    session.ended(main)
    assert values(session.finish().images[1]) == list(range(1023 * 6))


def test_the_last_state_of_threads_and_totals_is_that_before_the_kill(session: Session) -> None:
    counts = len(layout.TOTALS_COUNTS)

    def run(files: ImageFiles, steps: Steps) -> None:
        # The newer half was begun and not finished.
        waits = [(4, 1000, 7, 8, 9, 10, kinds.LOCK_WAIT.number, 0, 4), (5, 2000, 0, 0, 0, 0, 0, 0, 3)]
        files.threads(thread_entry(0, waits, [(11, 12, 13)]), thread_entry(1, [], []))
        files.totals(totals_entry((21, 0, 22), [(2, *range(1, 1 + counts), 2), (3, *range(11, 11 + counts), 3)]))
        files.count("dropped", 5)
        files.store(record(0))
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    os.kill(main.pid, signal.SIGKILL)
    session.ended(main)
    image = session.finish().images[1]
    wait = {"since": 1000, "other": 7, "value": 8, "object": 9, "stack": 10, "kind": kinds.LOCK_WAIT.number}
    assert image.threads == [
        {"thread": 0, "native_id": 4000, "wait": wait, "held": [{"object": 11, "site": 12, "since": 13}]},
        {"thread": 1, "native_id": 4001, "wait": None, "held": []},
    ]
    assert image.totals == [
        {"object": 21, "thread": 0, "site": 22, **dict(zip(layout.TOTALS_COUNTS, range(11, 11 + counts), strict=True))}
    ]
    assert image.counters["dropped"] == 5


def test_who_has_the_contended_locks_is_kept_and_what_is_half_stored_or_nobodys_is_not(session: Session) -> None:
    def run(files: ImageFiles, steps: Steps) -> None:
        whole = object_entry(21, 1000, 3 << 32 | 22)
        nobodys, torn = object_entry(23, 1000, 0), (object_entry(24, 1000, 22), object_entry(25, 0, 1 << 32 | 22))
        free = object_entry(0, 1000, 1 << 32)
        files.objects(nobodys, *torn, free, whole)
        files.store(record(0))
        steps.pause()

    session.launch()
    main = session.image(1, run)
    main.step()
    session.started(main)
    os.kill(main.pid, signal.SIGKILL)
    session.ended(main)
    assert session.finish().images[1].objects == [{"object": 21, "thread": 2, "site": 22, "since": 1000}]
    assert os.listdir(session.root) == []


@pytest.mark.parametrize("asked", ["", "python"])
def test_the_trace_knows_which_recorder_was_asked_for(
    session: Session, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv(settings.RECORDER_VARIABLE, asked)
    session.launch()
    session.run_main(lambda files, _steps: files.store(record(0)))
    assert session.finish().plan["recorder_asked"] == asked


def test_tables_are_removed_with_their_image(session: Session) -> None:
    def run_child(files: ImageFiles, _steps: Steps) -> None:
        files.threads()
        files.totals()
        files.objects()

    session.launch(wait_seconds=None)
    main = session.image(1, lambda _files, steps: steps.pause())
    main.step()
    session.started(main)
    session.image(2, run_child, parent=1).wait()
    tables = [layout.chunk_name(2, table, 0) for table in ("threads", "totals", "objects")]
    session.until(lambda: not set(tables) & set(os.listdir(session.folder)))
    main.go()
    session.ended(main)
    session.finish()


def test_descendants_are_waited_for_and_helpers_are_not(session: Session) -> None:
    session.launch(wait_seconds=None)
    helper = session.image(9, lambda _files, steps: steps.pause(), role=1)
    helper.step()

    def run_child(files: ImageFiles, steps: Steps) -> None:
        steps.pause()
        store_numbers(files, 0, 10)

    descendant = session.image(2, run_child, parent=1)
    descendant.step()
    session.run_main(lambda files, _steps: store_numbers(files, 0, 3))
    descendant.go()
    descendant.wait()
    raw = session.finish()
    assert values(raw.images[2]) == list(range(10))
    assert [raw.images[nonce].seen["dead"] for nonce in (1, 2, 9)] == [True, True, False]
    assert not [result for result in session.results if result["event"] == "open"]


@pytest.mark.parametrize("how", ["deadline", "hurry"])
def test_a_descendant_that_goes_on_is_reported_open_and_switched_off(session: Session, how: str) -> None:
    collector = session.launch(wait_seconds=0.05 if how == "deadline" else None)

    def run_child(files: ImageFiles, steps: Steps) -> None:
        files.store(*definition(kinds.PROCESS, 1, "worker-1", os.getppid(), 0, "work"))
        store_numbers(files, 0, 10)
        files.skip()
        store_numbers(files, 10, 20)
        steps.pause()

    descendant = session.image(2, run_child, parent=1)
    descendant.step()
    with open(os.path.join(session.folder, layout.CONTROL_FILE), "rb") as control:
        session.run_main(lambda files, _steps: store_numbers(files, 0, 3))
        if how == "hurry":
            collector.hurry()
        raw = session.finish()
        control.seek(layout.CONTROL_ON_OFFSET)
        assert control.read(4) == bytes(4)
    assert session.result("open")["processes"] == [{"pid": descendant.pid, "name": "worker-1"}]
    assert values(raw.images[2]) == list(range(20))
    assert not raw.images[2].seen["dead"]
    assert raw.images[2].seen["holes"] == 1


def test_a_child_that_is_only_announced_is_waited_for(session: Session) -> None:
    session.launch()
    folder = session.folder

    def run_child(steps: Steps) -> None:
        steps.pause()
        store_numbers(ImageFiles(folder, 2, parent=1), 0, 5)

    announced = session.child(run_child)
    announced.step()
    session.run_main(lambda files, _steps: files.store(record(announced.pid, kinds.PROCESS_FORK.number)))
    announced.go()
    announced.wait()
    assert values(session.finish().images[2]) == list(range(5))


def test_exec_ends_an_image_though_its_pid_lives_on(session: Session) -> None:
    session.launch()

    def run(files: ImageFiles, steps: Steps) -> None:
        store_numbers(files, 0, 5)
        steps.pause()
        store_numbers(ImageFiles(files.folder, 2), 5, 10)
        steps.pause()

    main = session.image(1, run)
    main.step()
    session.started(main)
    session.result("hook")
    main.go()
    main.step()
    main.go()
    session.ended(main)
    raw = session.finish()
    assert raw.images[1].seen["replaced_by"] == 2
    assert (values(raw.images[1]), values(raw.images[2])) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])


def test_a_killed_waiter_still_leaves_a_trace(session: Session, tmp_path: Path) -> None:
    session.create()
    script = (
        "import os, sys; from conctrace.collector.launch import launch;"
        "c = launch(sys.argv[1]); c.main_started(int(sys.argv[2])); os.write(1, b'%d\\n' % c.pid); sys.stdin.read()"
    )
    main = session.image(1, five_and_pause)
    main.step()
    waiter = subprocess.Popen(
        [sys.executable, "-c", script, session.folder, str(main.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert waiter.stdout is not None
    assert waiter.stdin is not None
    assert waiter.stdout.readline()
    waiter.kill()
    waiter.wait()
    waiter.stdin.close()
    # Nobody holds the waiter's stdout any more.
    assert waiter.stdout.read() == b""
    waiter.stdout.close()
    main.go()
    main.wait()
    session.until(lambda: not os.listdir(session.root))
    raw = read(str(tmp_path / "out.ctrace"))
    assert values(raw.images[1]) == list(range(5))
    assert raw.main["status"] is None
    assert raw.complete


@pytest.mark.parametrize("victim", ["collector", "writer"])
def test_what_was_recorded_before_and_after_the_collector_died_is_recovered(session: Session, victim: str) -> None:
    collector = session.launch()

    def run(files: ImageFiles, steps: Steps) -> None:
        files.store(*definition(kinds.TEXT, 1, "a name"))
        store_numbers(files, 0, 3000)
        steps.pause()
        store_numbers(files, 3000, 4000)

    main = session.image(1, run)
    main.step()
    session.started(main)
    session.until(lambda: session.files(".seg") == [layout.segment_name(1, 2)])
    with pytest.raises(SessionError, match="still being recorded"):
        recover(session.folder, None)
    with open(f"/proc/{collector.pid}/task/{collector.pid}/children", encoding="ascii") as file:
        (writer,) = map(int, file.read().split())
    os.kill(collector.pid if victim == "collector" else writer, signal.SIGKILL)
    assert session.reap() == (-signal.SIGKILL if victim == "collector" else 1)
    assert sessions.leftovers(str(session.root)) == [session.folder]
    main.go()
    main.wait()
    result = recover(session.folder, None)
    assert result["written"] == [str(session.output)]
    assert result["failed"] == []
    raw = read(str(session.output))
    assert (raw.complete, raw.cut) == (False, None), "all that was recorded, of a run that was not seen to its end"
    assert values(raw.images[1]) == list(range(4000))
    assert raw.images[1].definitions[kinds.TEXT.number] == {1: ["a name"]}
    assert (raw.images[1].seen["holes"], raw.images[1].seen["lost_segments"]) == (0, 0)
    assert os.listdir(session.root) == []


def test_recovery_drops_a_block_that_was_cut(session: Session) -> None:
    session.create()
    session.image(1, lambda files, _steps: store_numbers(files, 0, 100)).wait()
    with open(os.path.join(session.folder, sessions.TRACE_FILE), "wb") as file:
        file.write(b"\x93conctrace\r\n\x01\x00\x01\x00half a block")
    assert recover(session.folder, None)["failed"] == []
    assert values(read(str(session.output)).images[1]) == list(range(100))


def test_signals_for_the_group_do_not_reach_it_and_sigterm_ends_it_well(session: Session) -> None:
    collector = session.launch()
    main = session.image(1, five_and_pause)
    main.step()
    session.started(main)
    session.result("hook")
    assert os.getsid(collector.pid) == collector.pid
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        os.kill(collector.pid, number)
    os.kill(collector.pid, signal.SIGTERM)
    raw = session.finish()
    assert values(raw.images[1]) == list(range(5))
    assert not raw.images[1].seen["dead"]


def test_a_folder_that_cannot_be_written_gets_a_fallback(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    missing = tmp_path / "gone" / "x.ctrace"
    session.launch(outputs=[str(missing)])
    session.run_main(lambda files, _steps: store_numbers(files, 0, 5))
    done = session.result("done")
    assert [failure["path"] for failure in done["failed"]] == [str(missing)]
    assert done["failed"][0]["error"] == "No such file or directory"
    assert session.reap() == 0
    assert values(read(os.path.join(done["fallback"], "x.ctrace")).images[1]) == list(range(5))
    assert os.path.dirname(done["fallback"]) == str(elsewhere)
    assert os.listdir(session.root) == []


def test_an_exporter_that_fails_costs_its_file_only(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken(_path: str) -> object:
        message = "broken on purpose"
        raise RuntimeError(message)

    monkeypatch.setattr("conctrace.exporters.format_for", broken)
    session.launch(outputs=[str(tmp_path / "x.json")])
    session.run_main(lambda files, _steps: store_numbers(files, 0, 5))
    done = session.result("done")
    assert "broken on purpose" in done["failed"][0]["error"]
    assert values(read(os.path.join(done["fallback"], "fake.ctrace")).images[1]) == list(range(5))


def test_a_second_collector_is_refused(session: Session) -> None:
    from conctrace.collector.launch import launch

    session.launch()
    with pytest.raises(SessionError, match="already has a collector"):
        launch(session.folder)


def test_many_processes_that_come_and_go_at_once_are_all_there(session: Session) -> None:
    session.launch()
    children = [session.image(nonce, lambda files, _steps: store_numbers(files, 0, 50)) for nonce in range(2, 42)]
    for each in children:
        each.wait()
    started = time.monotonic()
    session.run_main(lambda files, _steps: store_numbers(files, 0, 3))
    raw = session.finish()
    assert time.monotonic() - started < 15
    assert sorted(raw.images) == list(range(1, 42))
    assert all(values(raw.images[nonce]) == list(range(50)) for nonce in range(2, 42))


def test_more_processes_than_descriptors_are_taken_in_turn(session: Session) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    children = []
    session.create()
    try:
        # The collector's hard limit: what it needs itself, and a few processes.
        limited = os.fork()
        if limited == 0:
            resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
            _collect_in_this_process(session)
        children = [session.image(nonce, five_and_pause) for nonce in range(1, 31)]
        for each in children:
            each.step()
        session.until(lambda: len(session.files(".seg")) == 30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for each in children:
        each.go()
        each.wait()
    os.kill(limited, signal.SIGUSR1)
    assert os.waitpid(limited, 0)[1] == 0
    raw = read(str(session.output))
    assert all(values(raw.images[nonce]) == list(range(5)) for nonce in range(1, 31))


def _collect_in_this_process(session: Session) -> NoReturn:
    """A waiter that ends its run at SIGUSR1."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        session.launch()
        assert session.collector is not None
        signal.sigwait([signal.SIGUSR1])
        session.collector.close()
        status = session.reap()
    finally:
        os._exit(status)
