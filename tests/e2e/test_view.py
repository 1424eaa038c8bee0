"""`conctrace view`: the trace is in Perfetto's page as the program made it, and nobody else gets anything."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import socket
import sys
import tempfile
import urllib.parse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.readback import Drawn, differences, record
from tests.support.run import Program, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, Page

    from tests.support.run import Runner

TRACE = b'{"traceEvents":[{"ph":"X","name":"one","ts":1,"dur":2,"pid":7,"tid":7}]}'


@dataclass(frozen=True)
class Viewed:
    """A running `conctrace view`, and what it printed."""

    program: Program
    address: str

    @property
    def port(self) -> int:
        port = urllib.parse.urlsplit(self.address).port
        assert port is not None
        return port

    @property
    def secret(self) -> str:
        """The path below which everything is; it begins and ends with a slash."""
        return urllib.parse.urlsplit(self.address).path

    @property
    def version(self) -> str:
        """The folder of the UI that viztracer brings."""
        found = re.search(rb'"stable":"([^"]+)"', self.ask(f"GET {self.secret} HTTP/1.1").body)
        assert found is not None
        return found.group(1).decode()

    def ask(self, request: str, *, host: str | None = None) -> Answer:
        """The answer to a request as it stands here, with a good Host unless `host` says otherwise."""
        host = f"Host: 127.0.0.1:{self.port}\r\n" if host is None else host
        return self.send(f"{request}\r\n{host}Connection: close\r\n\r\n".encode())

    def send(self, request: bytes) -> Answer:
        """The answer to these bytes; what comes until the connection is closed belongs to it."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
            connection.sendall(request)
            received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]) if first.startswith("HTTP/") else 0, headers, body)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextlib.contextmanager
def viewing(runner: Runner, *arguments: str) -> Iterator[Viewed]:
    """`conctrace view --no-browser`, which has printed its address."""
    command = [sys.executable, "-m", "conctrace", "view", "--no-browser", *arguments]
    with runner.started(command) as program:
        assert program.process.stdout is not None
        line = program.process.stdout.readline().decode()
        if not line:
            pytest.fail(program.communicate()[1])
        yield Viewed(program, line.strip())


@pytest.fixture
def viewed(runner: Runner) -> Iterator[Viewed]:
    """A small trace beside a file that is nobody's business."""
    (runner.folder / "t.json").write_bytes(TRACE)
    (runner.folder / "other.json").write_bytes(TRACE)
    with viewing(runner, "t.json") as running:
        yield running


# The page -------------------------------------------------------------------------------------------------------

PROGRAM = """\
import threading
from truth import say, told, until_blocked

lock = threading.Lock()

def want():
    with told("Lock.acquire lock", outcome="acquired"):
        lock.acquire()
    lock.release()

threads = [threading.Thread(target=want, name=f"waiter-{n}") for n in (1, 2)]
with lock:
    for thread in threads:
        thread.start()
        until_blocked(thread)
for thread in threads:
    with told(f"Thread.join {thread.name}"):
        thread.join()
"""

SLICES = (
    "select s.id, s.name, s.category, s.ts, s.dur, p.pid, p.name process, t.name thread, "
    "extract_arg(s.arg_set_id, 'args.outcome') outcome "
    "from slice s join thread_track on s.track_id = thread_track.id join thread t using (utid) "
    "join process p using (upid) where upid > 0 order by s.ts, s.id"
)

#: Asks the engine of the page, as the UI itself does.
ASK = """async sql => {
  const result = await self.app.trace.engine.query(sql);
  const columns = result.columns();
  const rows = [];
  for (const row = result.iter({}); row.valid(); row.next())
    rows.push(Object.fromEntries(columns.map(name => {
      const cell = row.get(name);
      return [name, typeof cell === "bigint" ? Number(cell) : cell];
    })));
  return rows;
}"""


@contextlib.contextmanager
def browser(executable: str) -> Iterator[BrowserContext]:
    """A browser that was never used before, for which there is no host but 127.0.0.1."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            viewport={"width": 1400, "height": 800},
        )
        yield context
        context.close()


def wait_for_trace(page: Page) -> None:
    page.wait_for_function("() => self.app && self.app.trace && self.waitForPerfettoIdle", timeout=60_000)
    page.evaluate("() => self.waitForPerfettoIdle()")


def slices(page: Page, origin: int) -> list[Drawn]:
    """What the page draws on threads, by the program's clock."""
    rows: list[dict[str, Any]] = page.evaluate(ASK, SLICES)
    return [
        Drawn(
            row["id"], row["name"], row["category"], origin + row["ts"], origin + row["ts"] + row["dur"],
            row["pid"], row["process"], row["thread"], {"outcome": row["outcome"]} if row["outcome"] else {},
        )
        for row in rows
    ]  # fmt: skip


