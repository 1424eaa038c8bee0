"""Wheels and editable installs carry the start-up hook, and take it along when they go.

The hook makes any Python with conctrace start the recorder when `CONCTRACE_SESSION` is set. Without the variable
it must cost and load nothing; broken, it must not be noticed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = "conctrace-startup.pth"
#: What a build needs of the checkout; the rest (virtual environments, caches) may be large.
SOURCES = ("src", "pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md")

#: Prints which modules of conctrace are loaded.
LOADED = "import json, sys; print(json.dumps([name for name in sys.modules if name.partition('.')[0] == 'conctrace']))"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def built(checkout: Path) -> Path:
    """The folder with a source archive of the checkout, and the wheel built from that archive."""
    run(sys.executable, "-m", "build", "--no-isolation", str(checkout))
    return checkout / "dist"


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of a fresh virtual environment."""
    venv.create(tmp_path / "venv", with_pip=True)
    return str(tmp_path / "venv" / "bin" / "python")


def run(*command: str, **variables: str) -> str:
    """What a command that must succeed prints to stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONCTRACE_", "PYTHON"))}
    ended = subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def install(python: str, *what: str) -> None:
    """Without the packages that conctrace needs: the hook must do without them anyway."""
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", *what)


def site_packages(python: str) -> Path:
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())


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
    run(python, "-m", "pip", "uninstall", "--yes", "conctrace")
    assert not (site_packages(python) / HOOK).exists()


@pytest.mark.slow
def test_an_editable_install_has_the_hook_and_leaves_nothing(checkout: Path, python: str) -> None:
    install(python, "--editable", str(checkout))
    assert (site_packages(python) / HOOK).read_bytes() == (ROOT / "src" / HOOK).read_bytes()
    assert f"\n{HOOK},sha256=" in "\n" + recorded(python)
    assert loaded(python) == []
    assert run(python, "-c", "import conctrace; print(conctrace.__file__)").startswith(str(checkout))

    run(python, "-m", "pip", "uninstall", "--yes", "conctrace")
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
