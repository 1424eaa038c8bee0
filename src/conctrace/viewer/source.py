"""From a file that a user names to the trace that the Perfetto UI is given.

What a file is, its content says and not its name. A trace of ours is converted; JSON is served as it is, after a look at
its beginning, its end and its compression, which is where downloads and interrupted writers go wrong. What lies
between is Perfetto's to judge, which says in its page what it does not like.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import tempfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from ..errors import TraceFileError
from ..exporters.chrome.export import export
from ..model.builder import build
from ..tracefile.format import MAGIC
from ..tracefile.reader import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GZIP = b"\x1f\x8b"
_EVENTS = b'"traceEvents"'
_CHUNK = 1 << 20
_HEAD_SIZE = 4096


class Source(NamedTuple):
    """A trace that Perfetto can read."""

    #: open for as long as the trace is shown; a file that is overwritten meanwhile is shown as it was
    file: BinaryIO
    #: what the page calls it: safe in an address, and a name for a download
    name: str
    content_type: str
    #: one sentence when the trace is not whole
    cut: str | None


def open_source(path: str, doing: Callable[[str], None]) -> Source:
    """The trace in `path`; TraceFileError, one clear line, when there is none. `doing` is told what takes time."""
    file = _open(path)
    try:
        return _source(path, file, doing)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise TraceFileError(f"cannot read {path}: {error.strerror}") from error
        raise


def _open(path: str) -> BinaryIO:
    try:
        # Not blocking: the open of a pipe would wait for a writer.
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 (open while it is shown)
    except OSError as error:
        raise TraceFileError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise TraceFileError(f"cannot read {path!r}: {error}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise TraceFileError(f"{path} is not a file")
    return file


def _source(path: str, file: BinaryIO, doing: Callable[[str], None]) -> Source:
    head = file.read(_HEAD_SIZE)
    if head.startswith(MAGIC):
        converted, cut = _converted(path, doing)
        file.close()
        return Source(converted, _stem(path) + ".json", "application/json", cut)
    if not head:
        raise TraceFileError(f"{path} is empty")
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise TraceFileError(f"{path} is a page of its own, not a trace: open it in a browser")
    file.seek(0)
    doing("reading …")
    if head.startswith(_GZIP):
        _check_compressed(path, file)
        return Source(file, _stem(path) + ".json.gz", "application/gzip", None)
    _check(path, _chunks(file))
    return Source(file, _stem(path) + ".json", "application/json", None)


def _stem(path: str) -> str:
    """The file's name without its extension, and without what means something in an address."""
    name = os.path.basename(path)
    for extension in (".ctrace", ".json", ".json.gz", ".gz"):
        if name.lower().endswith(extension):
            name = name[: -len(extension)]
            break
    return re.sub(r"[^\w .,()+@=-]", "_", name) or "trace"


def _converted(path: str, doing: Callable[[str], None]) -> tuple[BinaryIO, str | None]:
    """A trace of ours as Chrome JSON, in a file without a name, so that nothing is left whatever happens."""
    doing("reading …")
    raw = read(path)
    doing("converting …")
    content = export(build(raw))
    try:
        file = cast("BinaryIO", tempfile.TemporaryFile(prefix="conctrace-"))  # noqa: SIM115 (open while it is shown)
        file.write(content)
        file.flush()
    except OSError as error:
        raise TraceFileError(f"cannot write to {tempfile.gettempdir()}: {error.strerror}") from error
    return file, raw.cut


# A look at JSON ------------------------------------------------------------------------------------------------


def _check_compressed(path: str, file: BinaryIO) -> None:
    try:
        with gzip.open(file) as unpacked:
            _check(path, _chunks(cast("BinaryIO", unpacked)))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TraceFileError(f"{path} is cut or garbled: {error}") from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _check(path: str, chunks: Iterator[bytes]) -> None:
    """Raises TraceFileError unless this is a JSON object with trace events, whole, or a list of them.

    A list may lack its end: Chrome's format allows for that, so that a writer may be killed.
    """
    start = last = b""
    seam = b""
    found = False
    for chunk in chunks:
        if len(start) < 2:
            # The first two characters that are not blank: the list, and its first event.
            start = b"".join((start + chunk[:_HEAD_SIZE]).split())[:2]
        seam += chunk
        found = found or _EVENTS in seam
        seam = seam[-len(_EVENTS) :]
        last = chunk.rstrip()[-1:] or last
    if start in {b"[{", b"[]"}:
        return
    if not start.startswith(b"{") or not found:
        raise TraceFileError(f"{path} is no trace: neither conctrace's own nor Chrome JSON with trace events")
    if last != b"}":
        raise TraceFileError(f"{path} is cut: its JSON has no end")
