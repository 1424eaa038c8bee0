"""From the words of the command line to a verb's arguments, by argparse.

One thing argparse has no word for: under `run`, options end at the target. What comes after it is the
program's, and so is everything after ``-m MODULE`` and ``-c CODE``, as with ``python`` itself.
`Parser.split` finds that place by asking each declared option whether it takes a value.
"""

from __future__ import annotations

import argparse

from ..errors import UsageError
from ..exporters import INCLUDES
from .terminal import width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    class Verb(Protocol):
        """What the module of a verb has to offer."""

        __doc__: str | None
        EXAMPLES: str

        def add_arguments(self, parser: Parser, /) -> None: ...

        def run(self, args: argparse.Namespace, /) -> int: ...


class Parser(argparse.ArgumentParser):
    """Complains in one line, like the rest of conctrace."""

    #: Options after which everything belongs to the target; with any at all, options end at the target.
    ends_options: tuple[str, ...] = ()

    #: Options whose value stands behind "=", if they have one.
    joined_only: tuple[str, ...] = ()

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def split(self, words: list[str]) -> tuple[list[str], list[str]]:
        """Our own words, and those of the target."""
        at = 0
        while at < len(words):
            word = words[at]
            if word == "--":
                return words[:at], words[at + 1 :]
            if word == "-" or not word.startswith("-"):
                break
            if word in self.ends_options and at + 1 < len(words):
                # Joined, so that a value that begins with "-" is not taken for an option.
                return [*words[:at], f"{word}={words[at + 1]}"], words[at + 2 :]
            at += 2 if self._takes_next(words, at) else 1
        return words[:at], words[at:]

    def _takes_next(self, words: list[str], at: int) -> bool:
        """Whether the option at this place has its value in the next word."""
        for action in self._actions:
            if words[at] in action.option_strings:
                if action.nargs == argparse.OPTIONAL:
                    return words[at] not in self.joined_only and is_number(words[at + 1 : at + 2])
                return action.nargs != 0
        return False


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Knows the terminal's width. argparse would import shutil to ask, 5 ms, for each start of a program."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(width(1), 100) - 2)


def is_number(words: list[str]) -> bool:
    """Whether there is a word, and it can be the value of ``--wait``."""
    try:
        return float(words[0]) >= 0
    except (IndexError, ValueError):
        return False


def add_include(parser: Parser) -> None:
    """Declare ``--include`` of the verbs that write reports."""
    parser.add_argument("--include", metavar="WHAT", type=_includes, default=[],
                        help="what a report leaves out unless asked for, since it gets passed on: "
                             f"{', '.join(INCLUDES)}; several with commas between them")  # fmt: skip


def _includes(word: str) -> list[str]:
    chosen = word.split(",")
    unknown = [name for name in chosen if name not in INCLUDES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}, only {', '.join(INCLUDES)}")
    return chosen


def parse(name: str, verb: Verb, words: list[str]) -> argparse.Namespace:
    """The arguments of one verb. Where options end at a target, its words are in `target`."""
    parser = Parser(
        prog=f"conctrace {name}",
        description=verb.__doc__,
        epilog=verb.EXAMPLES,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    verb.add_arguments(parser)
    if not parser.ends_options:
        return parser.parse_args(words)
    ours, target = parser.split(words)
    args = parser.parse_args(ours)
    args.target = target
    return args
