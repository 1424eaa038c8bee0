"""What is compared: the bare program, conctrace, viztracer; how each is called, and what it leaves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workloads import Workload

BARE, CONCTRACE, VIZTRACER = "bare", "conctrace", "viztracer"


@dataclass(frozen=True)
class Tool:
    """One way to run a program."""

    name: str
    #: the command that runs `program` with this Python and leaves its files in the folder
    command: Callable[[str, Workload, list[str], str], list[str]]


def _bare(python: str, _workload: Workload, program: list[str], _folder: str) -> list[str]:
    return [python, *program]


def _conctrace(python: str, workload: Workload, program: list[str], folder: str) -> list[str]:
    outputs = [word for extension in workload.outputs for word in ("-o", os.path.join(folder, "x" + extension))]
    return [*_script(python, "conctrace"), "run", *outputs, *program]


def _viztracer(python: str, _workload: Workload, program: list[str], folder: str) -> list[str]:
    # Its defaults; quiet, since it talks on stdout, where the program does.
    return [*_script(python, "viztracer"), "--quiet", "-o", os.path.join(folder, "x.json"), "--", *program]


def _script(python: str, name: str) -> list[str]:
    """As its users start it: the script beside the Python, where there is one."""
    script = os.path.join(os.path.dirname(python), name)
    return [script] if os.access(script, os.X_OK) else [python, "-m", name]


TOOLS: tuple[Tool, ...] = (Tool(BARE, _bare), Tool(CONCTRACE, _conctrace), Tool(VIZTRACER, _viztracer))
