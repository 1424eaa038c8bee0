"""Makes the gallery in ``reports/``: each example run under conctrace, its report, its trace, and an index.

The files are shown to people and kept in the repository, so they must stay small and say nothing about the
machine they were made on: each example runs as a copy in a folder with a plain name, and what comes out is
searched for the home folder, the user's and the host's name before it is kept.
"""

from __future__ import annotations

import ast
import getpass
import glob
import gzip
import html
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLES = os.path.join(ROOT, "examples")
REPORTS = os.path.join(ROOT, "reports")
LARGEST = 300 * 1000
TIMEOUT = 120

INDEX = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>conctrace: examples and their reports</title>
<style>
body {{ max-width: 50rem; margin: 3rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
td {{ padding: .4rem .8rem .4rem 0; vertical-align: top; }}
</style>
</head>
<body>
<h1>What conctrace makes of small programs</h1>
<p>Each line is one program of <code>examples/</code>, run once under <code>conctrace run</code>. A trace can be
dropped on <a href="https://ui.perfetto.dev">Perfetto</a>.</p>
<table>
{rows}
</table>
</body>
</html>
"""
ROW = """<tr><td><a href="{name}.html">{name}</a></td><td>{says}</td><td><a href="{name}.trace.json.gz">trace</a></td></tr>"""


class GalleryError(Exception):
    """An example's files are not fit to be shown; the message says why."""


@dataclass(frozen=True)
class Example:
    """One program of ``examples/``."""

    name: str
    source: str

    @property
    def says(self) -> str:
        """The first sentence of its docstring."""
        return (ast.get_docstring(ast.parse(self.source)) or "").partition("\n\n")[0].replace("\n", " ")


def examples() -> list[Example]:
    found = []
    for path in sorted(glob.glob(os.path.join(EXAMPLES, "[0-9][0-9]_*.py"))):
        with open(path, encoding="utf-8") as file:
            found.append(Example(os.path.basename(path).removesuffix(".py").replace("_", "-", 1), file.read()))
    return found


def run(example: Example, folder: str) -> dict[str, bytes]:
    """Runs the example under conctrace in `folder`: its files by their names in the gallery."""
    script = example.name.replace("-", "_", 1) + ".py"
    with open(os.path.join(folder, script), "w", encoding="utf-8") as file:
        file.write(example.source)
    report, trace = f"{example.name}.html", f"{example.name}.trace.json"
    command = [sys.executable, "-m", "conctrace", "run", "-o", report, "-o", trace, script]
    environment = {**os.environ, "CONCTRACE_DIR": os.path.join(folder, "sessions")}
    ended = subprocess.run(
        command, cwd=folder, env=environment, timeout=TIMEOUT, check=False, capture_output=True, text=True
    )
    files = {}
    for name in (report, trace):
        try:
            with open(os.path.join(folder, name), "rb") as made:
                files[name] = made.read()
        except FileNotFoundError:
            raise GalleryError(f"{name} was not written; conctrace said:\n{ended.stderr}") from None
    return files


def private_words() -> list[str]:
    """What must not be in a file that others see; short words would be found everywhere."""
    words = [os.path.expanduser("~"), socket.gethostname(), getpass.getuser(), ROOT]
    return [word for word in words if len(word) > 4]


def without_machine(data: bytes, folder: str) -> bytes:
    """`data` with the folder of this run, the interpreter's folder and the host's name made neutral."""
    text = data.decode("utf-8")
    for real, shown in (
        (folder, "/examples"),
        (sys.prefix, "/python"),
        (os.path.realpath(sys.base_prefix), "/usr"),
        (socket.gethostname(), "host"),
    ):
        text = text.replace(real, shown)
    return text.encode("utf-8")


def check(name: str, shown: bytes, stored: bytes) -> None:
    """Raises GalleryError when a file is too large, or tells about this machine."""
    if len(stored) > LARGEST:
        raise GalleryError(f"{name} has {len(stored)} bytes; more than {LARGEST} are too many for the gallery")
    for word in private_words():
        if re.search(rb"(?<!\w)" + re.escape(word.encode()) + rb"(?!\w)", shown):
            raise GalleryError(f"{name} holds {word!r}, which tells about this machine")


def keep(files: dict[str, bytes], folder: str) -> None:
    """Puts an example's files into the gallery; the trace compressed, the same bytes for the same trace."""
    for name, data in files.items():
        shown = without_machine(data, folder)
        is_trace = name.endswith(".json")
        stored = gzip.compress(shown, mtime=0) if is_trace else shown
        check(name, shown, stored)
        with open(os.path.join(REPORTS, name + (".gz" if is_trace else "")), "wb") as file:
            file.write(stored)


def write_index(found: list[Example]) -> None:
    rows = "\n".join(ROW.format(name=example.name, says=html.escape(example.says)) for example in found)
    with open(os.path.join(REPORTS, "index.html"), "w", encoding="utf-8") as file:
        file.write(INDEX.format(rows=rows))


def main() -> int:
    os.makedirs(REPORTS, exist_ok=True)
    found = examples()
    failed = 0
    for example in found:
        folder = tempfile.mkdtemp()
        try:
            keep(run(example, folder), folder)
            print(f"reports/{example.name}.html")
        except (GalleryError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"{example.name}: {error}", file=sys.stderr)
        finally:
            shutil.rmtree(folder)
    write_index(found)
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
