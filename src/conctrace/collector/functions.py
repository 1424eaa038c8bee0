"""From what viztracer dumped in a traced process to the calls that go into the trace: read, and chosen by the patterns.

A dump has up to a million calls, 130 bytes each, so it is mapped and read call by call.
"""

from __future__ import annotations

import mmap
import os
import re
from contextlib import suppress
from fnmatch import fnmatchcase

from ..events import functions as left
from ..events.payload import unpack_payload
from ..tracefile.calls import PART, Calls, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..events.ids import Nonce
    from ..tracefile.calls import Function

#: A call as `snaptrace.c` prints it: thread, start and duration in µs with three decimals, name.
_CALL = re.compile(
    rb'"tid":(\d+),"ts":(\d+)\.(\d{3}),"ph":"X","cat":"fee","dur":(\d+)\.(\d{3}),"name":"(.*?) \(([^"]*|(?:[^"\\]|\\.)*):(\d+)\)"\}',
    re.DOTALL,
)
#: The name of a function of ours that seems to stand in the program's source (`patches.fork`).
_OWN = "<conctrace>"
_END = re.compile(rb'"viztracer_metadata": \{"overflow":(true|false)')


def parts(folder: str, nonce: Nonce, patterns: list[str]) -> Iterator[bytes]:
    """The calls that an image left, as parts for the trace file; nothing when it left none, not even that it had none."""
    try:
        with open(os.path.join(folder, left.file_name(nonce)), "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return
    with data:
        for part, calls in enumerate(_parts(data, patterns)):
            yield encode(calls, part)


def unlink(folder: str, nonce: Nonce) -> None:
    """Removes what an image left."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, left.file_name(nonce)))


def _parts(data: mmap.mmap, patterns: list[str]) -> Iterator[Calls]:
    size = int.from_bytes(data[-4:], "little")
    end = len(data) - 4 - size
    facts = dict(zip(left.FACTS, unpack_payload(data[end:-4]), strict=True))
    last = _END.search(data, max(0, end - 200), end)
    about = {
        "error_ns": int(facts["error_ns"]),
        "reason": facts["reason"],
        "overflow": last is not None and last[1] == b"true",
        "cut": end > 0 and last is None,
    }
    wanted = Wanted(patterns, facts["stdlib"], facts["own"], facts["cwd"], facts["path"].split("\n"))
    reading = _Reading(wanted)
    for found in _CALL.finditer(data, 0, end):
        reading.take(*found.groups())
        if len(reading.calls) == PART:
            yield reading.part(about)
    yield reading.part(about)


class _Reading:
    """The calls read since the last part."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        #: what stands in the dump → the function, None for one that is not wanted
        self._known: dict[tuple[bytes, bytes, bytes], Function | None] = {}
        self._begin()

    def _begin(self) -> None:
        self.calls = Calls()
        self._functions: dict[Function, int] = {}
        self._threads: dict[bytes, int] = {}

    def take(
        self, thread: bytes, us: bytes, ns: bytes, long_us: bytes, long_ns: bytes, name: bytes, file: bytes, line: bytes
    ) -> None:
        key = name, file, line
        if key not in self._known:
            self._known[key] = self._function(*key)
        function = self._known[key]
        if function is None:
            return
        calls = self.calls
        calls.start.append(int(us + ns))
        calls.duration.append(int(long_us + long_ns))
        calls.function.append(self._functions.setdefault(function, len(self._functions)))
        calls.thread.append(self._threads.setdefault(thread, len(self._threads)))

    def _function(self, name: bytes, file: bytes, line: bytes) -> Function | None:
        path = re.sub(rb"\\(.)", rb"\1", file).decode("utf-8", "backslashreplace")
        function = name.decode("utf-8", "backslashreplace"), path, int(line)
        return function if self._wanted.has(function[0], path) else None

    def part(self, about: dict[str, object]) -> Calls:
        calls = self.calls
        calls.facts = about
        calls.functions, calls.threads = list(self._functions), [int(thread) for thread in self._threads]
        self._begin()
        return calls


class Wanted:
    """Which functions: those that a pattern matches; without any, all but the standard library's."""

    def __init__(self, patterns: list[str], stdlib: str, own: str, cwd: str, path: list[str]) -> None:
        self._patterns = patterns
        self._stdlib = stdlib
        self._own = own
        self._cwd = cwd.rstrip("/") + "/"
        self._path = sorted((entry.rstrip("/") + "/" for entry in path if entry), key=len, reverse=True)
        self._files: dict[str, tuple[str, ...]] = {}

    def has(self, name: str, file: str) -> bool:
        """Whether the calls of a function are wanted; conctrace's own never are."""
        if file.startswith(self._own) or name == _OWN:
            return False
        if not self._patterns:
            return not self._is_stdlib(file)
        if file not in self._files:
            self._files[file] = tuple(self._names_of(file))
        module, *paths = self._files[file]
        names = (name, module, f"{module}.{name}", *paths)
        return any(
            fnmatchcase(module, f"{pattern}.*") or any(fnmatchcase(each, pattern) for each in names)
            for pattern in self._patterns
        )

    def _is_stdlib(self, file: str) -> bool:
        if file.startswith("<frozen "):
            return True
        return file.startswith(self._stdlib) and "/site-packages/" not in file and "/dist-packages/" not in file

    def _names_of(self, file: str) -> Iterator[str]:
        """The module in this file, as far as ``sys.path`` tells, and its paths."""
        base = next((entry for entry in self._path if file.startswith(entry)), "")
        module = file.removeprefix("<frozen ").removesuffix(">") if file.startswith("<frozen ") else file[len(base) :]
        yield module.removesuffix(".py").removesuffix("/__init__").replace("/", ".").strip(".")
        yield file
        yield file.removeprefix(self._cwd)
