"""Making a wrapper look like what it wraps.

Loaded where something is wrapped in Python; what the native recorder wraps looks right by itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def disguised(wrapper: Any, original: Any, name: str) -> Any:
    """Make a wrapper look like what it wraps: name, documentation, signature, and what it is."""
    if isinstance(original, type(len)):  # or a stand-in of ours for one
        return _builtin_stand_in(wrapper, original, name)
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(wrapper, attribute, getattr(original, attribute))
    wrapper.__wrapped__ = original
    wrapper.__conctrace__ = True
    return wrapper


class _BuiltinStandIn:
    """Stands in for a builtin function. Unlike a Python function it does not become a method when it is a class's attribute.

    Its ``__call__`` is a slot that holds the wrapper itself, so that no frame comes between.
    """

    __slots__ = ("__call__", "__wrapped__", "_name")

    __conctrace__ = True

    def __init__(self, *_: Any) -> None:
        # Also as the base of a class, which reads ``type(base)(name, bases, namespace)``.
        raise TypeError("cannot create 'builtin_function_or_method' instances")

    @property  # type: ignore[misc]  # isinstance(os.fork, types.BuiltinFunctionType) stays true
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattribute__(self, name: str) -> Any:
        if name in ("__module__", "__doc__"):
            return getattr(object.__getattribute__(self, "__wrapped__"), name)
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce__(self) -> Any:
        import pkgutil

        return pkgutil.resolve_name, (self._name,)


_BuiltinStandIn.__name__ = _BuiltinStandIn.__qualname__ = "builtin_function_or_method"


def _builtin_stand_in(wrapper: Any, original: Any, name: str) -> Any:
    stand_in: Any = object.__new__(_BuiltinStandIn)
    stand_in.__call__ = wrapper
    stand_in.__wrapped__ = original
    stand_in._name = name
    return stand_in
