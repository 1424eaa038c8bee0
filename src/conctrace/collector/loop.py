"""The collector's event loop: commands from the waiter, deaths by pidfd, acknowledgements, and a clock for the rest.

What is recorded makes no event of its own, a traced process must not pay for one; so segments are looked at
every `BUSY_MS` while something happens and every `IDLE_MS` otherwise. Everything else wakes the loop at once; but while the
main process runs, of a death only the time is noted at once, or a program that forks much would share its cores
with a collector that looks at everything for each child. From the news that the main process ended there is no sleep on
the way to the last block.

The run goes through three stages: ``running``; ``closing``, once nobody is left to wait for (the recorders are
switched off and everything is taken to its end); ``ending``, while the writer exports.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from contextlib import suppress

from .. import sessions
from ..events import layout
from ..tracefile import format as form
from .channel import Channel, WriterGoneError
from .drain import Drain
from .liveness import Life, lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..sessions import Plan
    from . import drain as draining
    from .programs import Watched

BUSY_MS = 10
IDLE_MS = 50
#: What has just begun or done something is likely to do more: a child may come and go.
LINGER_NS = 500_000_000
#: Two looks at a segment of a living process lie at least so far apart; see `segment`.
CLOSING_MS = 1
#: A child that a record speaks of is given so long to show up, beyond its parent's end.
ANNOUNCED_NS = 500_000_000
#: Of a waiter that died nobody knows how long it would have waited.
NEVER = 1 << 63

RUNNING, CLOSING, ENDING = range(3)


def run(folder: str, plan: Plan, channel: Channel, control: int, commands: int, results: int) -> int:
    """Collects a session to its end, into a channel whose writer runs; returns the collector's exit status."""
    return _Loop(folder, plan, channel, control, commands, results).run()


