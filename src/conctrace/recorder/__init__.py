"""The recorder: the one part of conctrace that runs all the time inside the traced program.

`start` chooses between the native recorder and its Python twin; everything else in the process finds the running one in
`current`, and knows of it what `shared.Interface` says.
"""

from __future__ import annotations

from ..settings import recorder_choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .shared import Interface

#: The recorder of this process, once it runs.
current: Interface | None = None


def start(folder: str, role: int = 0) -> Interface:
    """Start recording into the session's folder; raises OSError when that cannot be."""
    global current
    current = _chosen()(folder, role)
    return current


def stop() -> None:
    """Record no more in this process; `start` may begin another session."""
    global current
    running, current = current, None
    if running is not None:
        running.stop()


def _chosen() -> Callable[[str, int], Interface]:
    """The native one where it is there, unless the other is asked for; raises OSError in a sub-interpreter."""
    if recorder_choice() != "python":
        try:
            from . import native
        except ImportError:
            pass
        else:
            return native.Recorder  # which sees for itself that this is the main interpreter
    if not _is_main_interpreter():
        raise OSError("sub-interpreters are not recorded")
    from . import python

    return python.Recorder


def _is_main_interpreter() -> bool:
    """Sub-interpreters have modules of their own, so this would start a second recorder in the process."""
    try:
        import _interpreters as interpreters  # type: ignore[import-not-found,unused-ignore]  # 3.13
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return True
    main, current = interpreters.get_main(), interpreters.get_current()
    if isinstance(main, tuple):  # 3.13 adds whence they came
        main, current = main[0], current[0]
    return bool(main == current)
