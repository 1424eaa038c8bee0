"""`trace`: traces a part of a program from inside of it.

Entering starts a collector that is nobody's child (`collector.detached`) and does in this process what the start-up hook does
in one that ``conctrace run`` started; leaving puts everything back, and waits for the files. The program wins: it goes on
untraced where tracing cannot start, and without waiting where the files take long.

Where this process is traced already, by ``conctrace run`` or by a block around this one, there is nothing to start: what happens
inside is a *range* of that trace, and gets files of its own when that ends.

A child that is forked inside belongs to the same trace. If it leaves the block it puts back what it has replaced, and that is all:
the session is the parent's to end.
"""

from __future__ import annotations

import functools
import os
import select
import sys
import time
from contextlib import suppress

from . import exporters, outputs, recorder, sessions, settings
from ._stdlib import allocate_lock, getpid, monotonic_ns
from ._version import __version__
from .collector import detached
from .errors import ConctraceError, UsageError
from .events.layout import DETAILS
from .session import process, ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec, Protocol, TypeVar

    from .collector.launch import Collector

    P = ParamSpec("P")
    R = TypeVar("R")

    class _Part(Protocol):
        """What an entered block does when it is left."""

        def leave(self) -> None: ...


#: Leaving waits so long for the files.
PATIENCE_SECONDS = 10.0
#: The collector is gone so soon after the files are there, or something holds it up that is not for the program to wait for.
_GONE_SECONDS = 1.0

_entering = allocate_lock()


