"""The recorder: the one part of conctrace that runs all the time inside the traced program.

`start` chooses between the native recorder and its Python twin and says which it took; everything else in the
process finds the running one in `current`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .python import Recorder

#: The recorder of this process, once it runs.
current: Recorder | None = None


def start(folder: str, role: int = 0) -> Recorder:
    """Start recording into the session's folder; raises OSError when that cannot be."""
    global current
    from .python import Recorder

    current = Recorder(folder, role)
    return current
