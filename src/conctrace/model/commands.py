"""What a Python's command line asks it to run, read as Python itself reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Options of one letter that take a value, in the same word or the next.
_WITH_VALUE = "WX"
#: Those after which everything belongs to the program.
_LAST = "mc"
_LONG_WITH_VALUE = "--check-hash-based-pycs"
#: Those for which Python only answers, and runs nothing.
_QUESTIONS = "Vh?"
_LONG_QUESTIONS = {"--version": "V", "--help": "h", "--help-env": "h", "--help-xoptions": "h", "--help-all": "h"}

_INTERPRETER = re.compile(r"(?:.*/)?(?:python|pypy)[\d.]*t?")


def is_python(executable: str) -> bool:
    """Whether a program is a Python, by its name."""
    return _INTERPRETER.fullmatch(executable) is not None


class PythonCommand(NamedTuple):
    """A Python's command line taken apart."""

    #: Those of one letter, less ``-m`` and ``-c``; of those with a value, only the letter.
    options: str
    #: ``m``, ``c``, or empty: a file, a folder or stdin.
    way: str
    #: The module, the code or the path; empty for stdin.
    what: str

    @property
    def is_question(self) -> bool:
        """Whether it asks for Python's version or its options, and runs nothing."""
        return not set(self.options).isdisjoint(_QUESTIONS)


def read_python_command(arguments: Sequence[str]) -> PythonCommand:
    """Takes the words after the interpreter apart."""
    options = ""
    words = iter(arguments)
    for word in words:
        if word == "--":
            return PythonCommand(options, "", next(words, ""))
        if word == "-":
            break
        if not word.startswith("-"):
            return PythonCommand(options, "", word)
        if word.startswith("--"):
            if word == _LONG_WITH_VALUE:
                next(words, "")
            options += _LONG_QUESTIONS.get(word, "")
            continue
        for place, letter in enumerate(word[1:], 2):
            if letter in _LAST:
                return PythonCommand(options, letter, word[place:] or next(words, ""))
            options += letter
            if letter in _WITH_VALUE:
                if not word[place:]:
                    next(words, "")
                break
    return PythonCommand(options, "", "")


def program_name(arguments: Sequence[str]) -> str:
    """A short name of a Python program: its script's file name, ``-m module``, ``python -c``."""
    command = read_python_command(arguments)
    if command.way == "m":
        return f"-m {command.what}"
    if command.way == "c":
        return "python -c"
    return command.what.rstrip("/").rpartition("/")[2] or "python"
