"""A trace file that ends anywhere is used as far as it goes: at most one line about it, never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conctrace.cli import main
from tests.support.run import Runner

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    text = "import threading; t = threading.Thread(target=print); t.start(); t.join()"
    assert Runner(folder).traced("-c", text, options=["-q", "-o", "whole.ctrace"]).status == 0
    return (folder / "whole.ctrace").read_bytes()


@pytest.mark.parametrize("verb", [["info"], ["export", "-o", "out.json"]], ids=lambda verb: verb[0])
def test_cut_at_any_byte(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("conctrace.cli.terminal.end_when_nobody_reads", lambda: None)
    for length in range(len(whole)):
        (tmp_path / "cut.ctrace").write_bytes(whole[:length])
        assert main([verb[0], "cut.ctrace", *verb[1:]]) == 2
        err = capsys.readouterr().err
        assert err.startswith("conctrace: cut.ctrace")
        assert err.count("\n") == 1
