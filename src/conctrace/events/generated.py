"""Files of the checkout that are made from the tables of this package, and the command that makes or checks one.

No traced process imports this module.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Generated:
    """One such file: where it lies in a checkout, the module whose command makes it, and what must be in it."""

    def __init__(self, place: str, module: str, content: Callable[[], str]) -> None:
        self.place = place
        self.module = module
        self.content = content

    @property
    def path(self) -> str:
        root = __file__
        for _ in range(4):
            root = os.path.dirname(root)
        return os.path.join(root, self.place)

    def written(self) -> str:
        """The file as it is in the checkout; empty when there is none."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def main(self, arguments: list[str]) -> int:
        """``--write`` writes the file, ``--check`` returns 1 when it is not as it should be."""
        if arguments == ["--write"]:
            with open(self.path, "w", encoding="utf-8") as file:
                file.write(self.content())
            return 0
        if arguments == ["--check"]:
            if self.written() == self.content():
                return 0
            sys.stderr.write(f"{self.place} is out of date: python -m {self.module} --write\n")
            return 1
        sys.stderr.write(f"usage: python -m {self.module} --write|--check\n")
        return 2
