"""What starts recorder and patches in a process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from conctrace.session import process
from tests.support.recording import running

if TYPE_CHECKING:
    from tests.support.recording import Session


def fail(*_: Any) -> None:
    raise ValueError("the program's")


def test_a_patch_that_cannot_be_installed_is_counted(session: Session) -> None:
    """And the program that imports the module goes on."""
    process._guarded_install(int, sys)  # type: ignore[arg-type]  # refuses what it is given
    assert session.image().off_reason.startswith("TypeError: ")
    assert session.image().count("errors") == 1


def test_nothing_is_patched_where_nothing_is_recorded(session: Session) -> None:
    running().switch_off("the test says so")
    process._guarded_install(fail, sys)
    assert session.image().count("errors") == 0


def test_what_the_program_raises_meanwhile_passes(session: Session) -> None:
    with pytest.raises(ValueError, match="the program's"):
        process._guarded_install(fail, sys)
    assert session.image().off_reason == ""
