"""Interned places: call sites and stacks become numbers, their texts are recorded once.

A site's key is (address of the code object, index of the instruction): cheap to take on every lock operation.
It is only valid while the code object lives, so the table keeps a reference to each code object it knows
(2,000 exec'd functions shared some hundred addresses when nobody did).
"""

from __future__ import annotations

from .._stdlib import OWN_FOLDER
from ..events.kinds import SITE, STACK
from ..settings import STACK_DEPTH, STACKS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType

    from .python import Recorder


class Sites:
    """Numbers of call sites and stacks of one recorder."""

    __slots__ = ("_codes", "_recorder", "_sites", "_stacks")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._sites: dict[tuple[int, int], int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._codes: list[CodeType] = []

    @property
    def full(self) -> bool:
        """Whether a site that has no number will never have one; else there was no room for its definition just now."""
        return len(self._sites) >= STACKS_MAX

    def site(self, frame: FrameType) -> int:
        """Number of the place where this frame is; 0 when the table is full."""
        code = frame.f_code
        key = (id(code), frame.f_lasti)
        return self._sites.get(key) or self._new_site(frame, code, key)

    def _new_site(self, frame: FrameType, code: CodeType, key: tuple[int, int]) -> int:
        if len(self._sites) >= STACKS_MAX:
            self._recorder.count("stacks_dropped")
            return 0
        self._codes.append(code)
        number = self._recorder.number()
        function = getattr(code, "co_qualname", code.co_name)  # co_qualname came with 3.11
        if not self._recorder.define(SITE.number, number, (code.co_filename, frame.f_lineno or 0, function)):
            return 0
        self._sites[key] = number
        return number

    def stack(self, frame: FrameType | None) -> int:
        """Number of the stack from this frame outwards, at most STACK_DEPTH frames, conctrace's own left out."""
        sites: list[int] = []
        while frame is not None and len(sites) < STACK_DEPTH:
            if not frame.f_code.co_filename.startswith(OWN_FOLDER):
                sites.append(self.site(frame))
            frame = frame.f_back
        key = tuple(sites)
        return self._stacks.get(key) or self._new_stack(key)

    def _new_stack(self, key: tuple[int, ...]) -> int:
        if not key:
            return 0
        if len(self._stacks) >= STACKS_MAX:
            self._recorder.count("stacks_dropped")
            return 0
        number = self._recorder.number()
        if not self._recorder.define(STACK.number, number, (" ".join(map(str, key)),)):
            return 0
        self._stacks[key] = number
        return number
