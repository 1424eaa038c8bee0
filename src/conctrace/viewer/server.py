"""Serves the UI and one trace on 127.0.0.1, to the browser of the user and to nobody else.

Others could ask in three ways. Another machine: the socket is bound to 127.0.0.1. A page of another site in the same
browser, by a name of its own that resolves to 127.0.0.1: the ``Host`` of such a request is that name, and is refused. Another
user of the same machine: every address lies below a random one, and what is asked for is looked up in a table of what there
is; no path of a request ever reaches the file system.
"""

from __future__ import annotations

import http.server
import io
import secrets
import socketserver
import sys
import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, cast

from ..errors import ConctraceError
from . import ui

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .source import Source

ADDRESS = "127.0.0.1"
_CHUNK = 1 << 20
_METHODS = ("GET", "HEAD")


class Server(socketserver.ThreadingTCPServer):
    """Listens from the start on; `serve_forever` answers."""

    # Not http.server.HTTPServer: that one asks the network for this machine's name.
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, source: Source, port: int, complain: Callable[[str], None]) -> None:
        self._complain = complain
        secret = secrets.token_urlsafe(16)
        self.contents = {f"/{secret}/{name}": content for name, content in ui.contents(source.name).items()}
        # By its number: the file may have no name, or be another's by now.
        trace = ui.Content(source.content_type, f"/proc/self/fd/{source.file.fileno()}")
        self.contents[f"/{secret}/{source.name}"] = trace
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            raise ConctraceError(
                f"cannot listen on port {port}: {error.strerror} (without --port, a free one is taken)"
            ) from error
        self.port: int = self.server_address[1]
        self.address = f"http://{ADDRESS}:{self.port}/{secret}/"
        self.hosts = {f"{ADDRESS}:{self.port}", f"localhost:{self.port}"}

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base's)
        """A browser that goes away in the middle is no error; anything else is ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._complain(f"conctrace failed: {type(error).__name__}: {error}")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    #: for one that sends nothing, or takes nothing
    timeout = 60

    def do_HEAD(self) -> None:
        """What `do_GET` says, but for the file itself."""
        self.do_GET()

    def do_GET(self) -> None:
        """The file, or a refusal."""
        content = self._allowed()
        if content is None:
            return
        with _open(content) as file:
            self._send(file, content)

    def _allowed(self) -> ui.Content | None:
        """What was asked for, if this request may have it; else it has been refused."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # What is in it would be taken for the next request.
            self.send_error(HTTPStatus.BAD_REQUEST)
        else:
            content = self.server.contents.get(_address(self.path))
            if content is not None:
                return content
            self.send_error(HTTPStatus.NOT_FOUND)
        return None

    def _send(self, file: BinaryIO, content: ui.Content) -> None:
        left = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content.content_type)
        self.send_header("Content-Length", str(left))
        if content.policy:
            self.send_header("Content-Security-Policy", content.policy)
        self.end_headers()
        if self.command == "HEAD":
            return
        while left and (piece := file.read(min(left, _CHUNK))):
            self.wfile.write(piece)
            left -= len(piece)
        if left:
            # The file has become shorter: the browser must not wait for the rest.
            self.close_connection = True

    def end_headers(self) -> None:
        """Ends the headers with those that all answers have."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 (the base's)
        """A refusal: one word, and the connection is closed, since what follows may be no request."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            # What the base says of a method that there is no function for.
            status = HTTPStatus.METHOD_NOT_ALLOWED
        body = f"{status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ", ".join(_METHODS))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Which Python this is, is nobody's business."""
        return "conctrace"

    def log_message(self, *_: object) -> None:
        """The terminal is the user's."""


def _address(target: str) -> str:
    """What is looked up: the target of a request without its query, decoded. An absolute one is looked up, and not found, as it is."""
    return urllib.parse.unquote(target.partition("?")[0])


def _open(content: ui.Content) -> BinaryIO:
    if content.data is not None:
        return io.BytesIO(content.data)
    return cast("BinaryIO", open(content.path, "rb"))
