"""The session folder: where one run's processes meet, and what is left of it when a collector dies.

A session is made by ``conctrace run`` before anything else starts: a folder that only its user can enter, in it
the control page that every traced process maps, and `Plan`, what was asked for, as ``session.json``. The
collector holds an OFD lock on the control page for as long as it lives. The kernel gives it up however the
collector ends, so "is this session in use" has one true answer that needs no pid and no clean-up.

The waiter imports this before it starts the target: no dataclasses, no tempfile, no shutil.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct

from . import settings
from .errors import SessionError
from .events import layout, schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PLAN_FILE = "session.json"
TRACE_FILE = "trace.ctrace"
LOG_FILE = "collector.log"

# A Python built against an older libc has no names for these; the kernel's numbers are the same everywhere.
_OFD_GETLK = getattr(fcntl, "F_OFD_GETLK", 36)
_OFD_SETLK = getattr(fcntl, "F_OFD_SETLK", 37)
_FLOCK = struct.Struct("hhqqi4x")


class Plan:
    """What was asked for: everything the collector, the writer and ``recover`` need to know of a run."""

    __slots__ = (
        "code", "command", "conctrace", "cwd", "detail", "fallback_name", "functions", "host", "include", "inside", "outputs",
        "platform", "python",
        "values", "wait_seconds", "waiter_pid", "wall_ns",
    )  # fmt: skip

    def __init__(
        self,
        *,
        command: list[str],
        cwd: str,
        outputs: list[str],
        fallback_name: str,
        wait_seconds: float | None,
        detail: str,
        values: bool,
        code: str | None,
        waiter_pid: int,
        wall_ns: int,
        python: str,
        host: str,
        platform: str,
        conctrace: str,
        include: list[str],
        inside: bool = False,
        functions: list[str] | None = None,
    ) -> None:
        #: what the user asked to run, as shown to people
        self.command = command
        self.cwd = cwd
        #: absolute paths of the files to write at the end
        self.outputs = outputs
        #: name for what goes to the temp folder when writing fails
        self.fallback_name = fallback_name
        #: how long to wait for descendants after the main process ended; None: for ever
        self.wait_seconds = wait_seconds
        #: one of `layout.DETAILS`
        self.detail = detail
        self.values = values
        #: source text of ``-c CODE``
        self.code = code
        self.waiter_pid = waiter_pid
        self.wall_ns = wall_ns
        self.python = python
        self.host = host
        self.platform = platform
        self.conctrace = conctrace
        #: what a report may tell beyond the usual (`exporters.INCLUDES`)
        self.include = include
        #: made by `conctrace.trace`: the main process is the one that asked, and it goes on when all is over
        self.inside = inside
        #: patterns of the functions whose calls are recorded; empty: the program's own and its packages'; None: no calls
        self.functions = functions

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON keeps it."""
        return {name: getattr(self, name) for name in self.__slots__}


def create(plan: Plan, root: str | None = None) -> str:
    """Makes a session folder with its control page and plan; returns its path."""
    root = os.path.abspath(root or settings.sessions_root())
    _make_root(root)
    folder = _make_unique(root, f"{plan.fallback_name}-{plan.waiter_pid}")
    try:
        _write_new(os.path.join(folder, layout.CONTROL_FILE), _control_page(plan))
        _write_new(os.path.join(folder, PLAN_FILE), json.dumps(plan.as_dict()).encode())
        if plan.functions is not None:
            _write_new(os.path.join(folder, settings.FUNCTIONS_FILE), b"")
    except OSError as error:
        remove(folder)
        raise SessionError(
            f"cannot record to {root}: {error.strerror}; {settings.DIR_VARIABLE} names another folder for it"
        ) from error
    return folder


def create_anywhere(plan: Plan) -> tuple[str, str]:
    """The same; in the temp folder where the usual place cannot be written to, with a sentence that says so."""
    try:
        return create(plan), ""
    except (SessionError, OSError) as error:
        if os.environ.get(settings.DIR_VARIABLE):
            # Chosen by the user, who had better know.
            raise
        root = root_in_temp()
        return create(plan, root), f"{error}; using {root}"


