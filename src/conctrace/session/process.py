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
_watches_forks = False


def start(folder: str, role: int = 0) -> None:
    """Record this process into the session's folder from now on; raises OSError when that cannot be."""
    running = recorder.start(folder, role)
    running.announce()
    _watch_forks()
    _imports.install()
    # Registered first, so called last.
    import atexit

    atexit.register(say_exit, -1, kinds.EXIT_FINALIZED)


def stop() -> None:
    """Record no more, and put everything back that was replaced; `start` may be called again."""
    import atexit

    _imports.undo()
    _patched.undo()
    atexit.unregister(say_exit)
    recorder.stop()


def _watch_forks() -> None:
    global _watches_forks
    if not _watches_forks:  # which cannot be undone
        os.register_at_fork(after_in_child=_announce)
        _watches_forks = True


def _announce() -> None:
    running = recorder.current
    if running is not None:
        running.announce()


def _install(module: ModuleType) -> None:
    for name, install in patches.PATCHES:
        if name == module.__name__:
            _guarded_install(install, module)


_imports = PatchOnImport(dict.fromkeys([name for name, _ in patches.PATCHES], _install))


@guarded
def _guarded_install(install: patches.Install, module: ModuleType) -> None:
    install(_patched, module)