@pytest.mark.chromium
@pytest.mark.parametrize("name", ["t.ctrace", "t.json", "t é.json.gz"])
def test_the_page_shows_what_the_program_did_and_asks_nobody_else(runner: Runner, chromium: str, name: str) -> None:
    recorded = record(runner, PROGRAM, options=["-o", "t é.json.gz"])
    with viewing(runner, name) as viewed, browser(chromium) as context:
        page = context.new_page()
        asked: list[str] = []
        failed: dict[str, str | None] = {}
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.update({request.url: request.failure}))
        page.goto(viewed.address)
        wait_for_trace(page)
        told = recorded.truth
        assert len(told) == 4
        origin = recorded.trace.facts.start
        drawn = slices(page, origin)
        assert differences(told, [piece for piece in drawn if piece.category == "wait"]) == []
        assert page.evaluate(ASK, "select name from stats where value > 0 and severity in ('error', 'data_loss')") == []
        assert page.title().startswith(name.replace(".ctrace", ".json"))

        # The UI would lose the trace, or take it from a copy in the browser.
        page.reload()
        wait_for_trace(page)
        assert slices(page, origin) == drawn
        assert page.evaluate("async () => (await caches.keys()).includes('cached_traces')") is False
        assert page.locator(".pf-modal-dialog").count() == 0

        foreign = {url for url in asked if not url.startswith((f"http://127.0.0.1:{viewed.port}/", "data:", "blob:"))}
        # They did not leave the browser: the policy of the page kept them in.
        assert {url: failed.get(url) for url in foreign} == dict.fromkeys(foreign, "csp")


@pytest.mark.chromium
def test_no_other_page_sees_anything_in_the_browser(runner: Runner, viewed: Viewed, chromium: str) -> None:
    """Another site that has found out the address: it cannot read, frame, or use what is there."""
    (runner.folder / "site.json").write_bytes(TRACE)
    with viewing(runner, "site.json") as site, browser(chromium) as context:
        page = context.new_page()
        # Any other origin: here another port.
        page.goto(site.address + "nothing-here")
        trace = viewed.address + "t.json"
        read = "async url => { try { return await (await fetch(url)).text(); } catch (error) { return error.name; } }"
        assert page.evaluate(read, site.address + "site.json") == TRACE.decode()
        assert page.evaluate(read, trace) == "TypeError"
        framed = """url => new Promise(done => {
          const frame = document.createElement("iframe");
          frame.onload = () => { try { done(frame.contentDocument === null ? "kept out" : "seen"); } catch { done("kept out"); } };
          frame.src = url;
          document.body.append(frame);
        })"""
        assert page.evaluate(framed, viewed.address) == "kept out"
        assert all(frame.title() != "Perfetto UI" for frame in page.frames)


# Who is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1:{port}.evil.example",
     "127.0.0.1:{port}@evil.example", "evil.example:{port}, 127.0.0.1:{port}", "0.0.0.0:{port}", "[::1]:{port}", ""],
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "t.json", "nothing"])
def test_every_other_host_is_refused(viewed: Viewed, host: str, path: str) -> None:
    answer = viewed.ask(f"GET {viewed.secret}{path} HTTP/1.1", host=f"Host: {host.format(port=viewed.port)}\r\n")
    assert (answer.status, answer.body) == (421, b"Misdirected Request\n")


def test_a_request_without_a_host_or_with_two_is_refused(viewed: Viewed) -> None:
    good = f"Host: 127.0.0.1:{viewed.port}\r\n"
    target = f"{viewed.secret}t.json"
    for version in ("HTTP/1.1", "HTTP/1.0"):
        assert viewed.ask(f"GET {target} {version}", host="").status == 421
        assert viewed.ask(f"GET {target} {version}", host=good + good).status == 421
        assert viewed.ask(f"GET {target} {version}", host=good + "Host: evil.example\r\n").status == 421
        assert viewed.ask(f"GET {target} {version}", host="Host : 127.0.0.1\r\n").status in {400, 421}
        assert viewed.ask(f"GET {target} {version}", host=good).body == TRACE
    # HTTP/0.9 knows no headers.
    assert TRACE not in viewed.send(f"GET {target}\r\n\r\n".encode()).body


