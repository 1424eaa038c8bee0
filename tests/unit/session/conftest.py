"""A recorder in the test's own process."""

from __future__ import annotations

from tests.support.recording import idle_session, recorder_name, session

__all__ = ["idle_session", "recorder_name", "session"]
