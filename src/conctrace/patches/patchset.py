"""Replacing attributes of the standard library, and putting every one of them back.

There are no uninstall functions: one `PatchSet` records each replacement and undoes them in reverse order.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MISSING = object()


class PatchSet:
    """Replacements made so far, by owner and attribute."""

    __slots__ = ("_replaced",)

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` by what `make` makes of it; nothing happens where it is missing or wrapped already."""
        original = getattr(owner, name, None)
        if original is None or getattr(original, "__conctrace__", False):
            return
        made = make(original)
        if not getattr(made, "__conctrace__", False):  # else the recorder's own, which needs none
            from .disguise import disguised

            made = disguised(made, original, f"{owner.__name__}:{name}")
        self.replace(owner, name, made)

    def replace(self, owner: Any, name: str, replacement: Any) -> None:
        """Set ``owner.name``; remembers what was there: inherited attributes come back as inherited."""
        self._replaced.append((owner, name, vars(owner).get(name, _MISSING)))
        setattr(owner, name, replacement)

    def undo(self) -> None:
        """Put everything back, last replaced first; a second call does nothing."""
        while self._replaced:
            owner, name, original = self._replaced.pop()
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
