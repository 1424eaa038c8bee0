"""What a user of the command line meets: what is run, what is written, what is refused, and in which words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.run import Runner, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOW = "import sys; print(__name__, sys.argv, sys.path[0], sys.flags.optimize)\n"
OUTPUTS = {"show.ctrace", "show.trace.json", "show.report.html"}


@pytest.fixture
def folder(runner: Runner) -> Path:
    """The runner's folder, with things to run."""
    here = runner.folder
    (here / "show.py").write_text(SHOW)
    (here / "app").mkdir()
    (here / "app" / "__main__.py").write_text(SHOW)
    with zipfile.ZipFile(here / "tool", "w") as archive:
        archive.writestr("__main__.py", SHOW)
    (here / "serve.sh").write_text("#!/bin/sh\necho served $*\n")
    (here / "plain.sh").write_text("echo plain $*\n")
    for script in ("serve.sh", "plain.sh"):
        (here / script).chmod(0o755)
    return here


def refused(runner: Runner, *arguments: str) -> str:
    """The one line with which conctrace refuses this; nothing was run and nothing written."""
    before = set(os.listdir(runner.folder))
    result = runner.conctrace(*arguments)
    assert result.status == 2
    assert result.stdout == ""
    assert set(os.listdir(runner.folder)) - before <= {"sessions"}
    line, end = result.stderr[:-1], result.stderr[-1]
    assert end == "\n"
    assert "\n" not in line
    return line.removeprefix("conctrace: ")