def test_localhost_is_this_machine_too(viewed: Viewed) -> None:
    assert viewed.ask(f"GET {viewed.secret}t.json HTTP/1.1", host=f"Host: localhost:{viewed.port}\r\n").body == TRACE


@pytest.mark.parametrize(
    "target",
    ["/", "/t.json", "/index.html", "/localtrace", "/vizviewer_info", "{secret}../t.json", "{secret}../../etc/passwd",
     "{secret}..%2f..%2fetc%2fpasswd", "{secret}other.json", "{secret}./t.json", "{secret}/t.json", "{secret}t.json/",
     "{secret}trace_processor", "{secret}{version}", "{secret}{version}/", "{secret}{version}/../t.json",
     "{secret}%00", "{bare}", "/AAAAAAAAAAAAAAAAAAAAAA/t.json", "//127.0.0.1:{port}{secret}t.json",
     "http://127.0.0.1:{port}{secret}t.json", "http://evil.example{secret}t.json", "*", "file:///etc/passwd", "/etc/passwd"],
)  # fmt: skip
def test_nothing_but_the_ui_and_that_file_is_there(viewed: Viewed, target: str) -> None:
    asked = target.format(
        secret=viewed.secret, bare=viewed.secret.rstrip("/"), port=viewed.port, version=viewed.version
    )
    answer = viewed.ask(f"GET {asked} HTTP/1.1")
    assert (answer.status, answer.body) == (404, b"Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_only_get_and_head_are_methods(viewed: Viewed, method: str) -> None:
    answer = viewed.ask(f"{method} {viewed.secret}t.json HTTP/1.1")
    assert (answer.status, answer.headers["Allow"], answer.body) == (405, "GET, HEAD", b"Method Not Allowed\n")


@pytest.mark.parametrize("length", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_request_inside_another_is_not_answered(viewed: Viewed, length: str) -> None:
    good = f"GET {viewed.secret}t.json HTTP/1.1\r\nHost: 127.0.0.1:{viewed.port}\r\n"
    answer = viewed.send(f"{good}{length}\r\n\r\n{good}\r\n".encode())
    assert (answer.status, answer.body) == (400, b"Bad Request\n")
    hidden = good.replace("GET", "POST") + "Content-Length: 500\r\n\r\n" + good + "\r\n"
    assert viewed.send(hidden.encode()).body == b"Method Not Allowed\n"


@pytest.mark.parametrize(
    "junk", [b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"/" * 70_000]
)
def test_junk_is_refused_and_harms_nobody(viewed: Viewed, junk: bytes) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert viewed.send(junk).status in {0, 400, 405, 414, 421, 505}
    assert viewed.ask(f"GET {viewed.secret}t.json HTTP/1.1").body == TRACE


def test_only_127_0_0_1_is_listened_on(viewed: Viewed) -> None:
    for address in ("127.0.0.2", *own_addresses()):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address, viewed.port), 5).close()


