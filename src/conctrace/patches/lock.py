"""`threading.Lock`, `threading.RLock` and `_thread.allocate_lock`: hand out locks that record.

On 3.10 to 3.12 `threading.Lock` is a function, on 3.13 it is the class `_thread.lock`, so ``isinstance(x, threading.Lock)``
is legal there: what stands in for it must be a class too.
"""

from __future__ import annotations

import _thread

from .. import recorder as _recorder
from .._stdlib import LockType, RLockType, getframe
from .._stdlib import allocate_lock as _allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

    from .patchset import PatchSet


def install(patches: PatchSet, threading: ModuleType) -> None:
    """Wrap what `threading` offers; its own locks stay raw (the recorder looks at the caller)."""
    if isinstance(threading.Lock, type):
        if not isinstance(threading.Lock, _LockClass):
            patches.replace(threading, "Lock", _lock_class())
    else:
        # The very object that _thread has: as without us, `threading.Lock is _thread.allocate_lock`.
        patches.replace(threading, "Lock", _thread.allocate_lock)
    patches.wrap(threading, "RLock", _rlock_function)


def _new(frame: FrameType | None, make: str, raw: Callable[[], Any]) -> Any:
    """What the recorder makes (`new_lock` or `new_rlock`) for the code in `frame`; a raw one where none runs, or it fails."""
    recorder = _recorder.current
    if recorder is not None and frame is not None:
        try:
            return getattr(recorder, make)(frame)
        except BaseException as error:
            if not recorder.failed(error):
                raise
    return raw()


def _lock_function(original: Any) -> Any:
    def allocate_lock(*args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            return original(*args, **kwargs)
        return _new(getframe().f_back, "new_lock", _allocate_lock)

    return allocate_lock


#: The `_thread` module's own names.
WRAPPERS = {"allocate_lock": _lock_function, "allocate": _lock_function}


def _rlock_function(original: Any) -> Any:
    def RLock(*args: Any, **kwargs: Any) -> Any:  # noqa: N802  # the name it stands in for
        if args or kwargs:  # the original judges arguments that it does not take
            return original(*args, **kwargs)
        return _new(getframe().f_back, "new_rlock", RLockType)

    return RLock


class _LockClass(type):
    """The type of what stands in for `_thread.lock` where that is a class (3.13)."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            return LockType(*args, **kwargs)
        return _new(getframe().f_back, "new_lock", _allocate_lock)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, LockType)

    def __subclasscheck__(cls, subclass: Any) -> bool:
        return subclass is cls or issubclass(subclass, LockType)

    def __repr__(cls) -> str:
        return repr(LockType)


def _lock_class() -> _LockClass:
    import copyreg  # small, and imported by most programs anyway

    copyreg.pickle(_LockClass, _reduce)
    # Methods looked up on the class, ``threading.Lock.acquire``, are those of the locks it makes.
    running = _recorder.current
    made = LockType if running is None else running.lock_type
    methods = {name: getattr(made, name) for name in ("acquire", "release", "locked")}
    return _LockClass("lock", (), {**vars(_LockNames), **methods})


def _reduce(_: Any) -> tuple[Any, tuple[str]]:
    import pkgutil

    return pkgutil.resolve_name, ("threading:Lock",)


class _LockNames:
    """Attributes of the class that stands in for `_thread.lock`."""

    __module__ = "_thread"
    __doc__ = LockType.__doc__
    __conctrace__ = True
    __wrapped__ = LockType
    __signature__ = "()"

    def __init_subclass__(cls, **_: Any) -> None:
        raise TypeError("type '_thread.lock' is not an acceptable base type")
