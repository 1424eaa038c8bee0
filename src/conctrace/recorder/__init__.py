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


def _chosen() -> Callable[[str, int], Interface]:
    """The native one where it is there, unless the other is asked for."""
    if recorder_choice() != "python":
        try:
            from . import native
        except ImportError:
            pass
        else:
            return native.Recorder
    from . import python

    return python.Recorder
