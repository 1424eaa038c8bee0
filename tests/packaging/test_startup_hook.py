"""Wheels and editable installs carry the start-up hook, and take it along when they go.

The hook makes any Python with conctrace start the recorder when `CONCTRACE_SESSION` is set. Without the variable
it must cost and load nothing; broken, it must not be noticed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.installs import ROOT, install, pip, run, site_packages

if TYPE_CHECKING:
    from pathlib import Path

HOOK = "conctrace-startup.pth"
#: Prints which modules of conctrace are loaded.
LOADED = "import json, sys; print(json.dumps([name for name in sys.modules if name.partition('.')[0] == 'conctrace']))"


def recorded(python: str) -> str:
    """The RECORD of the installed conctrace."""
    return next(site_packages(python).glob("conctrace-*.dist-info/RECORD")).read_text()


def loaded(python: str, *flags: str, **variables: str) -> list[str]:
    """The modules of conctrace that a bare start of `python` loads."""
    names = json.loads(run(python, *flags, "-c", LOADED, **variables))
    assert isinstance(names, list)
    return names


def replace_startup(python: str, source: str) -> None:
    """Puts another `conctrace.session.startup` in place of the installed one."""
    (site_packages(python) / "conctrace" / "session" / "startup.py").write_text(source)


def test_the_hook_is_one_line_that_site_executes() -> None:
    lines = (ROOT / "src" / HOOK).read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("import ")


@pytest.mark.slow
def test_the_wheel_holds_the_hook_and_records_it(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        assert archive.read(HOOK) == (ROOT / "src" / HOOK).read_bytes()
        assert f"\n{HOOK},sha256=" in "\n" + archive.read(record).decode()


@pytest.mark.slow
def test_the_wheel_holds_what_is_no_python(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "conctrace/py.typed" in names
    templates = ROOT / "src" / "conctrace" / "exporters" / "html" / "templates"
    for template in templates.glob("*"):
        assert f"conctrace/exporters/html/templates/{template.name}" in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
def test_the_source_archive_holds_licence_and_hook(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        names = {name.partition("/")[2] for name in contents.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py", f"src/{HOOK}"} <= names


@pytest.mark.slow
def test_an_installed_wheel_starts_only_when_asked_and_leaves_nothing(built: Path, python: str) -> None:
    (wheel,) = built.glob("*.whl")
    install(python, str(wheel))
    replace_startup(python, "")
    assert loaded(python) == []
    for flags in ([], ["-I"], ["-E"], ["-s"], ["-P"] if sys.version_info >= (3, 11) else ["-B"]):
        assert "conctrace.session.startup" in loaded(python, *flags, CONCTRACE_SESSION="/nowhere"), flags
    assert loaded(python, "-S", CONCTRACE_SESSION="/nowhere") == []

    (site_packages(python) / "conctrace" / "session" / "startup.py").unlink()
    pip(python, "uninstall", "--yes", "conctrace")
    assert not (site_packages(python) / HOOK).exists()


@pytest.mark.slow
def test_an_editable_install_has_the_hook_and_leaves_nothing(checkout: Path, python: str) -> None:
    install(python, "--editable", str(checkout))
    assert (site_packages(python) / HOOK).read_bytes() == (ROOT / "src" / HOOK).read_bytes()
    assert f"\n{HOOK},sha256=" in "\n" + recorded(python)
    assert loaded(python) == []
    assert run(python, "-c", "import conctrace; print(conctrace.__file__)").startswith(str(checkout))

    pip(python, "uninstall", "--yes", "conctrace")
    assert not (site_packages(python) / HOOK).exists()


@pytest.mark.slow
def test_an_editable_install_starts_when_asked(checkout: Path, python: str) -> None:
    install(python, "--editable", str(checkout))
    for flags in ([], ["-I"], ["-E"]):
        assert "conctrace" in loaded(python, *flags, CONCTRACE_SESSION="/nowhere"), flags


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["raise RuntimeError('broken')", "import no_such_module", "this is no Python"])
def test_a_broken_start_up_is_not_noticed(built: Path, python: str, broken: str) -> None:
    (wheel,) = built.glob("*.whl")
    install(python, str(wheel))
    replace_startup(python, broken)
    assert run(python, "-c", "print('as ever')", CONCTRACE_SESSION="/nowhere") == "as ever\n"


@pytest.mark.slow
def test_a_half_removed_conctrace_is_not_noticed(built: Path, python: str) -> None:
    (wheel,) = built.glob("*.whl")
    install(python, str(wheel))
    shutil.rmtree(site_packages(python) / "conctrace")
    assert run(python, "-c", "print('as ever')", CONCTRACE_SESSION="/nowhere") == "as ever\n"
