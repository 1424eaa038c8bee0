"""What a report tells of the command and the machine: nothing that was not asked for, since it is passed on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.run import Runner

SECRET = "s3cret-argument"


def names_host(page: str) -> bool:
    return re.search(rf">\s*{re.escape(os.uname().nodename)}\s*<", page) is not None


@pytest.fixture
def report(runner: Runner) -> str:
    """The name of a trace of a program that was given a secret."""
    (runner.folder / "quiet.py").write_text("")
    runner.traced("quiet.py", SECRET, options=["-q", "-o", "kept.ctrace", "-o", "usual.html"])
    return "kept.ctrace"


def test_a_report_leaves_out_arguments_and_host(runner: Runner, report: str) -> None:
    page = (runner.folder / "usual.html").read_text()
    assert "quiet.py" in page
    assert SECRET not in page
    assert not names_host(page)
    assert (
        SECRET
        in runner.conctrace("export", report, "-o", "kept.json").stdout + (runner.folder / "kept.json").read_text()
    ), "the trace and its JSON keep what was recorded"


@pytest.mark.parametrize("verb", ["export", "run"])
def test_include_puts_back_what_it_names_and_no_more(runner: Runner, report: str, verb: str) -> None:
    if verb == "export":
        runner.conctrace("export", report, "-o", "told.html", "--include", "args")
    else:
        runner.traced("quiet.py", SECRET, options=["-q", "-o", "told.html", "--include", "args"])
    page = (runner.folder / "told.html").read_text()
    assert SECRET in page
    assert not names_host(page)


def test_the_host_is_told_when_it_is_asked_for(runner: Runner, report: str) -> None:
    runner.conctrace("export", report, "-o", "told.html", "--include", "host")
    page = (runner.folder / "told.html").read_text()
    assert names_host(page)
    assert SECRET not in page


def test_an_unknown_include_is_refused_in_one_line(runner: Runner, report: str) -> None:
    result = runner.conctrace("export", report, "-o", "told.html", "--include", "args,passwords")
    assert result.status == 2
    assert "there is no 'passwords', only values, args, env, host" in result.stderr
    assert not (runner.folder / "told.html").exists()
