"""What can be set, in one place: the environment is read here and nowhere else.

Imported in every traced process, so it uses nothing that a bare start has not loaded already.
"""

from __future__ import annotations

import os

#: Set by ``conctrace run`` for the target and all it starts: the session's folder.
SESSION_VARIABLE = "CONCTRACE_SESSION"
#: A file in the session's folder that is there when calls of functions are to be recorded.
FUNCTIONS_FILE = "functions"
#: ``native`` or ``python``: which recorder to use.
RECORDER_VARIABLE = "CONCTRACE_RECORDER"
#: Folder in which session folders are made.
DIR_VARIABLE = "CONCTRACE_DIR"

MIB = 1024 * 1024

#: Bytes of segments that one process may have waiting for the collector; beyond that it drops and counts.
UNDRAINED_PER_PROCESS = 512 * MIB
#: The same for all processes of a session together.
UNDRAINED_PER_SESSION = 2048 * MIB

#: Individual records of uncontended operations shorter than `SHORT_NS`: the first for each object and thread …
BUDGET_FIRST = 1_000
#: … then so many a second in a process; the rest are in the exact totals.
BUDGET_PER_SECOND = 5_000
#: A second that used up all its records leaves half as many to the next one, down to this; one that did not, twice as many.
BUDGET_LEAST = 50
SHORT_NS = 1_000_000

#: Frames kept of a stack that blocks.
STACK_DEPTH = 16
#: Distinct stacks kept in one image; beyond it a record has none, and that is counted.
STACKS_MAX = 100_000
#: Characters of all texts that one image remembers to have recorded; beyond it each use is recorded
#: anew. Some programs have a new text for each span.
TEXTS_MAX = 2_000_000

#: ``run`` waits so long for the main process's descendants.
DESCENDANTS_SECONDS = 0.5


def session_folder() -> str | None:
    """The session this process belongs to, or None."""
    return os.environ.get(SESSION_VARIABLE) or None


def recorder_choice() -> str | None:
    """``native``, ``python``, or None for the better one that is there."""
    return os.environ.get(RECORDER_VARIABLE) or None


def sessions_root() -> str:
    """The folder in which session folders are made: on disk, and the user's own."""
    if chosen := os.environ.get(DIR_VARIABLE):
        return chosen
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "conctrace")
