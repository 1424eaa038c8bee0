"""Recorder and patches in this process: start, and stop."""

from __future__ import annotations

import os

from .. import patches, recorder
from ..patches.patchset import PatchSet
from .imports import PatchOnImport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from ..recorder.shared import Interface

_patched = PatchSet()
#: Names of the recorders that are told of forks; that cannot be undone.
_told_of_forks: set[str] = set()


def start(folder: str, role: int = 0) -> None:
    """Record this process into the session's folder from now on; raises OSError when that cannot be."""
    running = recorder.start(folder, role)
    running.announce()
    _watch_forks(running)
    _imports.install()
    # Registered first, so called last.
    import atexit

    atexit.register(_end)


def stop() -> None:
    """Record no more, and put everything back that was replaced; `start` may be called again."""
    import atexit

    _imports.undo()
    _patched.undo()
    atexit.unregister(_end)
    recorder.stop()


def _watch_forks(running: Interface) -> None:
    if running.name not in _told_of_forks:
        # The native one's method serves all sessions, and without a function in Python some ten pages fewer are copied.
        os.register_at_fork(after_in_child=running.announce if running.name == "native" else _announce)
        _told_of_forks.add(running.name)


def _announce() -> None:
    running = recorder.current
    if running is not None:
        running.announce()


def _end() -> None:
    running = recorder.current
    if running is not None:
        running.finalizes()


def _install(module: ModuleType) -> None:
    for name, install in patches.PATCHES:
        if name == module.__name__:
            _guarded_install(install, module)


_imports = PatchOnImport(dict.fromkeys([name for name, _ in patches.PATCHES], _install))


def _guarded_install(install: patches.Install, module: ModuleType) -> None:
    """As in `patches.guard`, which is not loaded for what every Python has."""
    running = recorder.current
    if running is None:
        return
    try:
        if running.alive:
            install(_patched, module)
    except BaseException as error:
        if not running.failed(error):
            raise
