"""Recorder and patches in this process: start, and stop."""

from __future__ import annotations

import os

from .. import patches, recorder
from ..patches.patchset import PatchSet
from ..settings import FUNCTIONS_FILE
from .imports import PatchOnImport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ..recorder.shared import Interface

_patched = PatchSet()
#: Names of the recorders that are told of forks; that cannot be undone.
_told_of_forks: set[str] = set()
#: What else is to be done when a module that is patched has been imported.
_when_imported: dict[str, Callable[[ModuleType], None]] = {}


def start(folder: str, role: int = 0) -> None:
    """Record this process into the session's folder from now on; raises OSError when that cannot be."""
    running = recorder.start(folder, role)
    running.announce()
    _watch_forks(running)
    _imports.install()
    if os.access(f"{folder}/{FUNCTIONS_FILE}", os.F_OK):
        _begin_functions(folder, running)
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
    if running.name in _told_of_forks:
        return
    _told_of_forks.add(running.name)
    if running.name == "native":
        # Its methods serve all sessions, and without a function in Python some ten pages fewer are copied.
        os.register_at_fork(before=running.before_fork, after_in_child=running.announce)
    else:
        os.register_at_fork(after_in_child=_announce)


def _announce() -> None:
    running = recorder.current
    if running is not None:
        running.announce()


def _begin_functions(folder: str, running: Interface) -> None:
    """Calls of functions, too, which needs viztracer; what fails there is no reason not to record the rest."""
    try:
        from .functions import begin

        begin(folder, _when_imported)
    except Exception as error:
        running.failed(error)


def _end() -> None:
    running = recorder.current
    if running is not None:
        running.finalizes()


def _install(module: ModuleType) -> None:
    for name, install in patches.PATCHES:
        if name == module.__name__:
            _guarded_install(install, module)
    if module.__name__ in _when_imported:
        _when_imported[module.__name__](module)


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
