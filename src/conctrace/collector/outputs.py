"""Makes the files that were asked for from a finished trace file, and loses nothing whatever goes wrong.

The trace file itself goes first; from then on an exporter may fail, a disk may be full: what cannot be written
where it was asked for goes into a folder of its own in the temp folder, and if an exporter fails where no
``.ctrace`` was asked for, the trace goes there too. Every file appears whole or not at all.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ..errors import ConctraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..model.trace import Range, Trace
    from ..sessions import Plan

_TRACE = ".ctrace"


class Result:
    """What became of the outputs."""

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.written: list[str] = []
        self.failed: list[dict[str, str]] = []
        #: the folder in the temp folder that has what could not be written where it should
        self.fallback: str | None = None
        #: True when nothing of the run is in the session folder alone
        self.safe = False

    def as_dict(self) -> dict[str, Any]:
        """As the waiter gets it."""
        return {name: getattr(self, name) for name in ("summary", "written", "failed", "fallback")}


def modules_for(outputs: list[str]) -> Iterator[str]:
    """Names of the modules that `export` and the search for names will import for these outputs, first needed first."""
    from ..exporters import format_for

    package = __package__.rpartition(".")[0]
    yield f"{package}.tracefile.reader"
    yield f"{package}.model.builder"
    yield f"{package}.exporters.summary"
    for path in outputs:
        module = format_for(path).module
        if module is not None:
            yield f"{package}.exporters.{module}"
    yield f"{package}.tracefile.source_names"
    yield "tokenize"


def export(path: str, plan: Plan) -> Result:
    """Writes every output of the plan from the trace file at `path`, which is moved away if that is one of them."""
    return _Outputs(path, plan).run()


class _Outputs:
    def __init__(self, path: str, plan: Plan) -> None:
        self._path = path
        self._plan = plan
        self._result = Result()
        self._saved = False

    def run(self) -> Result:
        traces = [path for path in self._plan.outputs if path.lower().endswith(_TRACE)]
        others = [path for path in self._plan.outputs if path not in traces]
        # Read from where it is now, before it goes: moving costs nothing, copying a large one does.
        trace = self._guard(self._path, self._build)
        for output in traces:
            self._write(output, lambda temporary: _copy(self._path, temporary))
        for output in others:
            self._export(output, trace)
        for part in trace.ranges if trace is not None else ():
            self._export_range(trace, part)
        if not self._saved and (self._result.failed or not self._result.written):
            self._save_trace()
        self._result.safe = self._saved or not self._result.failed
        return self._result

    def _build(self) -> Trace:
        from ..exporters.summary import summary
        from ..model.builder import build
        from ..tracefile.reader import read

        trace = build(read(self._path))
        self._result.summary = summary(trace)
        return trace

    def _export(self, output: str, trace: Trace | None) -> None:
        if trace is None:
            self._fail(output, "the trace could not be read")
            return
        content = self._guard(output, lambda: _exported(output, trace, frozenset(self._plan.include)))
        if content is not None:
            self._write(output, lambda temporary: write_file(temporary, content))

    def _export_range(self, trace: Trace, part: Range) -> None:
        """The files of a block of `conctrace.trace` inside of this run."""
        from ..model.ranges import clip

        end = trace.facts.end if part.end is None else part.end
        clipped = self._guard(part.name, lambda: clip(trace, part.start, end, part.name))
        for output in part.files:
            if output.lower().endswith(_TRACE):
                self._write(output, lambda temporary: _copy_part(self._path, temporary, part, end))
            elif clipped is not None:
                content = self._guard(output, lambda: _exported(output, clipped, frozenset(part.include)))  # noqa: B023
                if content is not None:
                    self._write(output, lambda temporary: write_file(temporary, content))  # noqa: B023

    def _write(self, output: str, fill: Callable[[str], Any]) -> None:
        """Writes one file where it should be, else in the fallback folder."""
        try:
            write_whole(output, fill)
            self._result.written.append(output)
        except OSError as error:
            self._fail(output, error.strerror or str(error))
            if not self._write_fallback(os.path.basename(output), fill):
                return
        self._saved = self._saved or output.lower().endswith(_TRACE)

    def _save_trace(self) -> None:
        name = self._plan.fallback_name + _TRACE
        self._saved = self._write_fallback(name, lambda temporary: _copy(self._path, temporary))

    def _write_fallback(self, name: str, fill: Callable[[str], Any]) -> bool:
        import tempfile

        try:
            if self._result.fallback is None:
                self._result.fallback = tempfile.mkdtemp(prefix=f"{self._plan.fallback_name}-")
            write_whole(os.path.join(self._result.fallback, name), fill)
        except OSError as error:
            self._fail(self._result.fallback or "the temp folder", error.strerror or str(error))
            return False
        return True

    def _guard(self, output: str, make: Callable[[], Any]) -> Any:
        """What `make` gives; None, and a failure noted, when one of our own functions is broken."""
        try:
            return make()
        except ConctraceError as error:
            self._fail(output, str(error))
        except Exception as error:  # noqa: BLE001  # a broken exporter must not take the others' files with it
            from .launch import log_failure

            log_failure(os.path.dirname(self._path), f"making {output}")
            self._fail(output, f"conctrace failed: {_where(error)}")
        return None

    def _fail(self, path: str, error: str) -> None:
        self._result.failed.append({"path": path, "error": error})


def _exported(output: str, trace: Trace, include: frozenset[str]) -> bytes:
    from ..exporters import format_for

    exporter = format_for(output).export
    assert exporter is not None
    return exporter(trace, include)


def write_whole(path: str, fill: Callable[[str], Any]) -> None:
    """Fills a temporary file beside `path`, and puts it there when it is whole; through symlinks."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        # A pipe or a device cannot be replaced.
        fill(path)
        return
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        fill(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _copy(source: str, path: str) -> None:
    import shutil

    shutil.copyfile(source, path)


def _copy_part(source: str, path: str, part: Range, end: int) -> None:
    """The whole trace, and which part of it is asked for: whoever reads it shows that alone."""
    from ..tracefile.writer import TraceWriter

    _copy(source, path)
    file = TraceWriter(path, resume_at=os.path.getsize(path))
    file.write_part(part.name, part.start, end)
    file.close()


def write_file(path: str, content: bytes) -> None:
    """Writes one file."""
    with open(path, "wb") as file:
        file.write(content)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _where(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno})" if frame else ""
    return f"{type(error).__name__}: {error}{place}"
