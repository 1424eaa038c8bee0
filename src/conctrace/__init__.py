"""conctrace shows and explains what the threads and processes of a Python program do."""

from __future__ import annotations

__version__ = "0.1.0"
