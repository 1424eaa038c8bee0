"""conctrace shows and explains what the threads and processes of a Python program do.

``conctrace run script.py`` needs no change to the program. A program that wants to name what it does uses `span`,
`traced`, `instant` and `counter`; they cost next to nothing while it is not traced. `trace` traces a part of a program from inside.
"""

from __future__ import annotations

__all__ = ["__version__", "counter", "instant", "span", "trace", "traced"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._version import __version__
    from .inside import trace
    from .session.marks import counter, instant, span
    from .session.traced import traced


def __getattr__(name: str) -> Any:
    # This package is imported in every traced process, most of which use none of these.
    value: Any
    if name in ("counter", "instant", "span"):
        from .session import marks

        value = getattr(marks, name)
    elif name == "traced":
        from .session.traced import traced as value
    elif name == "trace":
        from .inside import trace as value
    elif name == "__version__":
        from ._version import __version__ as value
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
