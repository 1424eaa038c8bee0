"""From a Trace to what people and other programs read.

The registry: one line a format, chosen by the file's extension. Nothing heavy is imported until a format is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.trace import Trace


class Format:
    """A kind of file that conctrace writes.

    `export` makes its bytes from a Trace and a choice of INCLUDES (None: the trace file itself is copied); `is_ours`, given the first bytes
    of a file that exists, tells whether conctrace wrote it, so that it may be overwritten. `module`, below this package,
    is what `export` imports, for who wants to have that done before.
    """

    __slots__ = ("export", "extensions", "is_ours", "module", "title")

    def __init__(
        self,
        title: str,
        extensions: tuple[str, ...],
        export: Callable[[Trace, frozenset[str]], bytes] | None,
        is_ours: Callable[[bytes], bool],
        module: str | None,
    ) -> None:
        self.title = title
        self.extensions = extensions
        self.export = export
        self.is_ours = is_ours
        self.module = module

    def may_overwrite(self, head: bytes) -> bool:
        """Whether a file that begins like this may go: one of ours, or empty."""
        return not head or self.is_ours(head)


#: What the formats that get attached to tickets leave out unless it is asked for; the others keep what was recorded.
INCLUDES = ("values", "args", "env", "host")

#: So many of a file's first bytes are enough for every `is_ours`.
HEAD_SIZE = 4096


def _chrome(trace: Trace, _include: frozenset[str]) -> bytes:
    from .chrome.export import export

    return export(trace)


def _chrome_compressed(trace: Trace, _include: frozenset[str]) -> bytes:
    from .chrome.export import export_compressed

    return export_compressed(trace)


def _html(trace: Trace, include: frozenset[str]) -> bytes:
    from .html import export

    return export(trace, include)


def _is_chrome(head: bytes) -> bool:
    from .chrome.prefix import is_ours

    return is_ours(head)


def _is_chrome_compressed(head: bytes) -> bool:
    from .chrome.prefix import is_ours_compressed

    return is_ours_compressed(head)


def _is_html(head: bytes) -> bool:
    return head.startswith(b"<!DOCTYPE html>\n<!-- conctrace report")


def _is_ctrace(head: bytes) -> bool:
    from ..tracefile.format import MAGIC

    return head.startswith(MAGIC)


FORMATS: tuple[Format, ...] = (
    Format("trace, as recorded", (".ctrace",), None, _is_ctrace, None),
    Format("Chrome trace, for Perfetto", (".json",), _chrome, _is_chrome, "chrome.export"),
    Format("Chrome trace, compressed", (".json.gz",), _chrome_compressed, _is_chrome_compressed, "chrome.export"),
    Format("report, a page for a browser", (".html",), _html, _is_html, "html.export"),
)


def extensions() -> tuple[str, ...]:
    """Every extension that is known."""
    return tuple(extension for kind in FORMATS for extension in kind.extensions)


def format_for(path: str) -> Format:
    """The format that a file of this name has; the longest extension that fits counts."""
    name = path.lower()
    fitting = [(len(end), kind) for kind in FORMATS for end in kind.extensions if name.endswith(end)]
    if not fitting:
        from ..errors import UsageError

        raise UsageError(f"{path}: unknown extension; conctrace writes {', '.join(extensions())}")
    return max(fitting, key=lambda fit: fit[0])[1]
