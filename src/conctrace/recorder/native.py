"""The native recorder: the C type `_recorder.Recorder`, and what it shares with its Python twin.

Importing this fails where the C module was not built, or refuses to serve this build of CPython.
"""

from __future__ import annotations

from . import _recorder
from .shared import Shared


class Recorder(Shared, _recorder.Recorder):
    """Everything that patches may call (`shared.Interface`). One per process; `alive` says whether it (still) records."""

    __slots__ = ()

    name = "native"
