"""What every test may ask for: a runner of programs in a folder of its own, and Perfetto's engine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.run import Runner

if TYPE_CHECKING:
    from pathlib import Path

#: How Debian and others call the browser.
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Runs programs in the test's temp folder, stdout a pipe."""
    return Runner(tmp_path)


@pytest.fixture(
    params=[(True, False), (False, False), (True, True)],
    ids=["unbuffered pipe", "buffered pipe", "terminal"],
)
def any_runner(request: pytest.FixtureRequest, tmp_path: Path) -> Runner:
    """The same for each kind of stdout that changes what a program's children print."""
    unbuffered, terminal = request.param
    return Runner(tmp_path, unbuffered=unbuffered, terminal=terminal)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium; skips the test where there is none."""
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on this machine")
