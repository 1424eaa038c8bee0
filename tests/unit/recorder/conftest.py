"""A recorder in the test's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.recording import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session that records this process."""
    session = Session(tmp_path)
    session.record()
    yield session
    session.close()