class _Loop:
    def __init__(self, folder: str, plan: Plan, channel: Channel, control: int, commands: int, results: int) -> None:
        assert channel.writer is not None
        self._folder = folder
        self._plan = plan
        self._channel = channel
        self._writer = channel.writer
        _allow_descriptors()
        self._drain = Drain(folder, control, channel)
        self._control = control
        self._commands = commands
        self._results = results
        self._poll = select.poll()
        self._unread = b""
        self._main: dict[str, Any] = {}
        self._main_life: Life | None = None
        self._hooked = False
        self._waiter_gone = False
        self._hurry = False
        #: when to stop waiting for descendants
        self._deadline_ns = NEVER
        self._ended_ns = 0
        self._stage = RUNNING
        self._busy_until_ns = time.monotonic_ns() + LINGER_NS
        self._lives: dict[int, draining.Image] = {}
        self._programs: dict[int, Watched] = {}
        #: when to look at everything again, if nothing comes before that
        self._due_ns = 0
        #: whether rows wait for the writer to acknowledge others
        self._was_full = False

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._on_sigterm)
        for descriptor in (self._commands, self._channel.acks, self._writer.sentinel):
            self._poll.register(descriptor, select.POLLIN)
        with suppress(WriterGoneError):
            while self._turn():
                pass
        return self._leave()

    def _turn(self) -> bool:
        """One round; False when the writer has ended."""
        ready = {descriptor for descriptor, _ in self._poll.poll(self._timeout_ms())}
        now = time.monotonic_ns()
        if self._channel.acks in ready:
            self._channel.read_acks()
        if self._writer.sentinel in ready:
            return False
        if self._commands in ready:
            self._read_commands()
        for descriptor in ready & self._lives.keys():
            self._drain.died(self._lives[descriptor], now)
        for descriptor in ready & self._programs.keys():
            self._poll.unregister(descriptor)
            self._programs.pop(descriptor).died(now)
        self._bury()
        if self._stage < ENDING and (self._is_due(now) or self._commands in ready):
            self._collect(now, force=self._commands in ready)
            self._due_ns = now + self._interval_ms() * 1_000_000
            self._was_full = not self._channel.room()
        self._channel.flush()
        return True

    def _is_due(self, now: int) -> bool:
        if self._stage > RUNNING or self._main_has_ended or self._waiter_gone or now >= self._due_ns:
            return True
        return self._was_full and self._channel.room()

    def _collect(self, now: int, *, force: bool) -> None:
        if self._stage == RUNNING:
            self._drain.scan(now, force=force)
            self._drain.drain(now)
            if self._is_over(now):
                self._switch_off(now)
        if self._stage == CLOSING:
            self._drain_last(now)
            if not self._drain.open():
                self._finish()
        self._greet()

    def _switch_off(self, now: int) -> None:
        """Nobody is left to wait for: the recorders of those that still live record no more."""
        self._stage = CLOSING
        self._ended_ns = now
        os.pwrite(self._control, bytes(4), layout.CONTROL_ON_OFFSET)
        self._drain.scan(now, force=True)
        # Who was only just met may have ended already, and nobody has looked at its pidfd yet.
        for image in self._drain.open():
            if image.life.ended():
                self._drain.died(image, now)

    def _drain_last(self, now: int) -> None:
        """The last records of those that still live, and of all that died."""
        if self._drain.begin_close():
            select.select((), (), (), CLOSING_MS / 1000)
        self._drain.drain(now)

    def _finish(self) -> None:
        self._stage = ENDING
        still_open = [
            image.nonce
            for image in self._drain.images.values()
            if not image.seen["dead"] and image.is_program and not self._goes_on(image)
        ]
        for nonce, programs in self._drain.programs.by_image().items():
            self._channel.facts(form.PROGRAMS, nonce, {"programs": programs})
        self._channel.finish({"ended_ns": self._ended_ns, "open": still_open, "main_pid": self._main.get("pid")})

    def _leave(self) -> int:
        """The writer has ended; when all went well, nothing is left of the session."""
        self._writer.join()
        if self._writer.exitcode == 0 and self._stage == ENDING:
            sessions.remove(self._folder)
            return 0
        return 1

    # What happens ------------------------------------------------------------------------------------------

    def _read_commands(self) -> None:
        data = os.read(self._commands, 1 << 16)
        if not data:
            self._waiter_gone = True
            self._poll.unregister(self._commands)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            getattr(self, f"_on_{command.pop('command')}")(**command)

    def _on_main_started(self, pid: int) -> None:
        self._main = {"pid": pid, "status": None, "ended_ns": None}
        self._main_life = Life(pid, None)
        self._say_hooked(self._drain.images.values())
        self._channel.facts(form.MAIN, 0, self._main)

    def _on_main_ended(self, status: int | None, time_ns: int) -> None:
        self._main = {"pid": self._main.get("pid"), "status": status, "ended_ns": time_ns}
        self._channel.facts(form.MAIN, 0, self._main)
        wait = self._plan.wait_seconds
        self._deadline_ns = NEVER if wait is None else time_ns + int(wait * 1e9)

    def _on_hurry(self) -> None:
        self._hurry = True

    def _on_sigterm(self, _number: int, _frame: object) -> None:
        self._hurry = self._waiter_gone = True

    def _greet(self) -> None:
        """New images: watch them, and tell the waiter when one is its target."""
        for image in self._drain.arrived:
            if not image.life.gone:
                self._lives[image.life.descriptor] = image
                self._poll.register(image.life.descriptor, select.POLLIN)
        self._say_hooked(self._drain.arrived)
        self._drain.arrived.clear()
        self._bury()
        for program in self._drain.programs.arrived:
            self._programs[program.descriptor] = program
            self._poll.register(program.descriptor, select.POLLIN)
        self._drain.programs.arrived.clear()

    def _bury(self) -> None:
        for image in self._drain.departed:
            self._forget(image.life.descriptor)
            image.life.close()
        self._drain.departed.clear()

    def _say_hooked(self, images: Iterable[draining.Image]) -> None:
        pid = self._main.get("pid")
        if not self._hooked and any(image.facts["pid"] == pid for image in images):
            self._hooked = True
            self.say({"event": "hook", "pid": pid})

    def _forget(self, descriptor: int) -> None:
        if self._lives.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def say(self, result: dict[str, Any]) -> None:
        """A result for the waiter, if there still is one."""
        with suppress(BrokenPipeError):
            os.write(self._results, json.dumps(result).encode() + b"\n")

    # When it is over ----------------------------------------------------------------------------------------

    def _timeout_ms(self) -> int | None:
        if self._stage == ENDING:
            return None
        if self._stage == CLOSING and self._channel.room():
            return 0
        now = time.monotonic_ns()
        left = min(self._due_ns, self._deadline_ns) if self._main_has_ended else self._due_ns
        return max(0, (left - now) // 1_000_000 + 1)

    def _interval_ms(self) -> int:
        now = time.monotonic_ns()
        if self._drain.busy:
            self._busy_until_ns = now + LINGER_NS
        busy = now < self._busy_until_ns or self._stage == CLOSING or self._main_has_ended
        return BUSY_MS if busy else IDLE_MS

    @property
    def _main_has_ended(self) -> bool:
        return self._main.get("ended_ns") is not None

    def _is_over(self, now: int) -> bool:
        """Whether the trace ends now. Asked after the folder was listed, so whoever died left nothing unseen."""
        if self._plan.inside and not self._main_has_ended and self._main_life is not None and not self._main_lives():
            # Killed inside of the block; children may still have the other end of the commands.
            self._on_main_ended(None, now)
        if self._main_has_ended:
            return self._hurry or now >= self._deadline_ns or not self._anybody(now)
        if not self._waiter_gone:
            return False
        return self._hurry or not (self._main_lives() or self._anybody(now))

    def _anybody(self, now: int) -> bool:
        if any(image.is_program and not self._goes_on(image) for image in self._drain.open()):
            return True
        ended = self._main.get("ended_ns")
        return ended is not None and now - ended < ANNOUNCED_NS and self._is_somebody_announced()

    def _goes_on(self, image: draining.Image) -> bool:
        """Whether it is the process that traced itself, and has left the block: nobody waits for its end."""
        return self._plan.inside and self._main_has_ended and image.facts["pid"] == self._main["pid"]

    def _is_somebody_announced(self) -> bool:
        """Whether a child lives of which a parent's record speaks, and which has not begun to record."""
        self._drain.announced = {pid for pid in self._drain.announced if lives(pid)}
        return bool(self._drain.announced)

    def _main_lives(self) -> bool:
        return self._main_life is not None and not self._main_life.ended()


def _allow_descriptors() -> None:
    """Two descriptors for each traced process: as many as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
