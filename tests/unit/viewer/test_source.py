"""What a file is taken for, wherever it is read in pieces; and by what name the page gets it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from conctrace.errors import TraceFileError
from conctrace.viewer import source

if TYPE_CHECKING:
    from pathlib import Path

EVENT = b'{"ph":"X","name":"a","ts":1,"dur":2,"pid":1,"tid":1}'
GOOD = {
    "object": b'{"traceEvents": [%b]}' % EVENT,
    "blanks": b'\n\n  {\n  "displayTimeUnit": "ms",\n  "traceEvents": []\n}\n\n\n',
    "list": b"[%b]" % EVENT,
    "list with blanks": b" \n [ \n %b,\n%b\n]\n" % (EVENT, EVENT),
    "list without an end": b"[%b,\n%b," % (EVENT, EVENT),
    "empty list": b"[ ]",
}
BAD = {
    "cut object": (b'{"traceEvents": [%b,' % EVENT, "is cut"),
    "other object": (b'{"name": "package", "version": 1}', "is no trace"),
    "other list": (b"[1, 2, 3]", "is no trace"),
    "text": (b"something else", "is no trace"),
    "blanks": (b"   \n", "is no trace"),
    "nothing": (b"", "is empty"),
    "page": (b"<!DOCTYPE html>\n<!-- conctrace report", "open it in a browser"),
}


@pytest.fixture(params=[1, 2, 7, 13, 1 << 20])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads in pieces so small that everything lies across a seam somewhere."""
    monkeypatch.setattr(source, "_CHUNK", request.param)


def opened(path: Path) -> source.Source:
    return source.open_source(str(path), lambda _: None)


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
@pytest.mark.usefixtures("pieces")
def test_chrome_json_of_anybody_is_taken_as_it_is(tmp_path: Path, content: bytes) -> None:
    for name, written in {"a.json": content, "a.json.gz": gzip.compress(content), "a.txt": content}.items():
        (tmp_path / name).write_bytes(written)
        found = opened(tmp_path / name)
        with found.file:
            found.file.seek(0)
            assert found.file.read() == written
        assert found.cut is None
        assert found.content_type == ("application/gzip" if name.endswith(".gz") else "application/json")


@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("pieces")
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(TraceFileError, match=says):
        opened(tmp_path / "a.json")


@pytest.mark.parametrize("lost", [1, 8, 9, 20, 60])
def test_a_compressed_file_that_broke_off_is_refused(tmp_path: Path, lost: int) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(GOOD["object"])[:-lost])
    with pytest.raises(TraceFileError, match="cut or garbled"):
        opened(tmp_path / "a.json.gz")


@pytest.mark.parametrize("at", [12, 30, -6, -2])
def test_a_compressed_file_with_a_wrong_byte_is_refused(tmp_path: Path, at: int) -> None:
    content = bytearray(gzip.compress(GOOD["object"]))
    content[at] ^= 0x55
    (tmp_path / "a.json.gz").write_bytes(content)
    with pytest.raises(TraceFileError, match=r"a\.json\.gz is"):
        opened(tmp_path / "a.json.gz")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("race.trace.json", "race.trace.json"),
        ("Straße 7.JSON", "Straße 7.json"),
        ("other", "other.json"),
        (".json", "trace.json"),
        ('a"<b>%41?c#d\\e&f\n.json', "a__b__41_c_d_e_f_.json"),
    ],
)
def test_a_name_has_nothing_that_means_something_in_an_address_or_a_page(tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / name).write_bytes(GOOD["list"])
    found = opened(tmp_path / name)
    found.file.close()
    assert found.name == shown
