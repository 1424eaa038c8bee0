"""What the model makes of programs that record nothing."""

from __future__ import annotations

from conctrace.events import kinds
from conctrace.model.validate import problems
from tests.support.raw import RawImage, RawRun


def started(image: RawImage, number: int, pid: int, time: int, name: str = "ls") -> None:
    """A Popen of a program `name -l`."""
    image.define(kinds.OBJECT, number, "Popen", name, 0, f"{name} -l")
    image.row(kinds.PROGRAM_START, time=time, duration=5, object=number, value=pid)


def main_image(run: RawRun) -> RawImage:
    run.main = {"pid": 100, "status": 0, "ended_ns": 900}
    return run.image(1, pid=100)


def test_a_pid_that_is_used_again_is_two_programs() -> None:
    run = RawRun()
    main = main_image(run)
    started(main, 5, 200, 10)
    main.row(kinds.CHILD_STATUS, time=50, other=200, value=0)
    started(main, 6, 200, 100, "wc")
    main.row(kinds.CHILD_STATUS, time=150, other=200, value=3)
    main.row(kinds.PROGRAM_WAIT, time=110, duration=45, object=6, value=200, outcome=kinds.ACQUIRED.number)
    trace = run.build()
    assert problems(trace) == []
    shown = [(each.name, each.start, each.end.time, each.end.status) for each in trace.processes.values()][1:]
    assert shown == [("ls", 15, 50, 0), ("wc", 105, 150, 3)]
    (wait,) = trace.waits
    assert (wait.label, dict(wait.args)) == ("Popen.wait wc", {"command": "wc -l"})
    assert wait.cause is not None
    assert (trace.processes[wait.cause.thread[0]].name, wait.cause.time) == ("wc", 150)


def test_an_image_of_later_is_not_the_program_whose_pid_it_has() -> None:
    run = RawRun()
    main = main_image(run)
    started(main, 5, 200, 10)
    main.row(kinds.CHILD_STATUS, time=50, other=200, value=0)
    run.image(2, pid=200, born=300, ppid=100)
    trace = run.build()
    assert [each.origin for each in trace.processes.values()] == ["main", "program", "other"]


def test_the_image_with_the_pid_is_the_program_even_if_its_parent_has_died() -> None:
    run = RawRun()
    main = main_image(run)
    started(main, 5, 200, 10, "python3")
    run.image(2, pid=200, born=30, ppid=1)
    trace = run.build()
    assert [(each.origin, each.parent) for each in trace.processes.values()] == [("main", None), ("program", 1)]
    assert [(arrow.name, arrow.target, arrow.target_time) for arrow in trace.arrows] == [("start", (2, 0), 30)]


def test_the_end_is_the_first_moment_by_which_it_was_over_and_unknown_ends_are_open() -> None:
    run = RawRun()
    main = main_image(run)
    for number, pid in ((5, 200), (6, 201), (7, 202), (8, 203)):
        started(main, number, pid, 10)
    main.row(kinds.CHILD_STATUS, time=500, other=200, value=-9)
    run.programs = [(1, 200, 10, 60), (1, 201, 10, 70), (1, 202, 10, None), (1, 203, 11, 80)]
    ends = [(each.end.how, each.end.time, each.end.signal) for each in run.build().processes.values()][1:]
    # The last one's call began at another time: it is another start.
    assert ends == [("killed", 60, 9), ("ended", 70, None), ("open", None, None), ("open", None, None)]


def test_a_start_that_failed_is_a_call_with_an_error_and_no_process() -> None:
    run = RawRun()
    main = main_image(run)
    started(main, 5, 200, 10)
    main.row(kinds.CHILD_STATUS, time=16, other=200, value=255)
    main.define(kinds.TEXT, 6, "FileNotFoundError: no ls")
    main.row(kinds.PROGRAM_FAILED, time=10, duration=9, object=5, other=6, value=-1, outcome=kinds.ERROR.number)
    trace = run.build()
    assert len(trace.processes) == 1
    assert trace.arrows == []
    (call,) = trace.spans
    assert (call.name, call.start, call.end, call.outcome) == ("Popen ls", 10, 19, "error")
    assert dict(call.args) == {"error": "FileNotFoundError: no ls", "command": "ls -l"}
    assert [mark.name for mark in trace.instants] == ["FileNotFoundError: no ls", "exit 0"]


def test_a_child_that_ran_a_preexec_fn_is_the_program_that_it_became() -> None:
    run = RawRun()
    main = main_image(run)
    started(main, 5, 200, 10)
    run.image(2, pid=200, born=12, parent=1, inherited_below=9, ppid=100)
    trace = run.build()
    assert [(each.name, each.origin, each.parent) for each in trace.processes.values()][1:] == [("ls", "other", 1)]


def test_a_python_below_a_shell_has_the_shell_as_its_parent() -> None:
    run = RawRun()
    main = main_image(run)
    started(main, 5, 200, 10, "sh")
    run.image(2, pid=201, born=13, ppid=200)
    trace = run.build()
    assert problems(trace) == []
    shell = next(each for each in trace.processes.values() if each.name == "sh")
    # It was there before its child, whenever its parent came to say so.
    assert (trace.processes[2].parent, shell.start) == (shell.key, 13)


def test_other_threads_end_with_an_exec_and_the_lane_goes_on_as_the_program() -> None:
    run = RawRun()
    main = main_image(run)
    main.row(kinds.THREAD_BEGIN, time=5, thread=1)
    main.define(kinds.OBJECT, 5, "os.execv", "ls", 0, "ls -l")
    main.row(kinds.PROGRAM_EXEC, time=100, object=5, thread=1)
    trace = run.build()
    assert problems(trace) == []
    assert [trace.threads[1, index].end for index in (0, 1)] == [900, 100]
    assert [(span.name, span.thread, span.start, span.end) for span in trace.spans] == [("ls", (1, 0), 100, 900)]