# What is run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        ["show.py"],
        ["show.py", "-o", "x", "-q", "--", "-h"],
        ["./app", "a"],
        ["tool", "--wait"],
        ["-m", "show", "-x"],
        ["-m", "app", "--help"],
        ["-c", SHOW, "-o", "--"],
        ["-c", "-1"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("folder")
def test_a_python_program_is_given_what_python_would_give_it(runner: Runner, target: list[str]) -> None:
    bare, traced = runner.bare(*target), runner.traced(*target, options=["-q"])
    assert (traced.status, traced.stdout, traced.stderr) == (bare.status, bare.stdout, bare.stderr)
    assert bare.status == 0


@pytest.mark.usefixtures("folder")
def test_options_end_at_two_dashes(runner: Runner) -> None:
    assert (
        runner.traced("--", "show.py", "-q", options=["-q", "--wait"]).lines[0].startswith("__main__ ['show.py', '-q']")
    )


@pytest.mark.usefixtures("folder")
def test_wait_takes_a_number_and_nothing_else(runner: Runner) -> None:
    for options in (["--wait"], ["--wait", "2.5"], ["--wait=0"]):
        assert runner.traced("show.py", options=["-q", *options]).lines[0].startswith("__main__ ['show.py']")


@pytest.mark.parametrize(
    ("command", "says"),
    [(["./serve.sh", "-q"], "served -q\n"), (["./plain.sh", "b"], "plain b\n"), (["echo", "-o", "x"], "-o x\n")],
)
@pytest.mark.usefixtures("folder")
def test_commands_run_by_their_path_or_from_path(runner: Runner, command: list[str], says: str) -> None:
    result = runner.traced(*command, options=["-q"])
    assert (result.status, result.stdout, result.stderr) == (0, says, "")


@pytest.mark.usefixtures("folder")
def test_another_python_can_be_named(runner: Runner) -> None:
    result = runner.traced("-c", "import sys; print(sys.executable)", options=["-q", "--python", sys.executable])
    assert result.stdout == sys.executable + "\n"
    assert "no-such-python" in refused(runner, "run", "--python", "no-such-python", "show.py")
    assert "not a Python program" in refused(runner, "run", "--python", sys.executable, "echo")


@pytest.mark.parametrize("missing", ["nowhere.py", "nosuchcommand", "./nosuch", "sub"])
def test_what_is_neither_python_nor_a_command_is_refused_naming_both_readings(runner: Runner, missing: str) -> None:
    (runner.folder / "sub").mkdir()
    line = refused(runner, "run", missing)
    assert missing in line
    assert ".py" in line
    assert "__main__.py" in line
    assert "PATH" in line


def test_a_command_with_a_bad_interpreter_is_refused_and_leaves_no_session(runner: Runner) -> None:
    (runner.folder / "bad").write_text("#!/no/such/interpreter\n")
    (runner.folder / "bad").chmod(0o755)
    assert "No such file" in refused(runner, "run", "./bad")
    assert os.listdir(runner.sessions) == []


def test_nothing_to_run_is_said(runner: Runner) -> None:
    for arguments in ([], ["-q"], ["--"], ["--wait"]):
        assert "nothing to run" in refused(runner, "run", *arguments)


# What is written -----------------------------------------------------------------------------------------------


def test_by_default_a_trace_a_json_and_a_report_are_written_here(runner: Runner, folder: Path) -> None:
    before = set(os.listdir(folder))
    result = runner.traced("show.py")
    assert result.status == 0
    assert set(os.listdir(folder)) - before - {"sessions", "__pycache__"} == OUTPUTS
    for name in OUTPUTS:
        assert name in result.stderr
    assert os.listdir(runner.sessions) == []


@pytest.mark.parametrize(
    ("target", "name"),
    [(["-m", "app.__main__"], "__main__"), (["-m", "show"], "show"), (["-c", "0"], "python-c"), (["./serve.sh"], "serve.sh"),
     (["app/"], "app"), (["tool"], "tool"), (["true"], "true")],
)  # fmt: skip
def test_files_are_named_after_the_target(runner: Runner, folder: Path, target: list[str], name: str) -> None:
    runner.traced(*target)
    assert (folder / f"{name}.ctrace").exists()
    assert (folder / f"{name}.trace.json").exists()


def test_with_o_only_what_is_named_is_written_and_ours_is_overwritten(runner: Runner, folder: Path) -> None:
    before = set(os.listdir(folder))
    for _ in range(2):
        result = runner.traced("show.py", options=["-o", "a.json", "-o", "b.html", "-o", "c.ctrace", "-o", "d.json.gz"])
        assert result.status == 0
    assert set(os.listdir(folder)) - before - {"sessions"} == {"a.json", "b.html", "c.ctrace", "d.json.gz"}
    assert json.loads((folder / "a.json").read_bytes())["traceEvents"]


@pytest.mark.usefixtures("folder")
def test_quiet_says_nothing(runner: Runner) -> None:
    assert runner.traced("show.py", options=["-q"]).stderr == ""
    assert runner.traced("show.py").stderr.startswith("conctrace: show.py: exit 0")


@pytest.mark.usefixtures("folder")
def test_nothing_of_ours_is_on_stdout_and_no_colour_off_a_terminal(runner: Runner) -> None:
    result = runner.traced("show.py")
    assert result.lines == runner.bare("show.py").lines
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
@pytest.mark.usefixtures("folder")
def test_colour_on_a_terminal_unless_no_color(runner: Runner, no_color: str | None, *, coloured: bool) -> None:
    here = replace(runner, terminal=True, variables={"NO_COLOR": no_color, "TERM": "xterm"})
    result = here.traced("show.py")
    assert ("\x1b[1m" in result.stdout) is coloured
    assert "show.ctrace" in result.stdout


def test_a_closed_stderr_does_no_harm(runner: Runner, folder: Path) -> None:
    command = [sys.executable, "-m", "conctrace", "run", "show.py"]
    result = runner.command(["sh", "-c", 'exec "$@" 2>&-', "-", *command])
    assert (result.status, result.stdout) == (0, runner.bare("show.py").stdout)
    assert (folder / "show.ctrace").exists()


# What is refused before the program starts ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x", "x.txt", "x.jsonl", "x.trace", "x.md", "x.pftrace"])
@pytest.mark.usefixtures("folder")
def test_an_unknown_extension_is_refused(runner: Runner, name: str) -> None:
    line = refused(runner, "run", "-o", name, "show.py")
    assert name in line
    assert ".json.gz" in line


@pytest.mark.usefixtures("folder")
def test_a_missing_folder_is_refused(runner: Runner) -> None:
    assert "no folder nowhere" in refused(runner, "run", "-o", "nowhere/x.json", "show.py")
    assert "Not a directory" in refused(runner, "run", "-o", "show.py/x.json", "show.py")


@pytest.mark.usefixtures("folder")
def test_the_same_output_twice_is_refused(runner: Runner) -> None:
    assert "./x.json" in refused(runner, "run", "-o", "x.json", "-o", "./x.json", "show.py")


@pytest.mark.parametrize("name", ["show.ctrace", "show.trace.json", "show.report.html"])
@pytest.mark.parametrize("content", ["not ours\n", '{"some": "json"}', "<!DOCTYPE html>\n<p>mine"])
def test_a_file_that_is_not_ours_is_never_overwritten(runner: Runner, folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    assert name in refused(runner, "run", "show.py")
    assert name in refused(runner, "run", "-o", name, "show.py")
    assert (folder / name).read_text() == content


def test_a_folder_or_a_pipe_by_that_name_is_refused(runner: Runner, folder: Path) -> None:
    (folder / "x.json").mkdir()
    os.mkfifo(folder / "y.json")
    for name in ("x.json", "y.json"):
        assert "not a file" in refused(runner, "run", "-o", name, "show.py")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write to, root neither."""
    place = tmp_path / "read-only"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.usefixtures("folder")
def test_a_read_only_folder_is_refused(runner: Runner, read_only: Path) -> None:
    line = refused(runner, "run", "-o", f"{read_only}/x.json", "show.py")
    assert "Read-only file system" in line


def test_without_o_a_read_only_current_folder_sends_the_trace_to_the_temp_folder(
    runner: Runner, folder: Path, read_only: Path
) -> None:
    temp = folder / "temp"
    temp.mkdir()
    here = replace(runner, variables={"TMPDIR": str(temp)})
    result = here.command(["env", "-C", str(read_only), sys.executable, "-m", "conctrace", "run", "-c", "exit(3)"])
    assert result.status == 3
    assert {path.name for path in temp.glob("conctrace-*/*")} == {
        "python-c.ctrace", "python-c.trace.json", "python-c.report.html",
    }  # fmt: skip
    assert f"the trace is in {temp}/conctrace-" in result.stderr


def test_sessions_go_to_the_temp_folder_where_home_is_read_only(runner: Runner, folder: Path, read_only: Path) -> None:
    variables = {"CONCTRACE_DIR": None, "XDG_STATE_HOME": str(read_only), "TMPDIR": str(folder)}
    result = replace(runner, variables=variables).traced("show.py")
    assert result.status == 0
    assert f"using {folder}/conctrace-{os.geteuid()}" in result.stderr
    assert (folder / "show.ctrace").exists()


@pytest.mark.parametrize("option", [["--detail", "some"], ["--wait=x"], ["--wait=-1"], ["--nonsense"], ["-o"]])
@pytest.mark.usefixtures("folder")
def test_a_bad_option_is_one_line(runner: Runner, option: list[str]) -> None:
    words = option if option == ["-o"] else [*option, "show.py"]
    assert "--help" in refused(runner, "run", *words)


# What is missing afterwards is said --------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_a_python_that_did_not_start_the_recorder_is_named(runner: Runner) -> None:
    (runner.folder / "bare-python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (runner.folder / "bare-python").chmod(0o755)
    result = runner.traced("show.py", options=["--python", "./bare-python"])
    assert result.status == 0
    assert "nothing was recorded: its option -S" in result.stderr
    assert "nothing was recorded" not in runner.traced("show.py").stderr


def test_processes_that_still_run_are_named_and_not_waited_for(runner: Runner) -> None:
    text = """
import os, time
if os.fork() == 0:
    # Nobody is to wait for its stdout, either.
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(60)
"""
    result = runner.traced("-c", text, options=["--wait", "0"])
    assert result.status == 0
    assert "1 process still runs" in result.stderr
    assert "Fork-1" in result.stderr
    assert "still runs" not in runner.traced("-c", text.replace("60", "0"), options=["--wait"]).stderr


def test_a_killed_collector_costs_the_trace_and_nothing_else(runner: Runner) -> None:
    """The program ends as it would; what was recorded is recovered."""
    text = "import sys; print('ready', flush=True); sys.stdin.read(); sys.exit(7)"
    command = [sys.executable, "-m", "conctrace", "run", "-o", "x.ctrace", "-c", text]
    with runner.started(command) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == b"ready\n"
        for pid in collectors(program.pid):
            os.kill(pid, signal.SIGKILL)
            wait_for_end(pid)
        _, err = program.communicate()
        assert program.status() == 7
    assert "conctrace recover" in err
    left = os.listdir(runner.sessions)
    assert len(left) == 1
    assert left[0] in runner.conctrace("recover", "--list").stdout
    assert "interrupted" in runner.traced("-c", "0").stderr
    recovered = runner.conctrace("recover", "-o", "saved.ctrace")
    assert recovered.status == 0
    assert os.listdir(runner.sessions) == []
    assert "1 process, 1 thread" in runner.conctrace("info", "saved.ctrace").stdout


def collectors(waiter: int) -> list[int]:
    """The collector of a waiter and its writer: what has the waiter for an ancestor and left its session."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    below = {waiter}
    for _ in parents:
        below |= {pid for pid, parent in parents.items() if parent in below}
    return sorted(pid for pid in below if os.getsid(pid) != os.getsid(waiter))


# Other verbs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def trace(runner: Runner, folder: Path) -> Path:
    assert runner.traced("show.py", options=["-q"]).status == 0
    return folder / "show.ctrace"


def test_export_writes_each_format_by_its_extension(runner: Runner, trace: Path) -> None:
    result = runner.conctrace("export", trace.name, "-o", "a.json", "b.html", "-o", "c.ctrace")
    assert (result.status, result.stdout, result.stderr) == (0, "", "")
    assert json.loads((runner.folder / "a.json").read_bytes())["traceEvents"]
    assert (runner.folder / "b.html").read_bytes().startswith(b"<!DOCTYPE html>")
    assert (runner.folder / "c.ctrace").read_bytes() == trace.read_bytes()
    assert "the trace to read from" in refused(runner, "export", trace.name, "-o", "./show.ctrace")


@pytest.mark.usefixtures("trace")
def test_info_and_dump_print_to_stdout(runner: Runner) -> None:
    info, dump = runner.conctrace("info", "show.ctrace"), runner.conctrace("dump", "show.ctrace")
    assert (info.status, info.stderr, dump.status, dump.stderr) == (0, "", 0, "")
    assert "exit 0" in info.stdout
    assert "\nimage " in dump.stdout


@pytest.mark.parametrize("verb", ["dump", "info"])
@pytest.mark.usefixtures("trace")
def test_a_closed_pipe_ends_a_verb_quietly(runner: Runner, verb: str) -> None:
    out, into = os.pipe()
    os.close(out)
    conctrace = [sys.executable, "-m", "conctrace", verb, "show.ctrace"]
    with contextlib.closing(os.fdopen(into)):
        ended = subprocess.run(conctrace, cwd=runner.folder, stdout=into, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, b"")


def wait_until_reading(pid: int, path: Path) -> None:
    """Until the process is in a read of this file, which has nothing for it."""
    read = {"x86_64": "0", "aarch64": "63"}[os.uname().machine]
    while True:
        number, *arguments = Path(f"/proc/{pid}/syscall").read_text(encoding="ascii").split()
        if number == read and os.path.realpath(f"/proc/{pid}/fd/{int(arguments[0], 16)}") == str(path):
            return
        os.sched_yield()


def test_ctrl_c_ends_a_verb_without_a_traceback(runner: Runner) -> None:
    os.mkfifo(runner.folder / "slow.ctrace")
    with runner.started([sys.executable, "-m", "conctrace", "info", "slow.ctrace"]) as program:
        # Opens when conctrace opens the other end. Between that and its read no signal ends a Python's call.
        with open(runner.folder / "slow.ctrace", "wb"):
            wait_until_reading(program.pid, runner.folder / "slow.ctrace")
            program.signal(signal.SIGINT)
            assert program.status() == -signal.SIGINT
        assert program.communicate() == ("", "")


@pytest.mark.parametrize("verb", [["info"], ["dump"], ["export", "-o", "new.json"]], ids=lambda verb: verb[0])
def test_what_is_not_a_trace_is_refused_in_one_line(runner: Runner, folder: Path, verb: list[str]) -> None:
    (folder / "empty.ctrace").write_bytes(b"")
    (folder / "other.ctrace").write_bytes(b"something else")
    for name in ("empty.ctrace", "other.ctrace", "missing.ctrace", "app"):
        assert name in refused(runner, verb[0], name, *verb[1:])


def test_a_cut_trace_gives_what_is_whole_and_one_line_about_the_cut(runner: Runner, trace: Path) -> None:
    whole = trace.read_bytes()
    (runner.folder / "cut.ctrace").write_bytes(whole[: len(whole) - 10])
    for verb in (["info"], ["dump"], ["export", "-o", "new.json"]):
        result = runner.conctrace(verb[0], "cut.ctrace", *verb[1:])
        assert result.status == 2
        assert result.stderr.count("\n") == 1
        assert "cut.ctrace" in result.stderr
    assert "\nimage " in runner.conctrace("dump", "cut.ctrace").stdout
    assert json.loads((runner.folder / "new.json").read_bytes())["traceEvents"]


def test_recover_with_nothing_to_recover_says_so(runner: Runner) -> None:
    assert "nothing to recover" in refused(runner, "recover")
    listed = runner.conctrace("recover", "--list")
    assert (listed.status, listed.stdout) == (0, "")


# Help ---------------------------------------------------------------------------------------------------------------

VERBS = ("run", "export", "info", "dump", "view", "recover")


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_examples_in_80_columns(runner: Runner, verb: str) -> None:
    result = runner.conctrace(verb, "--help")
    assert (result.status, result.stderr) == (0, "")
    assert "examples:\n  conctrace " + verb in result.stdout
    assert max(map(len, result.lines)) <= 80


def test_the_first_help_lists_the_verbs_that_there_are(runner: Runner) -> None:
    for arguments in ([], ["-h"], ["--help"]):
        result = runner.conctrace(*arguments)
        assert result.status == 0
        for verb in VERBS:
            assert f"\n  {verb} " in result.stdout
        assert max(map(len, result.lines)) <= 80


def test_version(runner: Runner) -> None:
    assert runner.conctrace("--version").stdout.startswith("conctrace 0.")


def test_a_word_that_is_no_verb_gets_the_way_to_run_it(runner: Runner) -> None:
    assert "conctrace run race.py" in refused(runner, "race.py")
