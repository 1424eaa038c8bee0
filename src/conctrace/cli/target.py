"""What TARGET is: a module, a piece of code, a Python file, or a command; and what to execute for it.

The target is always executed as a process of its own (`conctrace run x.py` executes ``python x.py``), so that
argv, ``__main__``, ``sys.path`` and the exit status are Python's own work and not an imitation.
"""

from __future__ import annotations

import os
import sys

from ..errors import UsageError

#: A zip file ends in a record of at least 22 bytes that begins so; a comment may follow it.
_ZIP_END = b"PK\x05\x06"
_ZIP_TAIL = 22 + 0xFFFF

_PYTHON_FILE = "a Python program (an existing .py or .pyw file, or a folder or zip with __main__.py)"


class Target:
    """A program to run."""

    __slots__ = ("arguments", "code", "executable", "is_python", "name", "words")

    def __init__(
        self,
        executable: str,
        arguments: list[str],
        *,
        words: list[str],
        name: str,
        is_python: bool,
        code: str | None = None,
    ) -> None:
        #: the file to execute, and its argv
        self.executable = executable
        self.arguments = arguments
        #: what the user asked for, as shown to people
        self.words = words
        #: the stem of default output files
        self.name = name
        #: whether it is a Python interpreter that has conctrace, as far as we know
        self.is_python = is_python
        #: the source, where there is no file to find it in
        self.code = code


def find(words: list[str], *, module: str | None, code: str | None, python: str | None) -> Target:
    """The target that the command line names; raises `UsageError` when it names none."""
    interpreter = _interpreter(python)
    if module is not None:
        name = module.rpartition(".")[2] or module
        return _python(interpreter, ["-m", module, *words], name)
    if code is not None:
        return _python(interpreter, ["-c", code, *words], "python-c", code)
    if not words:
        raise UsageError("nothing to run: name a script, -m MODULE, -c CODE or a command (see conctrace run --help)")
    if is_python_file(words[0]):
        # "a/b/" and "." have no last part of their own
        path = words[0] if os.path.isfile(words[0]) else os.path.abspath(words[0])
        stem = os.path.splitext(os.path.basename(path))[0]
        return _python(interpreter, words, stem or "python")
    if python is not None:
        raise UsageError(f"--python was given, but {words[0]!r} is not {_PYTHON_FILE}")
    return _command(words)


def is_python_file(path: str) -> bool:
    """Whether Python is what runs this path: a .py or .pyw file, or a folder or zip with ``__main__.py``."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, "__main__.py"))
    if not os.path.isfile(path):
        return False
    return path.endswith((".py", ".pyw")) or _is_program_in_zip(path)


def _is_program_in_zip(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ZIP_TAIL))
            if _ZIP_END not in file.read():
                return False
    except OSError:
        return False
    # Costs 10 ms to import, and only now is it likely to be of use.
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return "__main__.py" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _interpreter(python: str | None) -> str:
    if python is None:
        return sys.executable
    found = on_path(python)
    if found is None:
        raise UsageError(f"--python {python}: there is no such program, or it may not be executed")
    return found


def _python(interpreter: str, arguments: list[str], name: str, code: str | None = None) -> Target:
    argv = [interpreter, *arguments]
    return Target(interpreter, argv, words=arguments, name=name, is_python=True, code=code)


def _command(words: list[str]) -> Target:
    executable = on_path(words[0])
    if executable is None:
        raise UsageError(
            f"cannot run {words[0]!r}: it is neither {_PYTHON_FILE} nor an executable command, on PATH or by its path"
        )
    return Target(executable, words, words=words, name=os.path.basename(words[0]), is_python=False)


def on_path(command: str) -> str | None:
    """The file that a shell would execute for this word."""
    if "/" in command:
        return command if _is_executable(command) else None
    for folder in os.get_exec_path():
        path = os.path.join(folder or ".", command)
        if _is_executable(path):
            return path
    return None


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
