"""The start-up hook: imported by ``conctrace-startup.pth`` in every Python that has CONCTRACE_SESSION set.

site runs the lines of .pth files twice in a virtual environment; a module runs once. Whatever goes wrong here, the program
starts as without us.
"""

from __future__ import annotations

import sys

from ..settings import session_folder


def _role() -> int | None:
    """Index into `layout.ROLES`, by the command line; None for a process that is not to be recorded at all."""
    code = sys.orig_argv[sys.orig_argv.index("-c") + 1] if "-c" in sys.orig_argv[:-1] else ""
    if code.startswith("from multiprocessing.resource_tracker import main"):
        return None
    return int(code.startswith("from multiprocessing.forkserver import main"))


def _start() -> None:
    folder = session_folder()
    role = _role()
    if folder is None or role is None:
        return
    from .process import start

    start(folder, role)


try:
    _start()
except Exception:  # the program wins; that the hook did not run is seen by its missing live page
    pass
