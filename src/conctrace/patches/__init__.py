"""What of the standard library is wrapped: one file per thing traced, all listed here.

A patch file wraps the names of a module when that module is there, and is loaded no sooner: a program pays for what it imports
itself. For builtin functions the recorder may have stand-ins of its own; then their files are not loaded at all. Patches call the
recorder and nothing else.
"""

from __future__ import annotations

from .. import recorder as _recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, TypeAlias

    from .patchset import PatchSet

    Install: TypeAlias = Callable[[PatchSet, ModuleType], None]


def _load(file: str) -> Any:
    return __import__(f"{__name__}.{file}", fromlist=("*",))


def _by(file: str) -> Install:
    """The function `install` of a file of this package."""

    def install(patches: PatchSet, module: ModuleType) -> None:
        _load(file).install(patches, module)

    return install


def _builtins(file: str, *names: str) -> Install:
    """Builtin functions of a module: by the recorder's own stand-ins, else as ``WRAPPERS[name]`` of a file says."""

    def install(patches: PatchSet, module: ModuleType) -> None:
        for name in names:
            patches.wrap(module, name, _maker(file, f"{module.__name__}:{name}"))

    return install


def _maker(file: str, place: str) -> Callable[[Any], Any]:
    def in_python(original: Any) -> Any:
        return _load(file).WRAPPERS[place.partition(":")[2]](original)

    def when_needed(original: Any) -> Any:
        """The same for a stand-in, in the middle of the program."""
        try:
            return in_python(original)
        except BaseException as error:
            recorder = _recorder.current
            if recorder is None or not recorder.failed(error):
                raise
            return original

    def make(original: Any) -> Any:
        recorder = _recorder.current
        made = None if recorder is None else recorder.stand_in(original, place, when_needed)
        return in_python(original) if made is None else made

    return make


#: (module, what wraps its names), in the order of installing
PATCHES: tuple[tuple[str, Install], ...] = (
    ("os", _builtins("fork", "fork", "forkpty")),
    ("os", _builtins("exit", "_exit")),
    ("os", _builtins("wait_child", "wait", "waitpid", "wait3", "wait4", "waitid")),
    ("os", _builtins("program", "posix_spawn", "posix_spawnp", "system", "execv", "execve")),
    ("_thread", _builtins("lock", "allocate_lock", "allocate")),
    ("_thread", _builtins("bare_thread", "start_new_thread", "start_new")),
    ("threading", _by("lock")),
    ("threading", _by("thread")),
    ("multiprocessing.process", _by("process")),
    ("subprocess", _by("subprocess")),
)
