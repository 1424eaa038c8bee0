"""The dozen lines after a run."""

from __future__ import annotations

import json

from conctrace.exporters.summary import render, summary
from conctrace.model.trace import End
from tests.support.stories import contended_lock
from tests.support.traces import Story, moment


def rendered(story: Story, width: int = 80) -> str:
    return render(json.loads(json.dumps(summary(story.trace()))), colour=False, width=width)


def test_it_tells_who_waited_longest_and_what_ended_it() -> None:
    text = " ".join(rendered(contended_lock()).split())
    assert "400 µs Lock.acquire lock (Thread-2 (work) in MainProcess 4242) at race.py:8 work" in text
    assert "Thread-1 (work) held it, from race.py:8; Thread-1 (work) released it at race.py:10" in text
    assert "it never got it: killed by SIGTERM from MainProcess" in text


def test_it_tells_how_each_process_ended() -> None:
    lines = rendered(contended_lock()).splitlines()
    assert "    MainProcess 4242   1.00 ms  exit 0, 3 threads" in lines
    assert "    Process-1 4250      500 µs  killed by SIGTERM from MainProcess" in lines


def test_its_first_line_says_whose_words_these_are_and_the_others_are_indented() -> None:
    first, *rest = rendered(contended_lock()).splitlines()
    assert first == "conctrace: race.py: exit 0 after 1.00 ms"
    assert all(line.startswith("  ") for line in rest)


def test_no_line_is_wider_than_asked_for() -> None:
    story = contended_lock()
    main = story.process("x" * 200, 9000, 10, 20)
    story.wait(main, 10, 990, "Lock.acquire " + "y" * 200)
    for width in (40, 60, 80):
        assert max(map(len, rendered(story, width).splitlines())) <= width


def test_names_cannot_take_over_the_terminal() -> None:
    story = Story()
    main = story.process("evil\x1b[2J\nconctrace: fine", 10, 0, 1000, End("killed", moment(1000), signal=9))
    story.wait(main, 10, 900, "Lock.acquire \x1b]0;x\x07")
    text = rendered(story)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert sum(line.startswith("conctrace:") for line in text.splitlines()) == 1


def test_colour_changes_nothing_but_colour() -> None:
    import re

    about = summary(contended_lock().trace())
    coloured = render(about, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == render(about, colour=False)


def test_losses_and_files_are_said() -> None:
    about = summary(contended_lock().trace()) | {"files": ["race.ctrace"]}
    text = render(about, colour=False)
    assert "  in the totals only\n    12 holds are in the totals only.\n" in text
    assert text.endswith("  written\n    race.ctrace\n")


def test_a_thousand_processes_are_a_few_lines() -> None:
    story = Story()
    for pid in range(10, 1010):
        story.process(f"Process-{pid}", pid, 0, 10)
    about = summary(story.trace())
    assert len(json.dumps(about)) < 10_000
    assert "    … and 988 more: 988 exit 0\n" in render(about, colour=False)


def test_a_missing_native_recorder_is_said_in_one_line() -> None:
    line = "  The native recorder is not built here, so locks cost more time: see README.\n"
    assert line not in render(summary(contended_lock().trace()), colour=False)
    assert line in render(summary(contended_lock().trace(native_missing=True)), colour=False)


def test_an_incomplete_trace_is_called_so() -> None:
    about = summary(contended_lock().trace(complete=False, status=-15))
    text = render(about, colour=False)
    assert "killed by SIGTERM" in text.splitlines()[0]
    assert "  The trace is not complete.\n" in text
