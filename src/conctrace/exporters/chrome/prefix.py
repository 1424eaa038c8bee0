"""How each Chrome trace of ours begins, and whether a file does; apart, since it is asked before a program starts."""

from __future__ import annotations

PREFIX = '{"otherData":{"conctrace":'


def is_ours(head: bytes) -> bool:
    """Whether a file that begins like this was written by `export.export`."""
    return head.startswith(PREFIX.encode())


def is_ours_compressed(head: bytes) -> bool:
    """Whether a file that begins like this was written by `export.export_compressed`."""
    import zlib

    try:
        return is_ours(zlib.decompressobj(wbits=31).decompress(head, len(PREFIX)))
    except zlib.error:
        return False
