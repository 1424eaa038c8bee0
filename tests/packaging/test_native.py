"""The native recorder is in every wheel that a compiler made, its sources are in the archive, and nobody has to have it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.installs import ROOT, install, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

NATIVE = "src/conctrace/recorder/native"
MODULE = "_recorder" + str(sysconfig.get_config_var("EXT_SUFFIX"))
COMPILER = shutil.which((os.environ.get("CC") or str(sysconfig.get_config_var("CC"))).split()[0])
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the native recorder with")
#: A compiler that compiles nothing.
NONE = "/bin/false"

PROGRAM = "import threading\nlock = threading.Lock()\nwith lock:\n    print('ran')\n"


@needs_compiler
def test_the_wheel_holds_the_module_and_not_its_sources(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert f"conctrace/recorder/{MODULE}" in names
    assert not [name for name in names if name.endswith((".c", ".h"))]
    assert wheel.name.endswith("_" + os.uname().machine + ".whl")


def test_the_source_archive_holds_the_sources_and_no_module(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        names = {name.partition("/")[2] for name in contents.getnames()}
    sources = {f"{NATIVE}/{path.name}" for path in (ROOT / NATIVE).iterdir() if path.suffix in {".c", ".h"}}
    assert f"{NATIVE}/schema.h" in sources
    assert sources <= names
    assert not [name for name in names if name.endswith(".so")]


def says(python: str, folder: Path) -> str:
    """What `conctrace run` says on stderr about a program that takes a lock."""
    (folder / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONCTRACE_", "PYTHON"))}
    ended = subprocess.run(
        # Without the packages that conctrace needs there is no report.
        [python, "-m", "conctrace", "run", "-o", "program.trace.json", "program.py"],
        cwd=folder,
        env={**environment, "CONCTRACE_DIR": str(folder / "sessions")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "ran\n"), ended.stderr
    return ended.stderr


@needs_compiler
def test_with_a_compiler_run_takes_the_native_recorder(checkout: Path, python: str, tmp_path: Path) -> None:
    install(python, str(checkout))
    assert "; native recorder" in says(python, tmp_path)


def test_without_a_compiler_run_takes_the_python_recorder_and_says_so(
    checkout: Path, python: str, tmp_path: Path
) -> None:
    install(python, str(checkout), CC=NONE)
    said = says(python, tmp_path)
    assert "; python recorder" in said
    assert "The native recorder is not built here" in said


@needs_compiler
@pytest.mark.parametrize("editable", [True, False], ids=["editable", "copied"])
def test_a_build_that_fails_leaves_no_module_of_an_earlier_one(checkout: Path, python: str, editable: bool) -> None:
    what = ["--editable", str(checkout)] if editable else [str(checkout)]
    find = "import importlib.util; print(importlib.util.find_spec('conctrace.recorder._recorder') is not None)"
    install(python, *what)
    assert run(python, "-c", find) == "True\n"
    install(python, *what, CC=NONE)
    assert run(python, "-c", find) == "False\n"


@pytest.mark.parametrize("variable", ["CONCTRACE_NATIVE=yes", "CONCTRACE_WERROR=1"])
def test_who_needs_it_for_sure_gets_it_or_an_error(checkout: Path, tmp_path: Path, variable: str) -> None:
    build = ["env", "-C", str(checkout), sys.executable, "setup.py", "--quiet", "build_ext"]
    folders = ["--build-lib", str(tmp_path), "--build-temp", str(tmp_path)]
    run(*build, *folders, CC=NONE)
    name, _, value = variable.partition("=")
    with pytest.raises(AssertionError, match=NONE):
        run(*build, *folders, CC=NONE, **{name: value})
