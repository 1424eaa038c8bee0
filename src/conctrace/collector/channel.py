"""The way from the collector to the writer: a bounded multiprocessing queue there, a pipe of acknowledgements back.

Every message has a number, counting from 1; the writer takes them in order, so one number acknowledges all
before it. The collector sends rows only while few enough messages are unacknowledged; what does not fit stays
where it is, in the segments, which cost no memory. So the queue is never full in earnest.

What is not rows comes in small pieces, two for each process that comes and goes; so it is put together, and
sent with the next rows or at the next `flush`.

Both ends must notice when the other one dies. The collector polls the writer's sentinel. The writer reads the
end of the queue's pipe, which it only does if it has closed its own copy of the writing end: that is why it
reaches for the queue's ``_writer`` (there under this name from 3.3 to 3.14).
"""

from __future__ import annotations

import os
import queue
from multiprocessing import get_context
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from typing import Any, TypeAlias

    from ..events.ids import Nonce


#: Rows are sent while fewer messages than this are unacknowledged; a block of rows has half a megabyte at most.
WINDOW = 64
#: The queue holds more than the window: facts are few, and are sent in any case.
CAPACITY = 4 * WINDOW
#: Blocks of facts in one message, at most.
FACTS_TOGETHER = 256

#: Messages: ("records", number, nonce, segment, first, rows), ("facts", number of the last, [(kind, nonce, facts), …]),
#: ("calls", number, nonce), ("finish", number, facts)
Message: TypeAlias = "tuple[Any, ...]"

_ACK = Struct("<Q")


class WriterGoneError(Exception):
    """The writer died before it took everything."""


class Channel:
    """The collector's end, which is also what the writer's end is made from."""

    def __init__(self) -> None:
        self._context = get_context("fork")
        self._queue: Any = self._context.Queue(CAPACITY)
        self.acks, self._ack_to = os.pipe()
        self._number = 0
        self._facts: list[tuple[int, Nonce, dict[str, Any]]] = []
        #: every message up to this number is in the trace file
        self.acked = 0
        self.writer: BaseProcess | None = None

    def start_writer(self, target: Callable[[WriterEnd], None], close: tuple[int, ...]) -> BaseProcess:
        """Forks the writer, which runs `target`; it closes the descriptors that are the collector's alone."""
        process = self._context.Process(target=self._run_writer, args=(target, close), name="conctrace-writer")
        process.start()
        os.close(self._ack_to)
        os.set_blocking(self.acks, False)
        self.writer = process
        return process

    def room(self) -> bool:
        """Whether rows may be sent now."""
        return self._number - self.acked < WINDOW

    def records(self, nonce: Nonce, segment: int, first: int, rows: bytes) -> int:
        """Sends rows of a segment; returns the message's number."""
        self.flush()
        self._number += 1
        return self._put("records", nonce, segment, first, rows)

    def facts(self, kind: int, nonce: Nonce, facts: dict[str, Any]) -> int:
        """Sends a block of another kind, at the next `flush` at the latest. The writer gets it as it is by then."""
        if len(self._facts) == FACTS_TOGETHER:
            self.flush()
        self._facts.append((kind, nonce, facts))
        self._number += 1
        return self._number

    def flush(self) -> None:
        """Sends what was not sent yet."""
        if self._facts:
            facts, self._facts = self._facts, []
            self._put("facts", facts)

    def calls(self, nonce: Nonce) -> int:
        """Tells the writer to take an image's calls of functions, which lie in the session's folder."""
        self.flush()
        self._number += 1
        return self._put("calls", nonce)

    def finish(self, facts: dict[str, Any]) -> int:
        """Tells the writer that this was all."""
        self.flush()
        self._number += 1
        return self._put("finish", facts)

    def read_acks(self) -> None:
        """Takes in what the writer has acknowledged."""
        try:
            data = os.read(self.acks, 1 << 12)
        except BlockingIOError:
            return
        if len(data) >= _ACK.size:
            (self.acked,) = _ACK.unpack(data[-_ACK.size :])

    def _run_writer(self, target: Callable[[WriterEnd], None], close: tuple[int, ...]) -> None:
        """In the writer's process: keeps its own ends only."""
        self._queue._writer.close()  # noqa: SLF001  # see the module's docstring
        for descriptor in (self.acks, *close):
            os.close(descriptor)
        target(WriterEnd(self._queue, self._ack_to))

    def _put(self, what: str, *rest: Any) -> int:
        message = (what, self._number, *rest)
        while True:
            try:
                self._queue.put(message, timeout=1)
            except queue.Full:
                if self.writer is not None and not self.writer.is_alive():
                    raise WriterGoneError from None
            else:
                return self._number


class WriterEnd:
    """The writer's end."""

    def __init__(self, messages: Any, ack_to: int) -> None:
        self._queue = messages
        self._ack_to = ack_to

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, None when none came in time; EOFError when the collector is gone."""
        try:
            message: Message = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        return message

    def ack(self, number: int) -> None:
        """Says that every message up to this one is in the file."""
        os.write(self._ack_to, _ACK.pack(number))
