"""The native recorder: the C type `_recorder.Recorder`, and what it shares with its Python twin.

Importing this fails where the C module was not built, or refuses to serve this build of CPython.
"""

from __future__ import annotations

from . import _recorder
from .shared import Shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Recorder(Shared, _recorder.Recorder):
    """Everything that patches may call (`shared.Interface`). One per process; `alive` says whether it (still) records."""

    name = "native"

    def __init__(self, folder: str, role: int = 0) -> None:
        """Start recording into the session's folder; raises OSError when that cannot be."""
        self._objects: dict[int, Any] = {}
        super().__init__(folder, role)
