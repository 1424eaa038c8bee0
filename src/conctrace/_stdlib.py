"""The originals of everything that conctrace replaces, bound once, before anything is replaced.

The tracer never uses what it patches: whatever the recorder, the patches or the session need of these, they
take from here. Only modules that a bare Python start has loaded already may be imported.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

allocate_lock = _thread.allocate_lock
start_new_thread = _thread.start_new_thread
get_ident = _thread.get_ident
get_native_id = _thread.get_native_id
ThreadLocal = _thread._local
LockType = _thread.LockType
RLockType = _thread.RLock
TIMEOUT_MAX = _thread.TIMEOUT_MAX

getpid = os.getpid
posix_spawn = os.posix_spawn
waitpid = os.waitpid
getppid = os.getppid

monotonic_ns = time.monotonic_ns
time_ns = time.time_ns
thread_time_ns = time.thread_time_ns
sleep = time.sleep

getframe = sys._getframe

#: Folder of the standard library's Python sources, with a slash at its end.
STDLIB_FOLDER = os.path.dirname(os.__file__) + "/"
#: Folder of conctrace itself, with a slash at its end.
OWN_FOLDER = os.path.dirname(__file__) + "/"
_SITE_FOLDERS = ("/site-packages/", "/dist-packages/")

_is_library: dict[str, bool] = {}


def is_library_file(filename: str) -> bool:
    """Whether code of this file is the standard library's (or conctrace's own), not the user's."""
    known = _is_library.get(filename)
    if known is None:
        known = filename.startswith(("<frozen ", OWN_FOLDER)) or (
            filename.startswith(STDLIB_FOLDER) and not any(part in filename for part in _SITE_FOLDERS)
        )
        _is_library[filename] = known
    return known


def is_library(frame: FrameType | None) -> bool:
    """The same of the code in a frame; no frame at all is the user's: C code that the user set to call something."""
    return frame is not None and is_library_file(frame.f_code.co_filename)
