"""Build steps that pyproject.toml cannot say: the start-up hook at the root of site-packages.

``src/conctrace-startup.pth`` makes every Python that has conctrace installed start the recorder when
``CONCTRACE_SESSION`` is set. ``site`` reads such files only at the root of site-packages, where setuptools
puts nothing but packages and modules. So a wheel gets it by a step of ``build_py``; an editable wheel,
for which ``build_py`` copies nothing, gets it afterwards. Either way ``RECORD`` lists it, so that
uninstalling removes it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

HOOK = Path(__file__).parent / "src" / "conctrace-startup.pth"


class BuildPyWithHook(build_py):
    """Puts the hook beside the package, thus at the root of the wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file(str(HOOK), self._hook_target())

    def _hook_target(self) -> str:
        return os.path.join(self.build_lib, HOOK.name)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = list(super().get_outputs(include_bytecode))
        return outputs if self.editable_mode else [*outputs, self._hook_target()]


class EditableWheelWithHook(editable_wheel):
    """Adds the hook to the editable wheel that setuptools has made."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob("conctrace-*.whl"):
            add_to_wheel(wheel, HOOK)


def add_to_wheel(wheel: Path, added: Path) -> None:
    """Adds a file at the root of a wheel, and its line to the wheel's RECORD."""
    with zipfile.ZipFile(wheel) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    content = added.read_bytes()
    record = next(name for name in members if name.endswith(".dist-info/RECORD"))
    members[record] = f"{record_line(added.name, content)}\n".encode() + members[record]
    # The specification wants the metadata, RECORD last, at the end of the archive.
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in {added.name: content, **members}.items():
            new.writestr(name, data)


def record_line(name: str, content: bytes) -> str:
    """The line of RECORD for one file: its name, digest and size."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


setup(cmdclass={"build_py": BuildPyWithHook, "editable_wheel": EditableWheelWithHook})
