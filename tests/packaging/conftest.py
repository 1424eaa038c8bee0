"""A checkout to build from, what is built from it, and a Python to install it in."""

from __future__ import annotations

import sys
import venv
from typing import TYPE_CHECKING

import pytest

from tests.support.installs import copy_checkout, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    return folder


@pytest.fixture(scope="session")
def built(checkout: Path) -> Path:
    """The folder with a source archive of the checkout, and the wheel built from that archive."""
    run(sys.executable, "-m", "build", "--no-isolation", str(checkout))
    return checkout / "dist"


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of a fresh virtual environment."""
    venv.create(tmp_path / "venv", with_pip=False)
    return str(tmp_path / "venv" / "bin" / "python")
