"""The command of this process, as its live page holds it.

The native recorder packs one that fits by itself, and leaves the others to this.
"""

from __future__ import annotations

import sys

from ..events.payload import COMMAND_SIZE, pack_payload

_ROOM = COMMAND_SIZE - 4
#: Characters kept of each word of a command that is too long.
_WORD_ROOM = 200


def packed_command() -> bytes:
    """The command as `layout.LIVE_COMMAND` wants it: long words cut, and words left out from the end until it fits."""
    words = [sys.executable or "", *sys.orig_argv]
    packed = pack_payload(tuple(words))
    if len(packed) <= _ROOM:
        return packed
    words = [word if len(word) <= _WORD_ROOM else word[:_WORD_ROOM] + "…" for word in words]
    while len(packed := pack_payload((*words, "…"))) > _ROOM:
        words.pop()
    return packed
