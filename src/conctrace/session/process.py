"""Recorder and patches in this process: start, and stop."""

from __future__ import annotations

import os

from .. import patches, recorder
from ..events import kinds
from ..patches.exit import say_exit
from ..patches.guard import guarded
from ..patches.patchset import PatchSet
from .imports import PatchOnImport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_patched = PatchSet()


def start(folder: str, role: int = 0) -> None:
    """Record this process into the session's folder from now on; raises OSError when that cannot be."""
    running = recorder.start(folder, role)
    running.announce()
    os.register_at_fork(after_in_child=running.announce)
    PatchOnImport({name: _install for name, _ in patches.PATCHES}).install()
    # Registered first, so called last.
    import atexit

    atexit.register(say_exit, -1, kinds.EXIT_FINALIZED)


def _install(module: ModuleType) -> None:
    for name, install in patches.PATCHES:
        if name == module.__name__:
            _guarded_install(install, module)


@guarded
def _guarded_install(install: patches.Install, module: ModuleType) -> None:
    install(_patched, module)
