"""What to call a callable, without running any code of the program."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FUNCTION_TYPES = ("function", "builtin_function_or_method", "method", "type", "method_descriptor")


def callable_name(target: Any) -> str:
    """The qualified name of a function, method or class; of anything else its type's; "" for None."""
    if target is None:
        return ""
    kind = type(target).__name__
    if kind == "method":
        target = target.__func__
    name = getattr(target, "__qualname__", None) if kind in _FUNCTION_TYPES or isinstance(target, type) else None
    return name if type(name) is str else type(target).__qualname__
