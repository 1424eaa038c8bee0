"""Steps that a signal's handler cannot come between.

Python runs the program's signal handlers at the end of calls, at jumps back, and where a Python function begins. A
handler may raise, and the statement it came in is then left half done: a raw ``with lock`` never is, because all of it
happens inside one C function; its stand-in, which is Python, would leave a lock taken for ever. So two of its steps
must be whole:

- *Get the lock and know it.* ``got = acquire()`` will not do (the call ends, the handler raises, nothing is stored), but
  ``for got in attempts: break`` will, where `attempts` is a `map` over ``acquire``: taking an item from an iterator is no call.
- *Begin a function whose body is one* ``try … finally: release()``. 3.10 itself looks for no signal before a ``try``. From 3.11
  on a function begins with a RESUME instruction that does; its argument says why the function runs on, and with "after an
  await" it does not look. `whole` sets that. A function without a docstring: 3.10 under -OO would leave a NOP in its place.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Function = TypeVar("Function")

#: Arguments of RESUME: 0 at a function's start, 1 after ``yield``, 2 after ``yield from``, 3 after ``await``.
_NO_SIGNALS = 2


def whole(function: Function) -> Function:
    """`function`, changed so that no signal's handler runs before the ``try`` it begins with."""
    code: Any = function.__code__  # type: ignore[attr-defined]
    instructions = bytearray(code.co_code)
    if instructions[0] != _FIRST:
        raise TypeError(f"{function} has cells, is a generator, or does not begin with try")
    if sys.version_info >= (3, 11):
        instructions[1] = _NO_SIGNALS
        function.__code__ = code.replace(co_code=bytes(instructions))  # type: ignore[attr-defined]
    return function


def _sample() -> None:
    try:
        _sample()
    finally:
        _sample()


#: What such a function's code begins with: RESUME from 3.11 on, before that SETUP_FINALLY.
_FIRST = _sample.__code__.co_code[0]
