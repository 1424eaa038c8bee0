"""Session folders: private, locked while a collector lives, found when it died."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from conctrace import sessions
from conctrace.errors import SessionError
from conctrace.events import layout, schema
from tests.support.segments import make_plan

if TYPE_CHECKING:
    from pathlib import Path


def test_a_session_is_private_and_its_plan_comes_back(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, code="pass", detail="waits")
    folder = sessions.create(plan, str(tmp_path / "root"))
    assert sessions.load(folder).as_dict() == plan.as_dict()
    for path in (folder, os.path.dirname(folder)):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    with open(os.path.join(folder, layout.CONTROL_FILE), "rb") as file:
        page = file.read()
    assert len(page) == layout.PAGE
    magic, version, abi, on, detail = layout.CONTROL.unpack_from(page)[:5]
    assert (magic, version, abi) == (layout.CONTROL_MAGIC, schema.SCHEMA_VERSION, layout.ABI_VERSION)
    assert (on, layout.DETAILS[detail]) == (1, "waits")


def test_a_root_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="CONCTRACE_DIR"):
        sessions.create(make_plan(tmp_path), str(tmp_path / "file" / "root"))


def test_a_root_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(SessionError, match="belongs to another user"):
        sessions.create(make_plan(tmp_path), str(tmp_path))


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"command": []}'])
def test_a_folder_that_is_no_session_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / sessions.PLAN_FILE).write_text(content)
    with pytest.raises(SessionError, match="is not a session"):
        sessions.load(str(tmp_path))


def test_what_a_dead_collector_left_is_found_and_what_is_in_use_or_empty_is_not(tmp_path: Path) -> None:
    folders = [sessions.create(make_plan(tmp_path), str(tmp_path / "root")) for _ in range(3)]
    for folder in folders[:2]:
        with open(os.path.join(folder, sessions.TRACE_FILE), "wb"):
            pass
    control = sessions.open_control(folders[0])
    assert sessions.lock(control)
    other = sessions.open_control(folders[0])
    assert not sessions.lock(other)
    assert sessions.is_locked(other)
    assert sessions.leftovers(str(tmp_path / "root")) == [folders[1]]
    os.close(control)
    assert not sessions.is_locked(other)
    os.close(other)
    assert sorted(sessions.leftovers(str(tmp_path / "root"))) == sorted(folders[:2])
    assert sessions.leftovers(str(tmp_path / "missing")) == []


def test_removing_takes_everything(tmp_path: Path) -> None:
    folder = sessions.create(make_plan(tmp_path), str(tmp_path / "root"))
    sessions.remove(folder)
    sessions.remove(folder)
    assert os.listdir(tmp_path / "root") == []
