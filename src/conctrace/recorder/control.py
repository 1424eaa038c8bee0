"""The session's control page, as a traced process sees it: is recording on, and is there still a collector?"""

from __future__ import annotations

from ..events import layout
from ..events.schema import SCHEMA_VERSION
from .linux import collector_is_alive, open_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Control:
    """The mapped control page."""

    __slots__ = ("_path", "_view", "detail", "flags", "per_process", "per_session", "values")

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/{layout.CONTROL_FILE}"
        self._view: Any = memoryview(open_mapped(self._path, layout.PAGE)).cast("B")
        (
            magic, schema, abi, _on, self.detail, _snapshot, _collector, self.per_process, self.per_session, _undrained,
            values,
        ) = layout.CONTROL.unpack_from(self._view)  # fmt: skip
        if (magic, schema, abi) != (layout.CONTROL_MAGIC, SCHEMA_VERSION, layout.ABI_VERSION):
            raise OSError(f"{self._path} is of another version of conctrace")
        self.values = bool(values)
        #: ``flags[layout.CONTROL_ON_OFFSET]`` is 0 once the session is over.
        self.flags: Any = self._view

    def session_is_full(self) -> bool:
        """Whether the session has more undrained bytes than it may."""
        at = layout.CONTROL_UNDRAINED_OFFSET
        return bool(int.from_bytes(self._view[at : at + 8], "little") > self.per_session)

    def no_collector(self) -> str:
        """Why nobody will ever read what we write, empty when somebody will; a system call or three, so not for each record.

        Raises OSError when that cannot be known right now: no descriptor is free, or no permission.
        """
        try:
            return "" if collector_is_alive(self._path) else "the collector is gone"
        except (FileNotFoundError, NotADirectoryError):  # the session is over; or it is not, but we are in a chroot
            return "the session's folder is gone or out of reach"
