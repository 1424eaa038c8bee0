"""Paths as they are shown."""

from __future__ import annotations

import pytest

from conctrace.exporters.places import Places
from tests.support.traces import site


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("/home/ann/proj/pkg/race.py", "pkg/race.py"),
        ("/home/ann/project2/race.py", "~/project2/race.py"),
        ("/home/bob/x.py", "~/x.py"),
        ("/Users/bob/x.py", "~/x.py"),
        ("/root/x.py", "~/x.py"),
        ("/rootkit/x.py", "/rootkit/x.py"),
        ("/srv/home/x.py", "/srv/home/x.py"),
        ("/opt/me/x.py", "~/x.py"),
        ("/opt/men/x.py", "/opt/men/x.py"),
        ("<string>", "<string>"),
    ],
)
def test_a_file_is_shown_relative_to_the_run_or_to_home(file: str, shown: str) -> None:
    assert Places("/home/ann/proj", home="/opt/me").path(file) == shown


def test_a_run_in_the_root_folder_shows_whole_paths() -> None:
    assert Places("/", home="/").path("/srv/x.py") == "/srv/x.py"


def test_home_folders_in_sentences_are_replaced_too() -> None:
    shown = Places("/srv", home="/opt/me").text("FileNotFoundError: '/home/ann/a b.txt', /opt/me and /root: gone")
    assert shown == "FileNotFoundError: '~/a b.txt', ~ and ~: gone"


def test_the_brief_form_keeps_the_last_folder() -> None:
    assert Places("/srv", brief=True).site(site(3, "<module>", "/data/jobs/race.py")) == "…/jobs/race.py:3"
