"""The calls of the program's functions, recorded by viztracer's tracer (``run --functions``).

Of viztracer only `snaptrace`, its C part, is loaded, and in a way that the program does not notice: it would import
threading, multiprocessing, json and trio, and ask `threading.current_thread` for the name of a thread that has only just
begun, whereby threading makes a dummy Thread and counts it, so that the program's own ones get other names. So while it is
loaded, stand-ins lie where it looks for these.

The tracer keeps the calls in memory, the last `functions.KEPT`, and dumps them when the image ends: what ends without a
last word, by a signal or by exec, loses them. Which functions are wanted is decided by who reads the dump: the tracer can leave
out files, but with all that is called from there, which is the whole program where runpy or a thread runs it.

The program wins: as soon as it starts a profiler of its own, or viztracer, ours stops.
"""

from __future__ import annotations

import os
import sys

from .. import recorder as _recorder
from .._stdlib import OWN_FOLDER, STDLIB_FOLDER, getpid, monotonic_ns
from ..events import functions
from ..events.payload import pack_payload
from ..patches.disguise import disguised
from ..patches.patchset import PatchSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

#: From 3.12 on by `sys.monitoring`, before by the profile function of each thread.
_MONITORS = sys.hexversion >= 0x30C0000
#: `sys.monitoring.PROFILER_ID`, which viztracer takes; a second profiler is refused.
_PROFILER_ID = 2
#: A tracer takes one of the 1,024 keys that a process has for what belongs to a thread, and none is ever given back.
_MOST_TRACERS = 256
#: A dump of all that is kept is not larger.
_LARGEST_DUMP = 256 * 1024 * 1024
#: Of so many readings of both clocks the nearest two count.
_READINGS = 20
#: viztracer finds the relation of its clock to ours by 1,000 readings at each end, which scatter so much.
_SCATTER_NS = 100

_PROFILER = "it used a profiler of its own, so its calls were recorded only until then"
_patched = PatchSet()


class _Named:
    """A thread, or a process; who they are the recorder knows."""

    name = ""


class _StandIn:
    """For threading, multiprocessing and json, as far as the tracer uses them."""

    def __init__(self) -> None:
        #: 3.10 and 3.11: makes the tracer the profile function of the thread that calls it
        self.hook: Any = None

    @staticmethod
    def current_thread() -> type[_Named]:
        return _Named

    @staticmethod
    def current_process() -> type[_Named]:
        return _Named

    def setprofile(self, hook: Any) -> None:
        before, self.hook = self.hook, hook
        threading = sys.modules.get("threading")
        if threading is not None:
            self.profile_threads(threading, before)

    def profile_threads(self, threading: Any, before: Any = None) -> None:
        """Have new threads traced, unless the program has them profiled otherwise."""
        if not _MONITORS and getattr(threading, "_profile_hook", before) in (None, before):
            threading.setprofile(self.hook)


