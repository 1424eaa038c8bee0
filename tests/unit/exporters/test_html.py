"""The report: what it says, what it leaves out, and that nothing in it can act."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from conctrace.exporters.html import export
from conctrace.exporters.html.timeline import tick_step, timeline
from conctrace.exporters.places import Places
from conctrace.model.trace import Loss
from tests.support.stories import contended_lock
from tests.support.traces import Story, site

HOSTILE = "</script><img src=x onerror=alert(1)>\"'"
VOID = {"meta", "br", "rect", "path"}


class Reader(HTMLParser):
    """Collects text, tags and attributes, and insists that tags are closed in order."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page.decode())
        assert self._open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_it_tells_what_ran_and_what_ended_the_longest_waits() -> None:
    text = Reader(export(contended_lock().trace())).text
    assert "exit 0 2 processes, 4 threads, 4 waits" in text
    assert "Lock.acquire lock Thread-2 (work) in MainProcess 4242 race.py:8 work" in text
    assert "Thread-1 (work) held it, from race.py:8; Thread-1 (work) released it at race.py:10." in text
    assert "killed by SIGTERM from MainProcess" in text
    assert "12 holds are in the totals only." in text


def test_a_wait_for_the_gil_is_told_if_it_is_a_long_one() -> None:
    for gil_wait_ns, told in ((1_000_000, False), (12_000_000, True)):
        story = Story(end=100_000)
        main = story.process("MainProcess", 10, 0, 100_000)
        story.wait(main, 10, 900, "Lock.acquire lock", gil_wait_ns=gil_wait_ns)
        text = Reader(export(story.trace())).text
        assert ("what ended it was not seen; then waited 12.0 ms for the GIL." in text) == told


def test_a_missing_native_recorder_is_said() -> None:
    story = contended_lock()
    assert "python recorder (the native one is not built)" in Reader(export(story.trace(native_missing=True))).text
    assert "not built" not in Reader(export(story.trace())).text


def test_totals_of_a_lock_are_the_sum_of_its_threads() -> None:
    text = Reader(export(contended_lock().trace())).text
    assert "Lock lock made at race.py:3 6 800 µs 400 µs 20 960 µs 300 µs 2" in text


def test_hostile_names_stay_text() -> None:
    story = Story()
    main = story.process(HOSTILE, 10, 0, 1000, target=HOSTILE)
    lock = story.thing(main, "Lock", HOSTILE, site(1, HOSTILE, f"/home/ann/proj/{HOSTILE}.py"))
    story.thread(main, HOSTILE, 11, 1, 900, error=HOSTILE, error_stack=(site(1, HOSTILE),))
    story.wait(main, 10, 900, HOSTILE, lock, stack=(site(1, HOSTILE),))
    story.hold(lock, main, 1, 9)
    story.span(main, 1, 2, HOSTILE)
    story.losses.append(Loss("dropped", 1, HOSTILE))
    page = export(story.trace(command=(HOSTILE,)))
    reader = Reader(page)
    assert not {"img", "script"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert b"<img" not in page
    assert HOSTILE in reader.text


def test_the_policy_in_its_head_allows_its_own_style_sheet_and_nothing_else() -> None:
    import base64
    import hashlib

    page = export(contended_lock().trace()).decode()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"content=\"default-src 'none'; style-src 'sha256-{digest}'\"" in page
    assert not re.search(r"\bstyle=|\bsrc=|https?://|url\((?!#)|@import", page)


def test_arguments_host_and_home_are_left_out_until_asked_for() -> None:
    story = contended_lock()
    main = next(iter(story.threads))
    story.wait(main, 901, 999, "sleep", stack=(site(1, "f", "/home/ann/lib/x.py"), site(2, "g", "/usr/lib/y.py")))
    trace = story.trace(command=("/home/ann/proj/race.py", "--password=hunter2"), host="secretbox")
    page = export(trace).decode()
    assert "~/lib/x.py:1 f ← /usr/lib/y.py:2 g" in page
    for secret in ("hunter2", "secretbox", "ann"):
        assert not re.search(rf"\b{secret}\b", page)
    assert "race.py … (1 argument left out)" in page
    assert "Left out, because reports get passed on: the command’s arguments" in page
    full = export(trace, include=frozenset({"args", "host"})).decode()
    assert "hunter2" in full
    assert "secretbox" in full
    assert "Included on request: the command’s arguments, host name and home folder" in full


def test_headings_tables_and_language_are_there_for_who_cannot_see_it() -> None:
    page = export(contended_lock().trace())
    reader = Reader(page)
    assert reader.tags.count("caption") == reader.tags.count("table") == 4
    assert b'<html lang="en">' in page
    assert all(f'scope="{scope}"'.encode() in page for scope in ("col", "row"))
    assert b'role="img" aria-labelledby="drawing"' in page


def test_a_small_trace_is_a_small_page() -> None:
    assert len(export(contended_lock().trace())) < 60_000


def test_an_empty_and_a_one_moment_trace_have_a_page() -> None:
    for story in (Story(), Story(end=0)):
        assert "No thread waited for anything that was traced." in Reader(export(story.trace())).text


def test_ten_thousand_waits_are_a_page_of_bounded_size_that_says_what_it_left_out() -> None:
    story = Story(end=100_000)
    main = story.process("MainProcess", 10, 0, 100_000)
    for number in range(80):
        thread = story.thread(main, f"Thread-{number}", 100 + number, 1, 99_000)
        for step in range(125):
            story.wait(thread, 10 + step * 700, 310 + step * 700, "Lock.acquire lock")
            story.arrow("release", main, 310 + step * 700, thread, 310 + step * 700)
    page = export(story.trace())
    text = Reader(page).text
    assert len(page) < 700_000
    assert "21 more threads not drawn" in text
    assert "200 of 7,375 arrows are drawn" in text
    assert re.search(r"Waits, holds and spans less than .{3,8} apart are drawn as one", text)
    assert "9,988 more waits, all shorter, are not shown here." in text


def test_waits_that_can_be_told_apart_stay_apart() -> None:
    story = Story()
    main = story.process("MainProcess", 10, 0, 1000)
    story.wait(main, 100, 300, "first")
    story.wait(main, 300, 600, "second")
    (group,) = timeline(story.trace(), Places("/")).groups
    assert [bar.title for bar in group.lanes[0].bars] == ["first: 200 µs", "second: 300 µs"]


def test_ticks_are_round_and_few() -> None:
    assert [tick_step(length) for length in (1, 10, 11, 999, 72_600_000, 3_600_000_000_000)] == [
        1, 1, 2, 100, 10_000_000, 500_000_000_000,
    ]  # fmt: skip
