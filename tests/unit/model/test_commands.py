"""What a Python's command line asks it to run."""

from __future__ import annotations

import pytest

from conctrace.model.commands import program_name, read_python_command


@pytest.mark.parametrize(
    ("words", "options", "way", "what"),
    [
        ("x.py -m a -S", "", "", "x.py"),
        ("-u -B x.py", "uB", "", "x.py"),
        ("-IXdev x.py", "IX", "", "x.py"),
        ("-X dev -W error x.py", "XW", "", "x.py"),
        ("-mjson.tool -S", "", "m", "json.tool"),
        ("-Im json.tool", "I", "m", "json.tool"),
        ("-SEc pass", "SE", "c", "pass"),
        ("-cpass x.py", "", "c", "pass"),
        ("--check-hash-based-pycs never -S x.py", "S", "", "x.py"),
        ("-S -- -x.py", "S", "", "-x.py"),
        ("-S - x.py", "S", "", ""),
        ("-S", "S", "", ""),
        ("-I --version", "IV", "", ""),
        ("", "", "", ""),
        ("-m", "", "m", ""),
        ("-X", "X", "", ""),
        ("--", "", "", ""),
    ],
)
def test_a_command_line_is_read_as_python_reads_it(words: str, options: str, way: str, what: str) -> None:
    assert read_python_command(words.split()) == (options, way, what)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("/a/b/x.py y", "x.py"),
        ("-X dev app/", "app"),
        ("-Im json.tool", "-m json.tool"),
        ("-Ic pass", "python -c"),
        ("-", "python"),
        ("/", "python"),
    ],
)
def test_a_program_is_named_by_what_it_runs(words: str, name: str) -> None:
    assert program_name(words.split()) == name
