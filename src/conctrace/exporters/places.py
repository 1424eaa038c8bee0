"""How files are shown: relative to the run's folder, and without the home folder and who lives there."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.trace import Site

#: Home folders as they look on any machine: a trace is often read on another one than it was made on.
_HOME = re.compile(r"(?<![\w.~-])(?:/home/[^/\s:'\"]+|/Users/[^/\s:'\"]+|/root)(?=[/\s:'\",;)]|$)")


class Places:
    """Shows the paths of one run."""

    def __init__(self, cwd: str, home: str | None = None, brief: bool = False) -> None:
        """`brief`: of files elsewhere only the last folder is shown."""
        self._brief = brief
        self._cwd = cwd.rstrip("/") + "/"
        home = os.path.expanduser("~") if home is None else home
        self._home = home.rstrip("/") if home.count("/") > 1 or home == "/root" else ""

    def path(self, file: str) -> str:
        """A file relative to the run's folder when it is below it, else with ``~`` for the home folder."""
        if file.startswith(self._cwd) and len(self._cwd) > 1:
            return file[len(self._cwd) :]
        parts = file.rsplit("/", 2)
        if self._brief and len(parts) == 3 and parts[0]:
            return f"…/{parts[1]}/{parts[2]}"
        return self.text(file)

    def text(self, text: str) -> str:
        """Any text with home folders replaced by ``~``."""
        if "/" not in text:
            return text
        if self._home and self._home in text:
            text = re.sub(re.escape(self._home) + r"(?![\w.-])", "~", text)
        return _HOME.sub("~", text)

    def site(self, site: Site | None) -> str:
        """``race.py:8 work``, or nothing; a module's own lines need no function."""
        if site is None:
            return ""
        return self.line(site) if site.function in ("", "<module>") else f"{self.line(site)} {site.function}"

    def line(self, site: Site | None) -> str:
        """``race.py:8``, or nothing."""
        return f"{self.path(site.file)}:{site.line}" if site else ""
