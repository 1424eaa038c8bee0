"""Where session folders are made, and found again."""

from __future__ import annotations

import os

from .. import sessions, settings
from ..errors import SessionError
from .terminal import say


def make_session(plan: sessions.Plan) -> str:
    """A session folder; in the temp folder, which is said, where the usual place cannot be written to."""
    try:
        return sessions.create(plan)
    except (SessionError, OSError) as error:
        if os.environ.get(settings.DIR_VARIABLE):
            # Chosen by the user, who had better know.
            raise
        root = _root_in_temp()
        folder = sessions.create(plan, root)
        say(f"conctrace: {error}; using {root}")
        return folder


def interrupted_sessions() -> list[str]:
    """Session folders whose collector died, oldest first, wherever they may be."""
    roots = [settings.sessions_root()]
    if not os.environ.get(settings.DIR_VARIABLE):
        roots.append(_root_in_temp())
    return [folder for root in roots for folder in sessions.leftovers(root)]


def _root_in_temp() -> str:
    # Python's own tempfile knows more places, and costs 15 ms to import.
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"conctrace-{os.geteuid()}")  # noqa: S108 (0700, and checked to be ours)
