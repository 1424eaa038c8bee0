"""Where session folders are made, and found again."""

from __future__ import annotations

import os

from .. import sessions, settings
from .terminal import say


def make_session(plan: sessions.Plan) -> str:
    """A session folder; in the temp folder, which is said, where the usual place cannot be written to."""
    folder, said = sessions.create_anywhere(plan)
    if said:
        say(f"conctrace: {said}")
    return folder


def interrupted_sessions() -> list[str]:
    """Session folders whose collector died, oldest first, wherever they may be."""
    roots = [settings.sessions_root()]
    if not os.environ.get(settings.DIR_VARIABLE):
        roots.append(sessions.root_in_temp())
    return [folder for root in roots for folder in sessions.leftovers(root)]
