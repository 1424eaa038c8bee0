"""Which files a run or an export is to write, and whether it can: asked before any work is done.

A program that ran for an hour must not end in "unknown extension". What fails later all the same (a disk that
fills up) is the writer's to save, in the temp folder.
"""

from __future__ import annotations

import errno
import os
import stat

from . import exporters
from .errors import UsageError

#: Written when nothing else is asked for.
DEFAULT_EXTENSIONS = (".ctrace", ".trace.json", ".report.html")


class NotWritableError(UsageError):
    """The folder of an output cannot be written to."""


def asked_for(paths: list[str], *, inputs: tuple[str, ...] = ()) -> list[str]:
    """The absolute paths of the files named; UsageError when one of them cannot be written."""
    seen: dict[str, str] = {}
    for path in paths:
        check(path)
        real = os.path.realpath(path)
        if real in seen:
            raise UsageError(f"{path}: already named as {seen[real]}")
        if real in map(os.path.realpath, inputs):
            raise UsageError(f"{path}: this is the trace to read from")
        seen[real] = path
    return [os.path.abspath(path) for path in paths]


def by_default(name: str) -> tuple[list[str], str | None]:
    """The files of a run that names none, and the folder they go to when it is not the current one."""
    try:
        return asked_for([name + extension for extension in DEFAULT_EXTENSIONS]), None
    except NotWritableError:
        import tempfile

        folder = tempfile.mkdtemp(prefix="conctrace-")
        return [os.path.join(folder, name + extension) for extension in DEFAULT_EXTENSIONS], folder


def check(path: str) -> None:
    """Raises UsageError unless a file of ours can be written there."""
    kind = exporters.format_for(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise NotWritableError(f"cannot write {path}: {error.strerror}") from error
    if found is not None:
        _check_replaceable(path, found, kind)
    _check_folder(path, os.path.dirname(path) or ".")


def _check_replaceable(path: str, found: os.stat_result, kind: exporters.Format) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is there already, and is not a file")
    try:
        with open(path, "rb") as file:
            head = file.read(exporters.HEAD_SIZE)
    except OSError as error:
        raise UsageError(f"{path} is there already, and cannot be read: {error.strerror}") from error
    if not kind.may_overwrite(head):
        raise UsageError(f"{path} is there already, and was not written by conctrace: remove it, or name another file")


def _check_folder(path: str, folder: str) -> None:
    # Root may write wherever the mode says no, and nobody may on a read-only mount: only trying tells.
    try:
        os.close(_try_to_create(folder))
    except OSError as error:
        reason = f"there is no folder {folder}" if error.errno == errno.ENOENT else f"{folder}: {error.strerror}"
        raise NotWritableError(f"cannot write {path}: {reason}") from error


def _try_to_create(folder: str) -> int:
    """A new file without a name (or with one, for a moment, where the file system cannot do that)."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
    name = os.path.join(folder, f".conctrace-{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(name)
    return descriptor
