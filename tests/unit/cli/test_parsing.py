"""Options of `run` end where the target begins."""

from __future__ import annotations

import pytest

from conctrace.cli import run
from conctrace.cli.parsing import Parser, parse
from conctrace.errors import UsageError


@pytest.mark.parametrize(
    ("words", "ours", "target"),
    [
        ("x.py -o y", "", "x.py -o y"),
        ("-o a.json x.py -q", "-o a.json", "x.py -q"),
        ("-oa.json x.py", "-oa.json", "x.py"),
        ("-q -- -x y", "-q", "-x y"),
        ("-q - x", "-q", "- x"),
        ("--wait x.py", "--wait", "x.py"),
        ("--wait 3 x.py", "--wait 3", "x.py"),
        ("--wait .5 x.py", "--wait .5", "x.py"),
        ("--wait=3 4", "--wait=3", "4"),
        ("--functions x.py", "--functions", "x.py"),
        ("--functions 3", "--functions", "3"),
        ("--functions=a,b --functions -q x.py --functions", "--functions=a,b --functions -q", "x.py --functions"),
        ("--detail all x", "--detail all", "x"),
        ("--no-values x", "--no-values", "x"),
        ("-m pkg -x", "-m=pkg", "-x"),
        ("-q -m pkg -- -x", "-q -m=pkg", "-- -x"),
        ("-c -x -m y", "-c=-x", "-m y"),
        ("-m", "-m", ""),
    ],
)
def test_our_words_and_those_of_the_target(words: str, ours: str, target: str) -> None:
    parser = Parser()
    run.add_arguments(parser)
    assert parser.split(words.split()) == (ours.split(), target.split())


@pytest.mark.parametrize(
    ("words", "wait"),
    [([], 0.5), (["--wait"], None), (["--wait", "2"], 2.0), (["--wait=0"], 0.0), (["--wait=inf"], None)],
)
def test_wait_is_half_a_second_for_ever_or_as_long_as_said(words: list[str], wait: float | None) -> None:
    assert parse("run", run, [*words, "x.py"]).wait == wait


def test_code_may_be_empty_and_may_begin_with_a_dash() -> None:
    assert parse("run", run, ["-c", ""]).code == ""
    assert parse("run", run, ["-c", "-1 == 2"]).code == "-1 == 2"
    assert parse("run", run, ["-m", "a=b", "c"]).module == "a=b"


@pytest.mark.parametrize(
    ("words", "functions"),
    [([], None), (["--functions"], []), (["--functions=a.*, b", "--functions", "--functions=c"], ["a.*", "b", "c"])],
)
def test_functions_are_none_all_or_those_of_the_patterns(words: list[str], functions: list[str] | None) -> None:
    assert run._functions(parse("run", run, [*words, "x.py"]).functions) == functions


def test_functions_need_viztracer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs viztracer, which is not installed: pip install viztracer"):
        run._functions([[]])


@pytest.mark.parametrize("words", [["-m"], ["-o"], ["--detail", "x"], ["--detai", "all"], ["--wait=nan"]])
def test_what_cannot_be_parsed_raises_one_line(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"conctrace run --help") as raised:
        parse("run", run, words)
    assert "\n" not in str(raised.value)
