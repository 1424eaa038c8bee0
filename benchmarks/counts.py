"""What a trace holds, as JSON: ``python counts.py FILE.ctrace``, with a Python that has conctrace.

The benchmark compares it with what the program did: a recorder that is fast because it misses things is not fast.
"""

from __future__ import annotations

import json
import sys

from conctrace.model.builder import build
from conctrace.tracefile.reader import read


def counts(path: str) -> dict[str, object]:
    """The numbers of things in a trace; of threads and processes those that the program started."""
    trace = build(read(path))
    timed = [totals for totals in trace.totals if totals.site and totals.site.function == "timed_holds"]
    return {
        "complete": trace.facts.complete,
        "lost": [loss.sentence for loss in trace.losses if loss.severity in {"lost", "unseen"}],
        "recorder": trace.facts.recorder,
        "processes": sum(process.origin != "main" for process in trace.processes.values()),
        "threads": sum(not thread.is_main for thread in trace.threads.values()),
        "spans": sum(span.category == "span" for span in trace.spans),
        "instants": sum(instant.category == "span" for instant in trace.instants),
        "holds": sum(totals.holds for totals in trace.totals),
        "recorded": sum(totals.recorded for totals in trace.totals),
        "waits": sum(totals.waits for totals in trace.totals),
        "timed_holds": sum(totals.holds for totals in timed),
        "timed_ns": sum(totals.hold_ns for totals in timed),
        "hold_ns": sum(totals.hold_ns for totals in trace.totals if totals not in timed),
    }


if __name__ == "__main__":
    print(json.dumps(counts(sys.argv[1])))
