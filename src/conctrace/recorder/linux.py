"""The few system calls that the Python twin needs and the standard library lacks; Linux only, all of it here.

`mmap.mmap` would do for the mapping, but before 3.13 it keeps a descriptor open for as long as the mapping lives:
the program would see other descriptor numbers than without us, and a program that closes all descriptors
would later have one of its own closed under it. `_ctypes` (without the costly `ctypes` around it: 0.5 ms
against 3 ms) calls ``mmap(2)`` directly, and gives ``fallocate(2)``, ``madvise(2)`` and ``sched_getcpu(3)`` too.
"""

from __future__ import annotations

import _ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import partial
    from typing import Any
else:
    from _functools import partial  # without the rest of functools, which a bare start has not loaded

_CDECL, _PYTHON_API, _USE_ERRNO = 1, 4, 8
_PROT_READ_WRITE = 1 | 2
_MAP_SHARED, _MAP_PRIVATE, _MAP_ANONYMOUS = 1, 2, 0x20
_MADV_WIPEONFORK = 18
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]  # generic in the stubs only
    _type_ = "l"


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class _LongCall(_ctypes.CFuncPtr):
    _flags_ = _CDECL | _USE_ERRNO
    _restype_ = _Long


class _QuickIntCall(_ctypes.CFuncPtr):
    """A call too short to be worth letting go of the GIL."""

    _flags_ = _CDECL | _PYTHON_API
    _restype_ = _Int


_libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None is the program itself


def _function(call: Any, name: str, arguments: int) -> Any:
    function = call(_ctypes.dlsym(_libc, name))
    function.argtypes = (_Long,) * arguments
    return function


_mmap = _function(_LongCall, "mmap", 6)
_munmap = _function(_LongCall, "munmap", 2)
_madvise = _function(_LongCall, "madvise", 3)
_fallocate = _function(_LongCall, "fallocate", 4)

#: The CPU core this thread runs on.
sched_getcpu = _function(_QuickIntCall, "sched_getcpu", 0)


def _mapping(size: int, flags: int, descriptor: int) -> Any:
    """Mapped memory as a writable buffer.

    It is kept until `let_go`, and unmapped when the last reference goes after that: a thread that is about to store into a
    segment holds one, so no other thread can unmap it under it. (Without being kept it would be unmapped while the
    interpreter finalizes, when finalizers run in any order, and others may still store there.)
    """
    address = _mmap(0, size, _PROT_READ_WRITE, flags, descriptor, 0)
    if address == -1:
        raise OSError(_ctypes.get_errno(), "mmap failed")
    # Its finalizer is no Python code: there a signal's handler could run, and what it raises would be ignored.
    unmap = partial(_munmap, address, size)
    kind: Any = type("Mapping", (_ctypes.Array,), {"_length_": size, "_type_": _Byte, "__del__": staticmethod(unmap)})
    mapping = kind.from_address(address)
    _ctypes.Py_INCREF(mapping)
    return mapping


def let_go(view: Any) -> None:
    """Unmap the memory under this view as soon as nobody uses it."""
    _ctypes.Py_DECREF(view.obj)


def wiped_on_fork_page() -> Any:
    """An anonymous page, as a writable buffer, that reads as zeros in every kind of forked child."""
    page = _mapping(4096, _MAP_PRIVATE | _MAP_ANONYMOUS, -1)
    if _madvise(_ctypes.addressof(page), 4096, _MADV_WIPEONFORK):
        raise OSError(_ctypes.get_errno(), "madvise failed")
    return page


def _refuse_beyond_limit(size: int) -> None:
    # Growing a file past RLIMIT_FSIZE does not just fail: SIGXFSZ kills.
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit not in (resource.RLIM_INFINITY, -1) and size > limit:
        raise OSError(errno.EFBIG, "RLIMIT_FSIZE is too small")


def create_mapped(path: str, size: int) -> Any:
    """Make a new file of `size` zero bytes, with room for all of them on disk, and map it; no descriptor stays open.

    Raises OSError when there is no room, no permission, or the file exists.
    """
    _refuse_beyond_limit(size)
    descriptor = -1
    try:
        # Taken from an iterator, so that no signal's handler comes before it is known and can be closed (`whole`).
        for descriptor in map(os.open, (path,), (_NEW_FILE,), (0o600,)):  # noqa: B007
            break
        _reserve(descriptor, size)
        return _mapping(size, _MAP_SHARED, descriptor)
    except BaseException:
        if descriptor >= 0:
            os.unlink(path)
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Find room for all of a new file: then a full disk is an error here, and not a SIGBUS at some later store."""
    while _fallocate(descriptor, 0, 0, size):
        error = _ctypes.get_errno()
        if error == errno.EOPNOTSUPP:  # some network file systems; nobody else writes to this file
            _write_zeros(descriptor, size)
            return
        if error != errno.EINTR:
            raise OSError(error, "fallocate failed")


def _write_zeros(descriptor: int, size: int) -> None:
    while size > 0:
        size -= os.write(descriptor, bytes(min(size, 1 << 16)))


def open_mapped(path: str, size: int) -> Any:
    """Map the first `size` bytes of an existing file; raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size < size:
            raise OSError(errno.EINVAL, "file is too short", path)
        return _mapping(size, _MAP_SHARED, descriptor)
    finally:
        os.close(descriptor)


def start_ticks() -> int:
    """When this process started, in clock ticks since boot (field 22 of its stat); 0 where /proc is missing."""
    try:
        return int(_read("/proc/self/stat").rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def pid_namespace() -> int:
    """Inode of this process's pid namespace; 0 where /proc is missing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def run_queue_ns() -> int:
    """How long this thread has waited for a CPU so far; 0 where the kernel does not tell.

    No descriptor is kept: after a fork it would tell of the parent's thread.
    """
    try:
        return int(_read("/proc/thread-self/schedstat").split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def collector_is_alive(control_path: str) -> bool:
    """Whether some process holds the lock on the session's control file."""
    import fcntl

    descriptor = os.open(control_path, os.O_RDWR | os.O_CLOEXEC)
    try:
        # struct flock of 64-bit Linux: type, whence, start, length, pid
        query = fcntl.F_WRLCK.to_bytes(2, "little") + b"\0" * 30
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, query)
        return int.from_bytes(answer[:2], "little") != fcntl.F_UNLCK
    finally:
        os.close(descriptor)
