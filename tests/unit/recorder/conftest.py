"""A recorder in the test's own process."""

from __future__ import annotations

from tests.support.recording import session

__all__ = ["session"]