class trace:  # noqa: N801  # reads as a keyword: with conctrace.trace("out.json"):
    """Context manager and decorator: records what happens inside, and writes it to files, whose extensions say how.

    Without files, NAME.ctrace, NAME.trace.json and NAME.report.html are written to the current folder; NAME is `name`, else
    what the program is called. `detail`, `values` and `include` are those of ``conctrace run``. ConctraceError when the
    arguments cannot be served; nothing is started then.
    """

    def __init__(
        self, *files: str | os.PathLike[str], detail: str = DETAILS[0], values: bool = True, include: Iterable[str] = (),
        name: str | None = None,
    ) -> None:  # fmt: skip
        self._asked = [os.fspath(file) for file in files]
        self._detail = detail
        self._values = values
        self._include = list(include)
        self._name = name
        self._parts: list[_Part] = []
        #: absolute paths of the files to be written
        self.files: list[str] = []
        #: those that have been; of a range none is, before the trace around it ends
        self.written: list[str] = []
        #: whether all of them have been
        self.complete = False
        #: what the trace shows, in a few facts, as ``exporters.summary`` makes them; None as long as there is none
        self.summary: dict[str, Any] | None = None

    def __enter__(self) -> trace:  # noqa: PYI034  # typing.Self is not in 3.10
        self._check()
        name = self._name or _program_name()
        self.files, elsewhere = (outputs.asked_for(self._asked), "") if self._asked else outputs.by_default(name)
        self.written, self.complete, self.summary = [], False, None
        if elsewhere:
            say(f"the current folder cannot be written to; the trace goes to {elsewhere}")
        with _entering:
            self._parts.append(_Range(self, name) if recorder.current is not None else self._session(name))
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.pop().leave()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Each call of the function is a block."""
        if getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x2A0:
            raise TypeError("a coroutine or generator is suspended and resumed: use trace in a with statement")

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with trace(*self._asked, detail=self._detail, values=self._values, include=self._include, name=self._name):
                return function(*args, **kwargs)

        return call

    def _check(self) -> None:
        if self._detail not in DETAILS:
            raise UsageError(f"detail={self._detail!r}: choose from {', '.join(DETAILS)}")
        for word in self._include:
            if word not in exporters.INCLUDES:
                raise UsageError(f"include={word!r}: choose from {', '.join(exporters.INCLUDES)}")

    def _session(self, name: str) -> _Part:
        try:
            return _Session(self, self._plan(name))
        except (ConctraceError, OSError) as error:
            say(f"{error}; the program goes on untraced")
            return _Nothing()

    def _plan(self, name: str) -> sessions.Plan:
        system = os.uname()
        return sessions.Plan(
            command=_command(), cwd=os.getcwd(), outputs=self.files, fallback_name=name,
            wait_seconds=settings.DESCENDANTS_SECONDS, detail=self._detail, values=self._values, code=_code(),
            waiter_pid=getpid(), wall_ns=time.time_ns(), python=sys.version.split()[0], host=system.nodename,
            platform=f"{system.sysname} {system.release} {system.machine}", conctrace=__version__,
            include=self._include, inside=True,
        )  # fmt: skip


class _Nothing:
    """A block that could not be traced."""

    def leave(self) -> None: ...


class _Range:
    """A block inside of a trace."""

    def __init__(self, asked: trace, name: str) -> None:
        self._mark = ranges.begin(name, asked.files, asked._include)  # noqa: SLF001  # of this module
        if self._mark is None:
            say(f"recording has stopped, so {_listed(asked.files)} will not be written")

    def leave(self) -> None:
        if self._mark is not None:
            ranges.end(self._mark)


class _Session:
    """A block with a collector of its own."""

    def __init__(self, asked: trace, plan: sessions.Plan) -> None:
        self._asked = asked
        self._pid = getpid()
        self._folder, said = sessions.create_anywhere(plan)
        if said:
            say(said)
        self._before = os.environ.get(settings.SESSION_VARIABLE)
        try:
            self._collector = detached.start(self._folder)
        except BaseException:
            sessions.remove(self._folder)
            raise
        self._pipes = _identities(self._collector)
        try:
            self._collector.main_started(self._pid)
            process.start(self._folder)
        except BaseException:
            self._abandon()
            raise
        os.environ[settings.SESSION_VARIABLE] = self._folder

    def _abandon(self) -> None:
        """Nothing is recorded: the collector finds an empty session at its end, and is told not to wait for another."""
        process.stop()
        sessions.remove(self._folder)
        self._collector.main_ended(None, monotonic_ns())
        self._collector.close()

    def leave(self) -> None:
        process.stop()
        if self._before is None:
            os.environ.pop(settings.SESSION_VARIABLE, None)
        else:
            os.environ[settings.SESSION_VARIABLE] = self._before
        if getpid() != self._pid:
            return
        if self._pipes != _identities(self._collector):
            # The program has closed them, and may have put files of its own in their places.
            say(
                f"the program closed conctrace's descriptors; {_listed(self._asked.files)} will be written when it ends"
            )
            return
        self._collector.main_ended(None, monotonic_ns())
        try:
            self._wait()
        finally:
            self._collector.close()

    def _wait(self) -> None:
        """Until the collector is gone, or patience is."""
        try:
            done = self._read_until(monotonic_ns() + int(PATIENCE_SECONDS * 1e9))
        except KeyboardInterrupt:
            say(f"not waiting any longer; {_listed(self._asked.files)} will be there soon")
            raise
        if done is not None:
            self._take(done)
        elif self._collector.dead:
            say(f"the recording was interrupted; to see what there is: conctrace recover {self._folder}")
        else:
            say(f"{_listed(self._asked.files)} not written within {PATIENCE_SECONDS:.0f} s; will be there later")

    def _read_until(self, deadline: int) -> dict[str, Any] | None:
        poll = select.poll()
        poll.register(self._collector.results, select.POLLIN)
        done: dict[str, Any] | None = None
        while not self._collector.dead and (left := deadline - monotonic_ns()) > 0:
            poll.poll(left // 1_000_000 + 1)
            for event in self._collector.read_result():
                if event["event"] == "done":
                    done = event
                    deadline = min(deadline, monotonic_ns() + int(_GONE_SECONDS * 1e9))
        return done

    def _take(self, done: dict[str, Any]) -> None:
        self._asked.written = done["written"]
        self._asked.complete = not done["failed"]
        self._asked.summary = done["summary"] or None
        for failure in done["failed"]:
            say(f"cannot write {failure['path']}: {failure['error']}")
        if done["fallback"]:
            say(f"the trace is in {done['fallback']} instead")


def say(text: str) -> None:
    """A line to stderr, where there is one."""
    with suppress(Exception):
        sys.stderr.write(f"conctrace: {text}\n")
        sys.stderr.flush()


def _listed(files: list[str]) -> str:
    return ", ".join(map(os.path.basename, files))


def _identities(collector: Collector) -> list[tuple[int, int]] | None:
    """What the descriptors of both pipes are, so that they can be told from others of the same numbers."""
    try:
        found = [os.fstat(descriptor) for descriptor in (collector.commands, collector.results)]
    except OSError:
        return None
    return [(about.st_dev, about.st_ino) for about in found]


def _command() -> list[str]:
    """What the user ran, without the interpreter and its options."""
    words = sys.orig_argv[1:]
    while words and words[0].startswith("-") and words[0][:2] not in {"-m", "-c"}:
        # Of the options only these two have an argument of their own.
        del words[: 2 if words[0] in {"-W", "-X"} else 1]
    return words or ["python"]


def _code() -> str | None:
    """The source text of ``-c CODE``."""
    words = _command()
    return words[1] if words[0] == "-c" and len(words) > 1 else None


def _program_name() -> str:
    """As ``conctrace run`` calls it: the script's stem, the module's last part, python-c."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name.removesuffix(".__main__").rpartition(".")[2]) or "python"
    file = getattr(main, "__file__", None)
    if file:
        return os.path.splitext(os.path.basename(file))[0] or "python"
    return "python-c" if "-c" in sys.orig_argv else "python"
