"""The number spaces of a trace, as types: pervasive enough to deserve names.

Everything here is an alias for the type checker; at run time nothing is imported.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

#: A moment on CLOCK_MONOTONIC, or a length of time, in integer nanoseconds.
Nanoseconds: TypeAlias = int

#: Names one process *image* (from birth by fork or exec to its end): 64 random bits, never 0.
#: Pid and start time are equal before and after ``exec``, so they cannot serve.
Nonce: TypeAlias = int

#: A number given inside one image to an object, a text, a call site or a stack; all share one
#: counter, so that one limit (`LiveHeader.inherited_below`) tells what a forked child inherited.
Number: TypeAlias = int

#: A thread inside one image: 0 is the thread that was first seen, normally the main thread.
ThreadIndex: TypeAlias = int
