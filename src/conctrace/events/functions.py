"""The file in which an image leaves its calls of functions (``run --functions``); apart from `layout`, which goes into the C header.

It is what viztracer dumps, a JSON text, and behind it a `payload.pack_payload` of `FACTS`, and the length of that in four
bytes. Where nothing could be recorded there is no JSON text.
"""

from __future__ import annotations

from .layout import nonce_name

FACTS = (
    "error_ns",  # how far viztracer's stamps may be from ours
    "reason",  # why calls are missing, or nothing
    "stdlib",  # folder of the standard library
    "own",  # folder of conctrace
    "cwd",  # the current folder when recording began
    "path",  # sys.path, separated by newlines
)
#: Calls that viztracer keeps of an image; of more, the last ones.
KEPT = 1_000_000


def file_name(nonce: int) -> str:
    """File name of an image's calls of functions."""
    return f"{nonce_name(nonce)}.functions"