def own_addresses() -> set[str]:
    """Addresses of this machine in its network, if it has one. (Nothing is sent.)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return set()
        return {probe.getsockname()[0]} - {"127.0.0.1"}


def test_each_time_the_address_is_another(runner: Runner, viewed: Viewed) -> None:
    with viewing(runner, "t.json") as other:
        assert other.secret != viewed.secret
        assert len(other.secret) >= 22
        assert other.ask(f"GET {viewed.secret}t.json HTTP/1.1").status == 404


# What is served -------------------------------------------------------------------------------------------------


def test_answers_say_what_they_are_and_are_kept_by_nobody(viewed: Viewed) -> None:
    types = {
        "": "text/html; charset=utf-8",
        "t.json": "application/json",
        **{f"{viewed.version}/{name}": kind for name, kind in {
            "frontend_bundle.js": "text/javascript", "perfetto.css": "text/css", "trace_processor.wasm": "application/wasm",
            "assets/Roboto-400.woff2": "font/woff2", "assets/brand.png": "image/png",
        }.items()},
    }  # fmt: skip
    for path, kind in types.items():
        answer = viewed.ask(f"GET {viewed.secret}{path} HTTP/1.1")
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
        head = viewed.ask(f"HEAD {viewed.secret}{path} HTTP/1.1")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    policy = viewed.ask(f"GET {viewed.secret} HTTP/1.1").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy


def test_a_connection_serves_several_requests(viewed: Viewed) -> None:
    request = f"GET {viewed.secret}t.json HTTP/1.1\r\nHost: 127.0.0.1:{viewed.port}\r\n"
    with socket.create_connection(("127.0.0.1", viewed.port), 20) as connection:
        connection.sendall(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
        assert b"".join(iter(lambda: connection.recv(1 << 16), b"")).count(TRACE) == 2


def test_a_trace_of_ours_is_served_as_export_writes_it_and_leaves_nothing(runner: Runner) -> None:
    temp = runner.folder / "temp"
    temp.mkdir()
    runner = replace(runner, variables={"TMPDIR": str(temp)})
    assert runner.traced("-c", "0", options=["-q", "-o", "t.ctrace", "-o", "t.json", "-o", "t.json.gz"]).status == 0
    for name, exported, kind in (
        ("t.ctrace", "t.json", "application/json"), ("t.json.gz", "t.json.gz", "application/gzip"),
    ):  # fmt: skip
        with viewing(runner, name) as viewed:
            answer = viewed.ask(f"GET {viewed.secret}{exported} HTTP/1.1")
            assert answer.body == (runner.folder / exported).read_bytes()
            assert answer.headers["Content-Type"] == kind
            # Compressed as the file is, which Perfetto knows: no browser is to unpack it.
            assert "Content-Encoding" not in answer.headers
            assert os.listdir(temp) == []


def test_a_file_that_is_replaced_is_shown_as_it_was(runner: Runner, viewed: Viewed) -> None:
    (runner.folder / "new").write_bytes(b"[]")
    (runner.folder / "new").replace(runner.folder / "t.json")
    assert viewed.ask(f"GET {viewed.secret}t.json HTTP/1.1").body == TRACE


def test_a_file_that_gets_shorter_ends_the_answer(runner: Runner) -> None:
    large = b'{"traceEvents":[' + b" " * 30_000_000 + b"]}"
    (runner.folder / "t.json").write_bytes(large)
    with viewing(runner, "t.json") as viewed:
        request = f"GET {viewed.secret}t.json HTTP/1.1\r\nHost: 127.0.0.1:{viewed.port}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", viewed.port), 20) as connection:
            connection.sendall(request.encode())
            connection.recv(1000)
            os.truncate(runner.folder / "t.json", 1000)
            received = sum(map(len, iter(lambda: connection.recv(1 << 16), b"")))
        assert received < len(large)
        assert len(viewed.ask(f"GET {viewed.secret}t.json HTTP/1.1").body) == 1000


# The command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True], ids=["idle", "while somebody reads"])
def test_ctrl_c_ends_it_quietly_with_0(runner: Runner, asked: bool) -> None:
    (runner.folder / "t.json").write_bytes(b'{"traceEvents":[' + b" " * 30_000_000 + b"]}")
    with viewing(runner, "t.json") as viewed, socket.socket() as connection:
        if asked:
            connection.connect(("127.0.0.1", viewed.port))
            request = f"GET {viewed.secret}t.json HTTP/1.1\r\nHost: 127.0.0.1:{viewed.port}\r\n\r\n"
            connection.sendall(request.encode())
            connection.recv(1000)
        viewed.program.signal_group(signal.SIGINT)
        out, err = viewed.program.communicate()
        assert (viewed.program.status(), out) == (0, "")
        assert err.count("\n") == 1
        assert "Ctrl-C" in err


def test_other_signals_end_it_as_they_end_anything(viewed: Viewed) -> None:
    viewed.program.signal(signal.SIGTERM)
    assert viewed.program.status() == -signal.SIGTERM


def test_a_cut_trace_is_shown_as_far_as_it_goes(runner: Runner) -> None:
    assert runner.traced("-c", "0", options=["-q", "-o", "t.ctrace"]).status == 0
    whole = (runner.folder / "t.ctrace").read_bytes()
    (runner.folder / "t.ctrace").write_bytes(whole[:-10])
    with viewing(runner, "t.ctrace") as viewed:
        assert json.loads(viewed.ask(f"GET {viewed.secret}t.json HTTP/1.1").body)["traceEvents"]
        viewed.program.signal(signal.SIGINT)
        assert viewed.program.status() == 2
        assert "t.ctrace can be read up to byte" in viewed.program.communicate()[1]


def test_a_port_can_be_chosen_and_one_in_use_is_named(runner: Runner, viewed: Viewed) -> None:
    line = refused(runner, "t.json", "--port", str(viewed.port))
    assert line == f"cannot listen on port {viewed.port}: Address already in use (without --port, a free one is taken)"
    port = viewed.port
    viewed.program.signal(signal.SIGINT)
    wait_for_end(viewed.program.pid)
    with viewing(runner, "t.json", "--port", str(port)) as again:
        assert again.port == port
    for word in ("x", "-1", "65536", "1.5"):
        assert "is no port" in refused(runner, "t.json", f"--port={word}")


def refused(runner: Runner, *arguments: str) -> str:
    """The one line with which `view` refuses this."""
    result = runner.conctrace("view", "--no-browser", *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith("conctrace: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("conctrace: ").rstrip("\n")


def test_what_cannot_be_shown_is_refused_in_one_line(runner: Runner) -> None:
    folder = runner.folder
    (folder / "page.html").write_bytes(b"<!DOCTYPE html>\n<!-- conctrace report")
    (folder / "other.json").write_bytes(b'{"name": "x"}')
    (folder / "cut.json").write_bytes(TRACE[:-3])
    (folder / "cut.json.gz").write_bytes(gzip.compress(TRACE)[:-3])
    (folder / "empty").write_bytes(b"")
    os.mkfifo(folder / "pipe")
    for name, says in {
        "page.html": "open it in a browser", "other.json": "is no trace", "cut.json": "is cut", "cut.json.gz": "cut or garbled",
        "empty": "is empty", "missing.ctrace": "No such file", ".": "Is a directory", "pipe": "is not a file",
    }.items():  # fmt: skip
        line = refused(runner, name)
        assert says in line
        assert name in line


def test_a_garbled_trace_of_ours_is_refused_in_one_line(runner: Runner) -> None:
    assert runner.traced("-c", "0", options=["-q", "-o", "t.ctrace"]).status == 0
    (runner.folder / "t.ctrace").write_bytes((runner.folder / "t.ctrace").read_bytes()[:20])
    assert "t.ctrace is cut at byte 20" in refused(runner, "t.ctrace")


def test_without_viztracer_a_line_says_what_to_install(runner: Runner) -> None:
    (runner.folder / "t.json").write_bytes(TRACE)
    code = "import sys; sys.modules['viztracer'] = None; from conctrace.cli import main; sys.exit(main())"
    result = runner.command([sys.executable, "-c", code, "view", "t.json"])
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.endswith("pip install viztracer\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("status", [0, 1])
def test_the_browser_is_given_the_address(runner: Runner, status: int) -> None:
    (runner.folder / "t.json").write_bytes(TRACE)
    os.mkfifo(runner.folder / "opened")
    script = runner.folder / "browser"
    script.write_text(f'#!/bin/sh\necho "$@" > opened\nexit {status}\n')
    script.chmod(0o755)
    runner = replace(runner, variables={"BROWSER": f"{script} %s", "DISPLAY": None, "WAYLAND_DISPLAY": None})
    with runner.started([sys.executable, "-m", "conctrace", "view", "t.json"]) as program:
        opened = (runner.folder / "opened").read_text().strip()
        assert program.process.stdout is not None
        assert program.process.stdout.readline().decode().strip() == opened
        assert Viewed(program, opened).ask("GET / HTTP/1.1").status == 404


def test_without_a_display_no_browser_is_started(runner: Runner) -> None:
    (runner.folder / "t.json").write_bytes(TRACE)
    runner = replace(runner, variables=dict.fromkeys(("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))
    with runner.started([sys.executable, "-m", "conctrace", "view", "t.json"]) as program:
        assert program.process.stdout is not None
        address = program.process.stdout.readline().decode().strip()
        assert Viewed(program, address).ask("GET / HTTP/1.1").status == 404
        program.signal(signal.SIGINT)
        assert "no display" in program.communicate()[1]
        assert program.status() == 0


def test_on_a_terminal_progress_leaves_no_trace(runner: Runner) -> None:
    runner = replace(runner, terminal=True)
    result = runner.conctrace("view", "missing.json")
    assert result.status == 2
    assert result.stdout.rpartition("\033[K")[2] == "conctrace: cannot read missing.json: No such file or directory\n"
