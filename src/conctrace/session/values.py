"""The program's values as text, without running any code of the program.

A `repr` is taken only of exact built-in types, containers to depth 2, at most 80 characters; anything else is
``<Type>``.
"""

from __future__ import annotations

_SCALARS = (str, int, float, bool, type(None), bytes)
_DEPTH = 2
_LENGTH = 80
#: More items than this never fit into the length anyway.
_ITEMS = 41


def safe_repr(value: object) -> str:
    """At most 80 characters about a value."""
    text = _repr(value, _DEPTH)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def _repr(value: object, depth: int) -> str:
    kind = type(value)
    if kind is str or kind is bytes:
        return repr(value[:_LENGTH])  # type: ignore[index]  # both are sequences
    if kind is int:
        # Beyond some thousand digits str() of an int is refused, and slow long before.
        return repr(value) if value.bit_length() < 300 else "<int>"  # type: ignore[attr-defined]
    if kind in _SCALARS:
        return repr(value)
    if kind in (tuple, list, set, dict) and depth:
        return _container(value, depth - 1)
    return f"<{kind.__name__}>"


def _container(value: object, depth: int) -> str:
    if type(value) is dict:
        return "{" + ", ".join(f"{_repr(key, depth)}: {_repr(value[key], depth)}" for key in list(value)[:_ITEMS]) + "}"
    items = [_repr(item, depth) for item in list(value)[:_ITEMS]]  # type: ignore[call-overload]
    if type(value) is tuple:
        return "(" + ", ".join(items) + (",)" if len(items) == 1 else ")")
    if type(value) is set:
        return "{" + ", ".join(items) + "}" if items else "set()"
    return "[" + ", ".join(items) + "]"
