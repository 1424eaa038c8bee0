"""Runs a program and records what its processes and threads do.

TARGET is a Python file (or a folder or zip with __main__.py), -m MODULE,
-c CODE, or any other command. What comes after it is its own. conctrace
ends as the program ends: with its exit status, or by the same signal.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from .. import outputs, sessions, settings
from .._version import __version__
from ..collector import launch
from ..errors import UsageError
from ..events.layout import DETAILS
from . import parsing, places, target, waiter
from .ending import Ending
from .terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parsing import Parser
    from .target import Target

EXAMPLES = """\
examples:
  conctrace run race.py 10               writes race.ctrace, race.trace.json and
                                         race.report.html to the current folder
  conctrace run -o bug.html race.py      only the report, by that name
  conctrace run -m pytest -x tests       -x and tests go to pytest
  conctrace run -c 'import app; app.go()'
  conctrace run ./serve.sh               any command; each Python it starts that
                                         has conctrace installed is recorded
  conctrace run --functions race.py      each call of a function, too
  conctrace run --functions=jinja2,app.* site.py
                                         calls in jinja2 and in app's modules
  conctrace run --wait 5 jobs.py         gives child processes 5 s to end

formats by extension: .ctrace (as recorded), .json and .json.gz (for Perfetto),
.html (report). `conctrace export` makes the others from a .ctrace later.
"""


def add_arguments(parser: Parser) -> None:
    """Declare the options of `run`."""
    parser.usage = "conctrace run [OPTIONS] TARGET [ARGS…]"
    parser.ends_options = ("-m", "-c")
    parser.add_argument("-m", metavar="MODULE", dest="module", help="run a module, as python -m does")
    parser.add_argument("-c", metavar="CODE", dest="code", help="run a piece of code, as python -c does")
    parser.add_argument("-o", metavar="FILE", dest="outputs", action="append", default=[],
                        help="write this and nothing else; can be repeated")  # fmt: skip
    parser.add_argument("-q", dest="quiet", action="store_true", help="say nothing unless something went wrong")
    parser.add_argument("--wait", metavar="SECONDS", nargs="?", type=_seconds, const=None,
                        default=settings.DESCENDANTS_SECONDS,
                        help="once the program has ended, wait so long for its child processes (default: "
                             f"{settings.DESCENDANTS_SECONDS}); without a number: until they end")  # fmt: skip
    parser.add_argument("--detail", choices=DETAILS, default=DETAILS[0],
                        help="budget: everything that waited, and the rest up to a limit; all: no limit; "
                             "waits: only what waited. Totals are exact in each")  # fmt: skip
    parser.add_argument("--no-values", dest="values", action="store_false", help="record no values of arguments")
    parser.joined_only = ("--functions",)
    parser.add_argument("--functions", metavar="PATTERN", nargs="?", action="append", type=_patterns, const=[],
                        help="record each call of a Python function, too, by viztracer; this costs. Without a PATTERN: "
                             "of the program and its packages, not of the standard library. =PATTERN,… : of these "
                             "packages, modules, files or functions; * stands for anything")  # fmt: skip
    parsing.add_include(parser)
    parser.add_argument("--python", metavar="EXE", help="the Python to run TARGET; it must have conctrace installed")


def _patterns(word: str) -> list[str]:
    patterns = word.split(",")
    for pattern in patterns:
        if not pattern.strip() or pattern.count("[") > pattern.count("]"):
            raise argparse.ArgumentTypeError(f"{word!r} names no functions: {pattern!r} is no pattern")
    return [pattern.strip() for pattern in patterns]


def _functions(chosen: list[list[str]] | None) -> list[str] | None:
    """The patterns of all ``--functions``; one without any stands for all that the program's own packages have."""
    if chosen is None:
        return None
    from importlib.util import find_spec

    if find_spec("viztracer") is None:
        raise UsageError("--functions needs viztracer, which is not installed: pip install viztracer")
    return [pattern for patterns in chosen for pattern in patterns]


def _seconds(word: str) -> float | None:
    if not parsing.is_number([word]):
        raise ValueError(word)
    seconds = float(word)
    # More than a century is for ever, and "inf" is, too.
    return seconds if seconds < 4e9 else None


def run(args: argparse.Namespace) -> int:
    """Run the target; its exit status is the result."""
    waiter.occupy_standard_descriptors()
    program = target.find(args.target, module=args.module, code=args.code, python=args.python)
    plan, elsewhere = _plan(args, program)
    folder = places.make_session(plan)
    ending = _record(program, folder)
    if elsewhere:
        say(f"conctrace: the current folder cannot be written to; the trace is in {elsewhere}")
    ending.report(quiet=args.quiet)
    return waiter.die_by(-ending.status) if ending.status < 0 else ending.status


def _record(program: Target, folder: str) -> Ending:
    """Runs the program with a collector beside it, until its outputs are written."""
    collector = launch.launch(folder)
    waiting = waiter.Waiter()
    try:
        collector.main_started(waiting.start(program, _environment(folder)))
    except waiter.StartError:
        # Nothing ran, so there is nothing to collect.
        os.kill(collector.pid, signal.SIGKILL)
        os.waitpid(collector.pid, 0)
        sessions.remove(folder)
        raise
    status = waiting.wait()
    ended = time.monotonic_ns()
    ending = Ending(collector, program, folder, status)
    waiting.finish(ending.on_signal)
    collector.main_ended(status, ended)
    ending.wait()
    return ending


def _plan(args: argparse.Namespace, program: Target) -> tuple[sessions.Plan, str | None]:
    """What is asked for, and the folder for the outputs where that is not the one asked for."""
    files, elsewhere = (outputs.asked_for(args.outputs), None) if args.outputs else outputs.by_default(program.name)
    system = os.uname()
    plan = sessions.Plan(
        command=program.words,
        cwd=os.getcwd(),
        outputs=files,
        fallback_name=program.name,
        wait_seconds=args.wait,
        detail=args.detail,
        values=args.values,
        code=program.code,
        waiter_pid=os.getpid(),
        wall_ns=time.time_ns(),
        python=sys.version.split()[0],
        host=system.nodename,
        platform=f"{system.sysname} {system.release} {system.machine}",
        conctrace=__version__,
        include=args.include,
        functions=_functions(args.functions),
    )
    return plan, elsewhere


def _environment(folder: str) -> dict[bytes, bytes]:
    """What conctrace was started with, and the session."""
    environment = dict(os.environb)
    if b"LC_CTYPE" in environment and b"LC_CTYPE" not in _original_names():
        # Python set it for itself, in the C locale (PEP 538). A traced Python will do so too, and no other program.
        del environment[b"LC_CTYPE"]
    environment[os.fsencode(settings.SESSION_VARIABLE)] = os.fsencode(folder)
    return environment


def _original_names() -> set[bytes]:
    with open("/proc/self/environ", "rb") as file:
        return {entry.partition(b"=")[0] for entry in file.read().split(b"\0")}
