"""Makes a trace from what an interrupted recording left behind.

When conctrace's collector is killed, the program runs on, and what was
recorded up to then stays in the session's folder. SESSION is such a folder,
or the end of its name; without it, the newest is taken. It is used up.
"""

from __future__ import annotations

import os
import time

from .. import outputs, sessions
from ..errors import SessionError
from .ending import say_failures, say_summary
from .places import interrupted_sessions
from .terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from .parsing import Parser

EXAMPLES = """\
examples:
  conctrace recover --list               what there is
  conctrace recover                      the newest; writes NAME.ctrace,
                                         NAME.trace.json and NAME.report.html
  conctrace recover race-4242-1f0c2a -o race.ctrace
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments of `recover`."""
    parser.add_argument("session", metavar="SESSION", nargs="?", help="which session; see --list")
    parser.add_argument("--list", action="store_true", help="list the sessions that can be recovered")
    parser.add_argument("-o", metavar="FILE", dest="outputs", action="extend", nargs="+", default=[],
                        help="what to write, as with `conctrace run`")  # fmt: skip


def run(args: Namespace) -> int:
    """Recover one session, or list them all."""
    found = interrupted_sessions()
    if args.list:
        return _list(found)
    folder = _chosen(args.session, found)
    files, elsewhere = _outputs(args.outputs, folder)
    from ..collector.recovery import recover

    result = recover(folder, files)
    if elsewhere:
        say(f"conctrace: the current folder cannot be written to; the trace is in {elsewhere}")
    say_failures(result)
    say_summary(result)
    return 2 if result["failed"] else 0


def _outputs(asked: list[str], folder: str) -> tuple[list[str], str | None]:
    if asked:
        return outputs.asked_for(asked), None
    return outputs.by_default(sessions.load(folder).fallback_name)


def _list(found: list[str]) -> int:
    if not found:
        say("conctrace: there is nothing to recover")
    for folder in found:
        plan = sessions.load(folder)
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(plan.wall_ns / 1e9))
        print(f"{folder}  {started}  {' '.join(plan.command)}")
    return 0


def _chosen(wanted: str | None, found: list[str]) -> str:
    if not found:
        raise SessionError("there is nothing to recover")
    if wanted is None:
        return found[-1]
    fitting = [folder for folder in found if os.path.realpath(wanted) == os.path.realpath(folder)]
    fitting = fitting or [folder for folder in found if os.path.basename(folder).endswith(wanted)]
    if len(fitting) != 1:
        raise SessionError(
            f"{wanted} is {'no' if not fitting else 'more than one'} session that can be recovered (see --list)"
        )
    return fitting[0]
