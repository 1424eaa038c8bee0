"""The Chrome trace format (JSON), for Perfetto, ``conctrace view`` and chrome://tracing."""

from __future__ import annotations

from .export import export, export_compressed, is_ours, is_ours_compressed

__all__ = ["export", "export_compressed", "is_ours", "is_ours_compressed"]
