"""What of the standard library is wrapped: one file per thing traced, all listed here.

A patch file says which module it is about (``MODULE``) and wraps its names when that module is there
(``install(patches, module)``). Patches call the recorder and nothing else.
"""

from __future__ import annotations

from . import exit as exit_
from . import fork, lock, process, thread, wait_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import TypeAlias

    from .patchset import PatchSet

    Install: TypeAlias = Callable[[PatchSet, ModuleType], None]

#: (module, what wraps its names), in the order of installing
PATCHES: tuple[tuple[str, Install], ...] = (
    ("os", fork.install),
    ("os", exit_.install),
    ("os", wait_child.install),
    ("_thread", lock.install_thread),
    ("_thread", thread.install_thread),
    (lock.MODULE, lock.install),
    (thread.MODULE, thread.install),
    (process.MODULE, process.install),
)
