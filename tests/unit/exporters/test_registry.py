"""Which file gets which format, and which existing files may be overwritten."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conctrace.errors import UsageError
from conctrace.exporters import FORMATS, HEAD_SIZE, extensions, format_for
from tests.support.stories import contended_lock


@pytest.mark.parametrize(
    ("path", "extension"),
    [("a.json", ".json"), ("a.trace.json.gz", ".json.gz"), ("A.HTML", ".html"), ("/x/y.ctrace", ".ctrace")],
)
def test_a_file_gets_the_format_of_its_longest_extension(path: str, extension: str) -> None:
    assert format_for(path).extensions == (extension,)


@pytest.mark.parametrize("path", ["a.md", "a", "json", "a.gz", "a.pftrace"])
def test_an_unknown_extension_is_one_line_that_names_those_known(path: str) -> None:
    with pytest.raises(UsageError) as error:
        format_for(path)
    assert str(error.value) == f"{path}: unknown extension; conctrace writes .ctrace, .json, .json.gz, .html"


def test_each_format_knows_its_own_files_and_no_others() -> None:
    trace = contended_lock().trace()
    heads = {kind.title: kind.export(trace, frozenset())[:HEAD_SIZE] for kind in FORMATS if kind.export}
    for kind in FORMATS:
        for title, head in heads.items():
            assert kind.may_overwrite(head) == (kind.title == title)
        assert kind.may_overwrite(b"")
        assert not kind.may_overwrite(b'{"mine": 1}\n')
        assert not kind.may_overwrite(b"<!DOCTYPE html>\n<html>")


def test_no_two_formats_share_an_extension() -> None:
    assert len(set(extensions())) == len(extensions())


def test_the_registry_is_imported_without_what_the_formats_need() -> None:
    code = (
        "import sys, conctrace.exporters as e; e.format_for('a.html')\n"
        "print([m for m in ('jinja2', 'json', 'dataclasses', 'conctrace.model') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, env=_env())
    assert (done.stdout, done.stderr) == ("[]\n", "")


def _env() -> dict[str, str]:
    import conctrace

    return {"PYTHONPATH": conctrace.__path__[0].rpartition("/")[0]}
