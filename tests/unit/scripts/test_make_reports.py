"""The gallery takes only files that are small and say nothing about the machine they were made on."""

from __future__ import annotations

import gzip
import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from scripts import make_reports

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(make_reports, "REPORTS", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/somebody")
    return tmp_path


def test_a_report_is_kept_as_it_is_and_a_trace_compressed(gallery: Path) -> None:
    make_reports.keep({"01-fork.html": b"<p>page</p>", "01-fork.trace.json": b"{}"}, "/tmp/xyz")
    assert (gallery / "01-fork.html").read_bytes() == b"<p>page</p>"
    assert gzip.decompress((gallery / "01-fork.trace.json.gz").read_bytes()) == b"{}"


def test_paths_of_this_run_are_made_neutral(gallery: Path) -> None:
    page = f"/tmp/xyz/01_fork.py {sys.prefix}/bin/python on {socket.gethostname()}"
    make_reports.keep({"01-fork.html": page.encode()}, "/tmp/xyz")
    assert (gallery / "01-fork.html").read_text() == "/examples/01_fork.py /python/bin/python on host"


@pytest.mark.parametrize("telling", ["/home/somebody/secret.py", "'/home/somebody'"])
def test_a_home_folder_is_refused(gallery: Path, telling: str) -> None:
    with pytest.raises(make_reports.GalleryError, match="tells about this machine"):
        make_reports.keep({"01-fork.html": telling.encode()}, "/tmp/xyz")
    assert list(gallery.iterdir()) == []


def test_a_large_report_is_refused(gallery: Path) -> None:
    with pytest.raises(make_reports.GalleryError, match="too many"):
        make_reports.keep({"01-fork.html": os.urandom(150_001).hex().encode()}, "/tmp/xyz")
    assert list(gallery.iterdir()) == []


def test_the_index_says_what_each_example_says_of_itself(gallery: Path) -> None:
    source = '"""Two threads & one lock:\nthe second waits.\n\nMore."""\n'
    make_reports.write_index([make_reports.Example("07-contended", source)])
    index = (gallery / "index.html").read_text()
    assert "Two threads &amp; one lock: the second waits.<" in index
    assert 'href="07-contended.html"' in index
    assert 'href="07-contended.trace.json.gz"' in index
