"""What viztracer dumps is read to the last call, and what a pattern means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conctrace.collector import functions
from conctrace.events import functions as left
from conctrace.events.payload import pack_payload
from conctrace.tracefile.calls import decode, joined

if TYPE_CHECKING:
    from pathlib import Path

    from conctrace.tracefile.calls import Calls

STDLIB, OWN, CWD = "/usr/lib/python3.13/", "/site/conctrace/", "/home/me"
PATH = ["/home/me", "/usr/lib/python3.13", "/usr/lib/python3.13/site-packages"]


def dumped(folder: Path, calls: list[tuple[int, str, str, str]], *, overflow: bool = False, end: bool = True) -> Calls:
    """Writes what the tracer would and reads it: calls are thread, start, duration, name."""
    text = '{"traceEvents":[{"ph":"M","pid":1,"tid":1,"name":"process_name","args":{"name":""}},'
    text += ",".join(
        f'{{"pid":1,"tid":{tid},"ts":{ts},"ph":"X","cat":"fee","dur":{dur},"name":"{name}"}}'
        for tid, ts, dur, name in calls
    )
    if end:
        text += f'], "viztracer_metadata": {{"overflow":{json.dumps(overflow)}}}}}'
    facts = pack_payload((40, "", STDLIB, OWN, CWD, "\n".join(PATH)))
    data = text.encode() + facts + len(facts).to_bytes(4, "little")
    (folder / left.file_name(1)).write_bytes(data)
    parts = [decode(part) for part in functions.parts(str(folder), 1, [])]
    assert [number for number, _ in parts] == list(range(len(parts)))
    return joined([part for _, part in parts])


def test_each_call_with_its_nanoseconds(tmp_path: Path) -> None:
    calls = dumped(
        tmp_path,
        [
            (7, "27352416891.346", "0.180", "g (/home/me/a b.py:37)"),
            (9, "27352416892.077", "12.090", "f.<locals>.<lambda> (/home/me/(odd).py:1)"),
            (9, "27352416893.000", "1.000", 'quoted (/home/me/\\"q\\\\.py:2)'),
            (9, "27352416893.000", "1.000", "left_out (/usr/lib/python3.13/json/decoder.py:2)"),
        ],
    )
    assert list(calls.start) == [27352416891346, 27352416892077, 27352416893000]
    assert list(calls.duration) == [180, 12090, 1000]
    assert [calls.functions[place] for place in calls.function] == [
        ("g", "/home/me/a b.py", 37),
        ("f.<locals>.<lambda>", "/home/me/(odd).py", 1),
        ("quoted", '/home/me/"q\\.py', 2),
    ]
    assert [calls.threads[place] for place in calls.thread] == [7, 9, 9]
    assert calls.facts == {"error_ns": 40, "reason": "", "overflow": False, "cut": False}


def test_many_calls_are_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "PART", 10)
    calls = dumped(tmp_path, [(7, f"{n}.000", "0.500", f"f{n % 3} (a.py:1)") for n in range(35)])
    assert list(calls.start) == [n * 1000 for n in range(35)]


def test_what_is_missing_is_known(tmp_path: Path) -> None:
    one = (7, "1.000", "0.500", "f (a.py:1)")
    assert dumped(tmp_path, [one], overflow=True).facts["overflow"]
    assert dumped(tmp_path, [one], end=False).facts["cut"]
    assert list(functions.parts(str(tmp_path), 2, [])) == []


@pytest.mark.parametrize(
    ("pattern", "name", "file", "wanted"),
    [
        (None, "f", "/home/me/a.py", True),
        (None, "f", "/usr/lib/python3.13/site-packages/jinja2/lexer.py", True),
        (None, "f", "/usr/lib/python3.13/json/decoder.py", False),
        (None, "f", "<frozen importlib._bootstrap>", False),
        (None, "f", "<string>", True),
        (None, "f", "/site/conctrace/session/marks.py", False),
        ("*", "f", "/site/conctrace/session/marks.py", False),
        ("*", "f", "/usr/lib/python3.13/json/decoder.py", True),
        ("jinja2", "f", "/usr/lib/python3.13/site-packages/jinja2/lexer.py", True),
        ("jinja2", "f", "/usr/lib/python3.13/site-packages/jinja2/__init__.py", True),
        ("jinja", "f", "/usr/lib/python3.13/site-packages/jinja2/lexer.py", False),
        ("jinja2.lexer", "f", "/usr/lib/python3.13/site-packages/jinja2/lexer.py", True),
        ("app.models.save", "save", "/home/me/app/models.py", True),
        ("app/*.py", "save", "/home/me/app/models.py", True),
        ("/home/me/app/*", "save", "/home/me/app/models.py", True),
        ("Parser.parse_*", "Parser.parse_if", "/home/me/a.py", True),
        ("Parser.parse_*", "Parser.fail", "/home/me/a.py", False),
        ("importlib._bootstrap", "f", "<frozen importlib._bootstrap>", True),
    ],
)
def test_patterns(pattern: str | None, name: str, file: str, wanted: bool) -> None:
    assert functions.Wanted([pattern] if pattern else [], STDLIB, OWN, CWD, PATH).has(name, file) is wanted
