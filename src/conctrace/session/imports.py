"""Patching a module when, and only when, the program itself imports it.

Importing `threading` costs 4 ms and `multiprocessing` 16; a program that uses neither does not pay for them. A finder at
the head of ``sys.meta_path`` lets the other finders find the module and wraps its loader for the moment of loading.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


class _PatchingLoader:
    """Loads by the module's own loader, then calls `installed`; leaves no trace of itself on the module."""

    def __init__(self, loader: Any, installed: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._installed = installed

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._installed(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class PatchOnImport:
    """A finder that calls ``wanted[name](module)`` for each wanted module, after it was loaded."""

    def __init__(self, wanted: dict[str, Callable[[ModuleType], None]]) -> None:
        self._wanted = wanted

    def install(self) -> None:
        """Call at once for what is imported already; watch for the rest."""
        for name in list(self._wanted):
            module = sys.modules.get(name)
            if module is not None:
                self._wanted[name](module)
        # Modules may be imported a second time (`test.support.import_fresh_module`), so none is struck off the list.
        sys.meta_path.insert(0, self)

    def undo(self) -> None:
        """Watch no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Find the module by the other finders."""
        installed = self._wanted.get(name)
        if installed is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec: Any = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _PatchingLoader(spec.loader, installed)
                return spec
        return None
