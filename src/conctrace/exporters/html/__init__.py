"""The report: one self-contained page that explains a run to somebody who has ten minutes."""

from __future__ import annotations

from .export import INCLUDES, export

__all__ = ["INCLUDES", "export"]
