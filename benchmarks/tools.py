"""What is compared: the bare program, conctrace with its recorders, viztracer; how each is called, and what it leaves."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workloads import Workload

#: None where there is none.
VALGRIND = shutil.which("valgrind")
#: Counts the instructions of one process, not of its children, and tells the sum on stderr.
_COUNTING = [VALGRIND or "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]


@dataclass(frozen=True)
class Tool:
    """One way to run a program."""

    name: str
    #: the command that runs `program` with this Python and leaves its files in the folder
    command: Callable[[str, Workload, list[str], str], list[str]]
    #: of conctrace: which recorder is to run
    recorder: str = ""


def _bare(python: str, workload: Workload, program: list[str], _folder: str) -> list[str]:
    return [*(_COUNTING if workload.counted else ()), python, *program]


def _conctrace(python: str, workload: Workload, program: list[str], folder: str) -> list[str]:
    outputs = [word for extension in workload.outputs for word in ("-o", os.path.join(folder, "x" + extension))]
    # Counted is the program alone: valgrind is what conctrace runs.
    target = [*_COUNTING, python, *program] if workload.counted else program
    return [*_script(python, "conctrace"), "run", *outputs, *target]


def _viztracer(python: str, _workload: Workload, program: list[str], folder: str) -> list[str]:
    # Its defaults; quiet, since it talks on stdout, where the program does.
    return [*_script(python, "viztracer"), "--quiet", "-o", os.path.join(folder, "x.json"), "--", *program]


def _script(python: str, name: str) -> list[str]:
    """As its users start it: the script beside the Python, where there is one."""
    script = os.path.join(os.path.dirname(python), name)
    return [script] if os.access(script, os.X_OK) else [python, "-m", name]


BARE = Tool("bare", _bare)
#: The one first that conctrace chooses where it is there.
RECORDERS = {name: Tool(f"conctrace, {name}", _conctrace, name) for name in ("native", "python")}
VIZTRACER = Tool("viztracer", _viztracer)