def root_in_temp() -> str:
    """Where sessions are made when the usual place cannot be written to."""
    # Python's own tempfile knows more places, and costs 15 ms to import.
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"conctrace-{os.geteuid()}")  # noqa: S108 (0700, and checked to be ours)


def load(folder: str) -> Plan:
    """The plan of a session; SessionError when the folder is none."""
    try:
        with open(os.path.join(folder, PLAN_FILE), encoding="utf-8") as file:
            return Plan(**json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise SessionError(f"{folder} is not a session of conctrace: {error}") from error


def leftovers(root: str | None = None) -> list[str]:
    """Session folders below `root` whose collector is gone and that hold something, oldest first."""
    root = os.path.abspath(root or settings.sessions_root())
    try:
        folders = [entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(filter(_is_leftover, folders), key=lambda folder: os.stat(folder).st_ctime_ns)


def remove(folder: str) -> None:
    """Removes a session folder with all that is in it; silently, as far as that is possible."""
    # Renamed first: a process that still runs and knows the old path can't put new files into it meanwhile.
    gone = os.path.join(os.path.dirname(folder), f".{os.path.basename(folder)}.gone")
    try:
        os.rename(folder, gone)
    except OSError:
        gone = folder
    try:
        for entry in list(os.scandir(gone)):
            os.unlink(entry.path)
        os.rmdir(gone)
    except OSError:
        pass


def open_control(folder: str) -> int:
    """A descriptor of the session's control page, for reading, writing and locking."""
    try:
        return os.open(os.path.join(folder, layout.CONTROL_FILE), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SessionError(f"{folder} is not a session of conctrace: {error.strerror}") from error


def take_control(folder: str) -> int:
    """The same, locked: for the session's collector, of which there is one; SessionError where it has one already."""
    control = open_control(folder)
    if not lock(control):
        os.close(control)
        raise SessionError(f"{folder} already has a collector")
    return control


def lock(descriptor: int) -> bool:
    """Takes the OFD lock on a whole file, unless somebody has it; it goes with the last copy of the descriptor."""
    try:
        fcntl.fcntl(descriptor, _OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return False
    return True


def is_locked(descriptor: int) -> bool:
    """Whether somebody else holds the OFD lock."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = fcntl.fcntl(descriptor, _OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _make_root(root: str) -> None:
    try:
        os.makedirs(os.path.dirname(root), exist_ok=True)
        if not os.path.isdir(root):
            os.mkdir(root, 0o700)
        owner = os.stat(root).st_uid
    except OSError as error:
        raise SessionError(
            f"cannot make {root} for the session's files: {error.strerror}; set {settings.DIR_VARIABLE} to a folder of yours"
        ) from error
    if owner != os.geteuid():
        raise SessionError(
            f"{root} belongs to another user (uid {owner}); set {settings.DIR_VARIABLE} to a folder of yours"
        )


def _make_unique(root: str, stem: str) -> str:
    while True:
        folder = os.path.join(root, f"{stem}-{os.urandom(3).hex()}")
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise SessionError(f"cannot make a session folder in {root}: {error.strerror}") from error
        return folder


def _control_page(plan: Plan) -> bytes:
    page = layout.CONTROL.pack(
        layout.CONTROL_MAGIC, schema.SCHEMA_VERSION, layout.ABI_VERSION, 1, layout.DETAILS.index(plan.detail), 0, 0,
        settings.UNDRAINED_PER_PROCESS, settings.UNDRAINED_PER_SESSION, 0, plan.values,
    )  # fmt: skip
    return page.ljust(layout.PAGE, b"\0")


def _write_new(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _is_leftover(folder: str) -> bool:
    try:
        names = os.listdir(folder)
        if PLAN_FILE not in names or not any(name == TRACE_FILE or name.endswith(".live") for name in names):
            return False
        control = open_control(folder)
    except (OSError, SessionError):
        return False
    try:
        return not is_locked(control)
    finally:
        os.close(control)