class _Layer:
    """The tracer of this process; in a forked child it is begun anew."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stand_in = _StandIn()
        self._kind: Any = None
        self._tracer: Any = None
        #: earlier ones: what they kept belongs to the image that forked this one
        self._old: list[Any] = []
        self._pid = getpid()
        self._reason = ""
        self._said = False
        self._cwd = _cwd()

    def begin(self) -> None:
        """Record from now on."""
        try:
            self._check()
            if self._kind is None:
                self._kind = _load(self._stand_in).Tracer
            self._trace()
        except Exception as error:
            self._tracer = None
            self._reason = f"viztracer could not be started: {error}"

    def _check(self) -> None:
        # It would dereference a null pointer for a file whose name is no UTF-8.
        "".join((*sys.orig_argv, *sys.path, self._cwd)).encode()
        if _MONITORS and sys.monitoring.get_tool(_PROFILER_ID) is not None:  # type: ignore[attr-defined,unused-ignore]
            raise OSError("there is a profiler already")

    def _trace(self) -> None:
        tracer = self._kind(functions.KEPT)
        tracer.ignore_c_function = True
        tracer.max_stack_depth = -1
        # By another file name its own functions would not be recorded; that look-up is not needed for each call.
        tracer.trace_self = True
        tracer.start()
        self._tracer = tracer

    def begin_in_child(self) -> None:
        """Leave the parent's calls to the parent, and go on with a tracer of this image's own."""
        self._pid, self._said = getpid(), False
        if self._tracer is None:
            return
        taken = self._is_taken()
        self._stop()
        if taken:
            self._reason = _PROFILER
        elif len(self._old) >= _MOST_TRACERS:
            self._reason = f"it is the {len(self._old)}th fork of a fork, which is too deep for viztracer"
        else:
            self.begin()

    def give_up(self, reason: str) -> None:
        """The program needs what the tracer uses: say what there is, and stop for good."""
        if self._tracer is not None:
            self._reason = reason
            self.finish()

    def finish(self) -> None:
        """The image ends: write its calls to the session's folder. A second call does nothing."""
        if self._said or self._pid != getpid():
            return  # or this is a child that nobody told of the fork, and these are its parent's calls
        self._said = True
        try:
            self._write()
        except Exception:  # no room, no permission: the collector says that there are none
            pass

    def _write(self) -> None:
        recorder = _recorder.current
        if recorder is None or not recorder.alive:
            self._stop()
            return
        path = f"{self._folder}/{functions.file_name(recorder.nonce)}"
        error_ns = 0
        if self._tracer is not None:
            error_ns = self._dump(path + ".new")
        facts = (error_ns, self._reason, STDLIB_FOLDER, OWN_FOLDER, self._cwd, "\n".join(sys.path))
        packed = pack_payload(facts)
        with open(path + ".new", "ab", buffering=0) as file:
            file.write(packed + len(packed).to_bytes(4, "little"))
        os.rename(path + ".new", path)

    def _dump(self, path: str) -> int:
        """Stops the tracer and writes what it has kept; returns by how much its stamps may be wrong."""
        tracer, taken = self._tracer, self._is_taken()
        self._reason = self._reason or (_PROFILER if taken else "")
        self._stop()
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < _LARGEST_DUMP:
            self._reason = "there was not enough room on the disk for its calls"
            return 0
        error_ns = _clock_error(tracer)
        tracer.dump(path)
        return error_ns

    def _stop(self) -> None:
        """Stops the tracer; functions that have not returned end now."""
        if self._tracer is None:
            return
        # To stop it would take the program's profile function away; and when its functions ended nobody knows.
        if not self._is_taken():
            self._tracer.stop("flush_as_finish")
        # Never freed: it may be in use by another thread.
        self._old.append(self._tracer)
        self._tracer = None

    def _is_taken(self) -> bool:
        """Whether the program has set a profile function in place of ours; from 3.12 on both can be."""
        return not _MONITORS and sys.getprofile() is not self._tracer

    # What the program does ----------------------------------------------------------------------------------

    def find_spec(self, name: str, _path: Any, _target: Any = None) -> None:
        """As a finder of modules: it finds none, but hears that the program imports viztracer."""
        if name == "viztracer":
            self.give_up("it used viztracer itself, so its calls were recorded only until then")

    def watch(self) -> None:
        """From now on, hear of what the program does."""
        sys.meta_path.insert(0, self)
        if _MONITORS:
            _patched.wrap(sys.monitoring, "use_tool_id", self._use_tool_id)  # type: ignore[attr-defined,unused-ignore]

    def exits(self, original: Any) -> Any:
        """`os._exit`, after which no function that was registered for the exit is called."""

        def _exit(*args: Any, **kwargs: Any) -> None:
            self.finish()
            original(*args, **kwargs)

        return _exit

    def meet_threading(self, threading: ModuleType) -> None:
        """The program has imported threading."""
        if self._stand_in.hook is not None:
            self._stand_in.profile_threads(threading)

    def _use_tool_id(self, original: Any) -> Any:
        def use_tool_id(*args: Any, **kwargs: Any) -> Any:
            if args and args[0] == _PROFILER_ID:
                self.give_up(_PROFILER)
            return original(*args, **kwargs)

        return use_tool_id


def begin(folder: str, when_imported: dict[str, Callable[[ModuleType], None]]) -> None:
    """Record the calls of this process, and of those that it forks, into the session's folder.

    What is to be done `when_imported`, a module by its name, is added to.
    """
    import atexit

    layer = _Layer(folder)
    layer.begin()
    layer.watch()
    when_imported["threading"] = layer.meet_threading
    os.register_at_fork(after_in_child=layer.begin_in_child)
    _patched.replace(os, "_exit", disguised(layer.exits(os._exit), os._exit, "os:_exit"))
    atexit.register(layer.finish)


def _load(stand_in: _StandIn) -> Any:
    """A module `snaptrace` of our own; the program's import of viztracer will make another."""
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import ExtensionFileLoader, PathFinder

    package = PathFinder.find_spec("viztracer")
    if package is None or not package.submodule_search_locations:
        raise ImportError("it is not installed for this Python (pip install viztracer)")
    found = PathFinder.find_spec("snaptrace", package.submodule_search_locations)
    if found is None or not isinstance(found.loader, ExtensionFileLoader) or found.origin is None:
        raise ImportError("it has no C part")
    name = f"{__name__}.snaptrace"
    loader = ExtensionFileLoader(name, found.origin)
    saved = {name: sys.modules.get(name) for name in ("threading", "multiprocessing", "json", "trio")}
    sys.modules.update(dict.fromkeys(saved, stand_in))  # type: ignore[arg-type]  # anything can be a module
    sys.modules["trio"] = None  # type: ignore[assignment]  # this is how a module is said not to be there
    try:
        module = loader.create_module(ModuleSpec(name, loader, origin=found.origin))
        loader.exec_module(module)
    finally:
        for each, module_before in saved.items():
            if module_before is None:
                del sys.modules[each]
            else:
                sys.modules[each] = module_before
        sys.modules.pop(name, None)
    # Never freed: it would free what it shares with the module that the program's own import of viztracer makes.
    import _ctypes

    _ctypes.Py_INCREF(module)
    return module


def _clock_error(tracer: Any) -> int:
    """How far the tracer's clock may be from CLOCK_MONOTONIC: read side by side, now that it is calibrated."""
    tracer.getts()
    best = error = 1 << 62
    for _ in range(_READINGS):
        before = monotonic_ns()
        stamp = round(tracer.getts() * 1000)
        after = monotonic_ns()
        if after - before < best:
            best, error = after - before, abs(stamp - (before + after) // 2)
    return error + best // 2 + _SCATTER_NS


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
