"""Builds and installs of this checkout, in virtual environments of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What a build needs of the checkout; the rest (virtual environments, caches) may be large.
SOURCES = ("src", "pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md")


def copy_checkout(folder: Path) -> None:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)


def run(*command: str, **variables: str) -> str:
    """What a command that must succeed prints to stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONCTRACE_", "PYTHON"))}
    ended = subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def pip(python: str, *arguments: str, **variables: str) -> None:
    """The tests' own pip on another Python: a virtual environment is made ten times faster without one."""
    run(sys.executable, "-m", "pip", "--python", python, "--quiet", *arguments, **variables)


def install(python: str, *what: str, **variables: str) -> None:
    """Without the packages that conctrace needs: what is tested must do without them anyway."""
    pip(python, "install", "--no-deps", *what, **variables)


def site_packages(python: str) -> Path:
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
