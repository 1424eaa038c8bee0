"""Asks Perfetto's own engine what it makes of an exported trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conctrace.exporters.chrome.export import export
from tests.support.perfetto import TraceProcessor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conctrace.model.trace import Trace


@pytest.fixture
def perfetto(tmp_path: Path) -> Callable[[Trace], TraceProcessor]:
    """Loads a trace's export; Perfetto must have nothing to say against it."""

    def load(trace: Trace) -> TraceProcessor:
        path = tmp_path / "exported.json"
        path.write_bytes(export(trace))
        engine = TraceProcessor(path)
        assert engine.stats_problems() == []
        return engine

    return load
