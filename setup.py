"""Build steps that pyproject.toml cannot say: the native recorder, and the start-up hook at the root of site-packages.

The native recorder (``src/conctrace/recorder/native/``) is optional: where it cannot be built, conctrace records
with its Python twin. Variables of the environment choose how it is built:

=============================  ================================================================
``CONCTRACE_NATIVE=yes``       it must be there: where it cannot be built, the build fails
``CONCTRACE_NATIVE=no``        without it
``CONCTRACE_NATIVE=debug``     must be there; assertions, symbols, not optimised
``CONCTRACE_NATIVE=sanitize``  must be there; AddressSanitizer and UndefinedBehaviorSanitizer
``CONCTRACE_WERROR=1``         must be there, and the compiler's warnings are errors
=============================  ================================================================

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
import sys
import sysconfig
import zipfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).parent
HOOK = ROOT / "src" / "conctrace-startup.pth"
NATIVE = Path("src", "conctrace", "recorder", "native")

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
#: Each sanitizer must keep its own state: the preloaded libasan would take libubsan's log_path for itself.
APART = ["-static-libubsan", "-Wl,-Bsymbolic"]
#: What CONCTRACE_NATIVE may be, and what it adds for the compiler and for the linker. The last -O counts.
VARIANTS: dict[str, tuple[list[str], list[str]]] = {
    "": (["-O2"], []),
    "yes": (["-O2"], []),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    "sanitize": (["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZERS], [*SANITIZERS, *APART]),
}


def say(message: str) -> None:
    sys.stderr.write(f"conctrace: {message}\n")


def extensions() -> list[Extension]:
    """The native recorder, or nothing where it is not wanted or cannot work."""
    variant = os.environ.get("CONCTRACE_NATIVE", "")
    if variant == "no":
        return []
    if variant not in VARIANTS:
        raise SystemExit(f"CONCTRACE_NATIVE is {variant!r}; it may be no, {', '.join(filter(None, VARIANTS))}")
    warnings_are_errors = os.environ.get("CONCTRACE_WERROR") == "1"
    required = bool(variant) or warnings_are_errors
    if reason := unsuitable():
        if required:
            raise SystemExit(f"conctrace: the native recorder cannot be built: {reason}")
        say(f"no native recorder, the one in Python instead: {reason}")
        return []
    compiler_flags, linker_flags = VARIANTS[variant]
    return [
        Extension(
            "conctrace.recorder._recorder",
            sources=sorted(str(NATIVE / path.name) for path in (ROOT / NATIVE).glob("*.c")),
            depends=sorted(str(NATIVE / path.name) for path in (ROOT / NATIVE).glob("*.h")),
            include_dirs=[str(NATIVE)],
            extra_compile_args=[
                "-std=c11",
                "-fvisibility=hidden",
                *compiler_flags,
                *(["-Wall", "-Wextra", "-Werror"] if warnings_are_errors else []),
                # Named as the system's, CPython's own headers are not warned about.
                *("-isystem", sysconfig.get_path("include")),
            ],
            extra_link_args=linker_flags,
            optional=not required,
        )
    ]


def unsuitable() -> str:
    """Why the native recorder cannot work in this Python; empty when it can."""
    if sys.implementation.name != "cpython":
        return "this Python is not CPython"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it needs the GIL, and this Python is free-threaded"
    if not any((ROOT / NATIVE).glob("*.c")):
        return "its sources are not here"
    if sysconfig.get_platform() not in {"linux-x86_64", "linux-aarch64"} or sys.maxsize < 2**32:
        return f"it is for 64-bit Linux on x86_64 and aarch64, and this is {sysconfig.get_platform()}"
    return ""


class BuildExtAnew(build_ext):
    """Compiles each time: how the last build was configured is written nowhere, and a stale module must not stay."""

    def run(self) -> None:
        self.force = True
        for ext in self.extensions:
            # Unlinked, not overwritten: a running program may have it mapped.
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        super().run()
        if any(not os.path.exists(path) for path in self.get_outputs()):
            say("no native recorder, the one in Python instead: it could not be compiled")


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
        # An editable install has the native recorder among the sources; the last one's must not outlive it.
        (ROOT / NATIVE).with_name("_recorder" + sysconfig.get_config_var("EXT_SUFFIX")).unlink(missing_ok=True)
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


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtAnew, "build_py": BuildPyWithHook, "editable_wheel": EditableWheelWithHook},
)
