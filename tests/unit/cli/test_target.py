"""Which paths are Python programs."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from conctrace.cli import target
from conctrace.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def make_zip(path: Path, member: str, *, comment: bytes = b"", before: bytes = b"") -> str:
    path.write_bytes(before)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "")
        archive.comment = comment
    return str(path)


def test_a_zip_counts_when_it_has_a_main(tmp_path: Path) -> None:
    assert target.is_python_file(make_zip(tmp_path / "plain", "__main__.py"))
    assert target.is_python_file(make_zip(tmp_path / "shebang", "__main__.py", before=b"#!/usr/bin/env python3\n"))
    assert target.is_python_file(make_zip(tmp_path / "comment", "__main__.py", comment=b"x" * 60_000))
    assert not target.is_python_file(make_zip(tmp_path / "other", "pkg/__main__.py"))
    (tmp_path / "broken").write_bytes(b"PK\x05\x06 and no more")
    assert not target.is_python_file(str(tmp_path / "broken"))


def test_scripts_are_files_that_end_in_py_or_pyw(tmp_path: Path) -> None:
    for name in ("a.py", "b.pyw", "c.txt", "d"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.py").mkdir()
    found = [path.name for path in sorted(tmp_path.iterdir()) if target.is_python_file(str(path))]
    assert found == ["a.py", "b.pyw"]


def test_a_python_file_wins_over_a_command_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not target.find(["true"], module=None, code=None, python=None).is_python
    (tmp_path / "true").mkdir()
    (tmp_path / "true" / "__main__.py").write_text("")
    assert target.find(["true"], module=None, code=None, python=None).is_python


def test_a_file_on_path_must_be_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool-of-mine").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="tool-of-mine"):
        target.find(["tool-of-mine"], module=None, code=None, python=None)
    (tmp_path / "tool-of-mine").chmod(0o755)
    found = target.find(["tool-of-mine", "-x"], module=None, code=None, python=None)
    assert (found.executable, found.arguments) == (str(tmp_path / "tool-of-mine"), ["tool-of-mine", "-x"])


def test_the_folder_a_program_is_in_gives_it_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("")
    monkeypatch.chdir(tmp_path / "app")
    assert target.find(["."], module=None, code=None, python=None).name == "app"
