"""Trace → page.

The page has no script and asks for nothing: a content security policy in its head forbids both, and allows exactly
one style sheet, by its hash. Where a server's own policy blocks even that (Jenkins does), headings, tables and the
drawing still work: colours of the drawing are attributes, and the style sheet only changes them for a dark screen.

Everything that comes from the program goes through Jinja's escaping, and, unless asked otherwise, through
`Places.text`, which takes out home folders: both happen at the one point where text is put out.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
import markupsafe

from ..._version import __version__
from ..places import Places
from .page import page
from .timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...model.trace import Trace

#: What is left out of the page unless it is asked for.
INCLUDES = ("values", "args", "env", "host")


def export(trace: Trace, include: frozenset[str] = frozenset()) -> bytes:
    """The page; `include` names what else may be in it (`INCLUDES`)."""
    places = Places(trace.facts.cwd)
    style = _asset("report.css")
    html = (
        _environment(_cleaner(places, include))
        .get_template("report.html")
        .render(
            page=page(trace, places, include),
            timeline=timeline(trace, places),
            style=markupsafe.Markup(style),  # noqa: S704  # our own file; its hash is in the page's policy
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            version=__version__,
        )
    )
    # Names hold whatever the program put into them, lone surrogates included.
    return html.encode("utf-8", "backslashreplace")


def _environment(clean: Callable[[object], object]) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        finalize=clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _cleaner(places: Places, include: frozenset[str]) -> Callable[[object], object]:
    def clean(value: object) -> object:
        """What a text looks like on the page; markup of our own stays."""
        if type(value) is not str or "host" in include:
            return value
        return places.text(value)

    return clean


@lru_cache
def _asset(name: str) -> str:
    return files(__package__).joinpath("templates").joinpath(name).read_text(encoding="utf-8")
