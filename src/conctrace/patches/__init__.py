"""What of the standard library is wrapped: one file per thing traced, all listed here.

A patch file wraps the names of a module when that module is there (``install(patches, module)``), and is loaded no sooner: a
program pays for what it imports itself. Patches call the recorder and nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import TypeAlias

    from .patchset import PatchSet

    Install: TypeAlias = Callable[[PatchSet, ModuleType], None]


def _by(file: str, function: str = "install") -> Install:
    """That function of a file of this package."""

    def install(patches: PatchSet, module: ModuleType) -> None:
        getattr(__import__(f"{__name__}.{file}", fromlist=(function,)), function)(patches, module)

    return install


#: (module, what wraps its names), in the order of installing
PATCHES: tuple[tuple[str, Install], ...] = (
    ("os", _by("fork")),
    ("os", _by("exit")),
    ("os", _by("wait_child")),
    ("_thread", _by("lock", "install_thread")),
    ("_thread", _by("bare_thread")),
    ("threading", _by("lock")),
    ("threading", _by("thread")),
    ("multiprocessing.process", _by("process")),
)
