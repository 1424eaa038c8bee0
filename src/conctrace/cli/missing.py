"""Why a program was not recorded that is a Python: asked only where it was not, so it may take a moment."""

from __future__ import annotations

import os
import subprocess

from .. import settings
from ..model.commands import is_python, read_python_command
from .target import on_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .target import Target

_HOOK = "conctrace-startup.pth"
_NO_SITE, _NO_HOOK = 10, 11
#: Asks a Python, of any version, for the start-up hook.
_QUESTION = f"""
import os, sys
if sys.flags.no_site:
    sys.exit({_NO_SITE})
sys.exit(0 if any(os.path.exists(os.path.join(path, "{_HOOK}")) for path in sys.path) else {_NO_HOOK})
"""
_SECONDS = 5

_DASH_S = "its option -S keeps the recorder from starting"
_MORE = "docs/fidelity.md lists what escapes"


def line(program: Target, *, others: bool) -> str:
    """What to say of a program in which no recorder started; empty when it is no Python. `others`: its children were seen."""
    words = python_words(program)
    if not words:
        return ""
    command = read_python_command(words[1:])
    if command.is_question:
        return ""
    what = f"{os.path.basename(words[0])} itself was not recorded" if others else "nothing was recorded"
    return f"conctrace: {what}: {_cause(words[0], command.options)}"


def _cause(python: str, options: str) -> str:
    answer = _NO_SITE if "S" in options else _ask(python)
    if answer == _NO_SITE:
        return f"{_DASH_S} in {python}"
    if answer == _NO_HOOK:
        return f"{python} has no conctrace; to install it there: {python} -m pip install conctrace"
    return f"{python} did not start the recorder; {_MORE}"


def _ask(python: str) -> int | None:
    environment = {name: value for name, value in os.environ.items() if name != settings.SESSION_VARIABLE}
    try:
        asked = subprocess.run(
            [python, "-c", _QUESTION], env=environment, check=False, timeout=_SECONDS,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.returncode


def python_words(program: Target) -> list[str]:
    """The interpreter's path and its arguments, as far as the command tells them; nothing when it is no Python."""
    if program.is_python:
        return list(program.arguments)
    words = _without_env([program.executable, *program.arguments[1:]])
    if words and not is_python(words[0]):
        words = _without_env([*_hash_bang(words[0]), *words])
    return words if words and is_python(words[0]) else []


def _without_env(words: list[str]) -> list[str]:
    """What ``env`` runs; nothing where it looks for that along another PATH than ours."""
    if not words or os.path.basename(words[0]) != "env":
        return words
    rest, elsewhere = words[1:], False
    while rest and (rest[0].startswith("-") or "=" in rest[0]):
        elsewhere = elsewhere or rest[0].startswith("PATH=") or rest[0] in ("-", "-i", "--ignore-environment")
        # These take the next word.
        del rest[: 2 if rest[0] in ("-u", "-C") else 1]
    if not rest or (elsewhere and "/" not in rest[0]):
        return []
    found = on_path(rest[0])
    return [found, *rest[1:]] if found else []


def _hash_bang(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            first = file.read(256).split(b"\n", 1)[0]
    except OSError:
        return []
    return os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
