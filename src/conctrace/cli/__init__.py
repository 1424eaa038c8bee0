"""The command line: `conctrace VERB …`, one file per verb.

A verb is a module with `add_arguments(parser)` and `run(args) -> exit status`; its docstring is its help
text and its `EXAMPLES` stand at the end of ``--help``. Only the verb that was asked for is imported: what is
imported before `run` starts the program is what the program waits for.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ..errors import ConctraceError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .parsing import Verb


def _run() -> Verb:
    from . import run

    return run


def _export() -> Verb:
    from . import export

    return export


def _info() -> Verb:
    from . import info

    return info


def _dump() -> Verb:
    from . import dump

    return dump


def _view() -> Verb:
    from . import view

    return view


def _recover() -> Verb:
    from . import recover

    return recover


#: name, how to get its module, and a line for ``conctrace --help``
VERBS: tuple[tuple[str, Callable[[], Verb], str], ...] = (
    ("run", _run, "run a program and record what its threads and processes do"),
    ("export", _export, "write a trace in other formats"),
    ("info", _info, "say what a trace holds"),
    ("dump", _dump, "print a trace as text, one line a record"),
    ("view", _view, "show a trace in the Perfetto UI, offline"),
    ("recover", _recover, "make a trace from what an interrupted recording left behind"),
)

HELP = """\
usage: conctrace VERB [ARGS…]

Shows and explains what the threads and processes of a Python program do.

{verbs}

options:
  -h, --help  show this help and exit
  --version   say which version this is, and exit

examples:
  conctrace run race.py        writes race.ctrace, race.trace.json (Perfetto)
                               and race.report.html
  conctrace run -m pytest -x   the same for a module; -x goes to pytest
  conctrace run --help         what else `run` can do
"""


def command() -> NoReturn:
    """The ``conctrace`` command: `main`, and then out at once, for who waits for the prompt.

    Taking the interpreter apart takes 10 ms; nothing of ours is registered for it.
    """
    status = main()
    for stream in (sys.stdout, sys.stderr):
        # A closed pipe at the other end is the other end's affair.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(words)
    except ConctraceError as error:
        from .terminal import say

        say(f"conctrace: {error}")
        return 2
    except KeyboardInterrupt:
        from .waiter import die_by

        return die_by(2)


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else "--help"
    for name, load, _ in VERBS:
        if name == first:
            from .parsing import parse

            verb = load()
            return verb.run(parse(name, verb, words[1:]))
    return _without_a_verb(first)


def _without_a_verb(word: str) -> int:
    if word in {"-h", "--help"}:
        print(HELP.format(verbs="\n".join(f"  {name:<10}{line}" for name, _, line in VERBS)), end="")
    elif word == "--version":
        from .._version import __version__

        print(f"conctrace {__version__}")
    else:
        known = ", ".join(name for name, _, _ in VERBS)
        raise UsageError(f"there is no verb {word!r}: use one of {known} (to run a program: conctrace run {word} …)")
    return 0
