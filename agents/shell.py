"""Carries out what the runner says, and tells it what happens. Shell of the agents.

One turn: everything that came since the last is handed in together, after the clock has moved. If the clock
had to be cut (we were paused), the turn waits a moment first, so that what is waiting in sockets is read
before anything is judged.
"""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import msgspec

from agents import inputs as i
from agents.clock import BoundedClock
from agents.disk import write_atomic
from agents.driver import StartError
from agents.machine import Capacity, read_capacity, read_usage
from agents.provider import CreateError
from agents.runner import advance, next_wake
from agents.state import State
from sdk.contract.heartbeats import Heartbeat, Hello, Report, Unchanged
from sdk.contract.orders import AppOrder, NodeOrder

log = logging.getLogger("watchkeep.agent")

#: The clock is moved at least this often, so that an idle wait is not taken for a pause.
PULSE_S = 0.5
#: After a pause, this long is given to reading what was waiting.
READ_FIRST_S = 0.05
#: Housekeeping.
TIDY_EVERY_S = 10.0


class Hands(Protocol):
    """What acts on things: a driver or a provider behind one face."""

    async def spawn(self, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> tuple[int, str]:
        """Start a thing; its pid and name. StartError, CreateError or OSError if it cannot be."""
        ...

    async def stop(self, key: str, epoch: int) -> None:
        """Ask it to end."""
        ...

    async def kill(self, key: str, epoch: int) -> None:
        """End it now."""
        ...

    async def forget(self, key: str, epoch: int) -> None:
        """Drop its record."""
        ...

    async def tidy(self) -> None:
        """Housekeeping."""
        ...


class Way(Protocol):
    """The way to Kafka, as the shell needs it; `agents.link.Link` is one."""

    def send(self, record: Heartbeat) -> None:
        """Write the record instead of any that still waits."""
        ...

    def read_orders(self) -> None:
        """Read orders from the beginning."""
        ...


class Shell:
    """One running agent."""

    def __init__(
        self,
        state: State,
        hands: Hands,
        image_path: Path,
        clock: BoundedClock | None = None,
        *,
        limits: str = "",
        capacity: Capacity | None = None,
    ) -> None:
        """Run `state` with these hands; `limits` says how they keep apps within theirs.

        Without `capacity` the node offers the whole machine.
        """
        self.state = state
        self._limits = limits
        self._hands = hands
        self._image_path = image_path
        #: What the node may use; limits do not change while it lives.
        #: What it runs on, by which its load is measured.
        self._machine = read_capacity()
        self._capacity = capacity or self._machine
        self._clock = clock or BoundedClock()
        self._loop = asyncio.get_running_loop()
        self._way: Way | None = None
        self._given: list[i.Input] = []
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        #: Work on each key, in order.
        self._last: dict[str, asyncio.Task[None]] = {}
        self._finished: asyncio.Future[None] = self._loop.create_future()

    async def run(self, way: Way) -> None:
        """Go on until asked to stop and everything has ended."""
        self._way = way
        self.feed(i.ClaimDrawn(os.urandom(8).hex()))
        tidying = asyncio.ensure_future(self._tidy())
        try:
            await self._finished
        finally:
            tidying.cancel()
            if self._timer is not None:
                self._timer.cancel()

    def feed(self, item: i.Input) -> None:
        """Hand in what happened; the turn comes after all else that is ready now."""
        self._given.append(item)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def fail_with(self, work: asyncio.Task[None]) -> None:
        """See to it that a fault in `work` ends the agent."""

        def note(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()) and not self._finished.done():
                self._finished.set_exception(error)

        work.add_done_callback(note)

    def note_sent(self, record: Heartbeat, offset: int) -> None:
        """Kafka has a record at this offset."""
        if isinstance(record, i.Spoken):
            self.feed(i.Acknowledged(record.number, not isinstance(record, Hello), offset))

    def _turn(self) -> None:
        self._is_due = False
        if self._finished.done():
            return
        try:
            if self._clock.turn():
                self._is_due = True
                self._loop.call_later(READ_FIRST_S, self._turn)
                return
            given, self._given = self._given, []
            self.state, todo = advance(self.state, self._clock.now_ms, given)
            for instruction in todo:
                self._carry_out(instruction)
            self._wake_later()
        except Exception as error:  # noqa: BLE001 - a fault of ours ends the agent instead of half of it
            self._finished.set_exception(error)

    def _wake_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = (next_wake(self.state) - self._clock.now_ms) / 1000
        # The clock counts whole milliseconds: a little late is due, a little early would turn again.
        self._timer = self._loop.call_later(min(max(delay_s, 0.0) + 0.001, PULSE_S), self._wake)

    def _wake(self) -> None:
        self._timer = None
        if not self._is_due:
            self._is_due = True
            # Once round the loop, so that what arrived together with the timer is read before it is judged.
            self._loop.call_soon(self._turn)

    def _carry_out(self, instruction: i.Instruction) -> None:
        match instruction:
            case i.Spawn() | i.Stop() | i.Kill() | i.Forget():
                self._queue(instruction.key, self._act(instruction))
            case i.Send(record) if self._way is not None:
                self._way.send(_stamped(record, self._capacity, self._machine, self._limits))
            case i.ReadOrders() if self._way is not None:
                self._way.read_orders()
            case i.Save(image):
                self._save(msgspec.json.encode(image))
            case i.DrawClaim():
                self.feed(i.ClaimDrawn(os.urandom(8).hex()))
            case i.Say(level, text):
                log.log(logging.getLevelNamesMapping()[level.upper()], text)
            case i.Finish():
                self._finish()

    async def _act(self, instruction: i.Spawn | i.Stop | i.Kill | i.Forget) -> None:
        match instruction:
            case i.Spawn(key, epoch, order):
                await self._spawn(key, epoch, order)
            case i.Stop(key, epoch):
                await self._hands.stop(key, epoch)
            case i.Kill(key, epoch):
                await self._hands.kill(key, epoch)
            case i.Forget(key, epoch):
                await self._hands.forget(key, epoch)

    def _save(self, content: bytes) -> None:
        try:
            write_atomic(self._image_path, content)
        except OSError as error:
            # Apps are worth more than the record of them: go on, and say so without a traceback.
            log.error("cannot write %s: %s", self._image_path, error)  # noqa: TRY400

    def _queue(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` after what was begun on the same key before."""
        task = asyncio.ensure_future(self._after(self._last.get(key), work))
        self._last[key] = task
        task.add_done_callback(lambda done: self._note_done(key, done))

    async def _after(self, before: asyncio.Task[None] | None, work: Coroutine[Any, Any, None]) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        try:
            await work
        except OSError:
            log.exception("could not act on a thing")

    def _note_done(self, key: str, done: asyncio.Task[None]) -> None:
        if self._last.get(key) is done:
            del self._last[key]
        if not done.cancelled() and (error := done.exception()) and not self._finished.done():
            self._finished.set_exception(error)

    async def _spawn(self, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> None:
        try:
            pid, name = await self._hands.spawn(key, epoch, order)
        except (StartError, CreateError, OSError) as error:
            log.warning("%s (epoch %d) cannot be started: %s", key, epoch, error)
            self.feed(i.Exited(key, epoch, 127, str(error)))
        else:
            self.feed(i.Spawned(key, epoch, pid, name))

    def _finish(self) -> None:
        """End once nothing is left to do."""
        left = list(self._last.values())
        if left:
            rest = asyncio.ensure_future(asyncio.wait(left, timeout=1.0))
            rest.add_done_callback(lambda _: self._resolve())
        else:
            self._resolve()

    def _resolve(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            await self._hands.tidy()


def _stamped(record: i.Spoken, capacity: Capacity, machine: Capacity, limits: str) -> i.Spoken:
    """The record with the sender's clock, which is only ever shown, and with what the machine has or how busy it is."""
    sent_at_ms = int(time.time() * 1000)
    if isinstance(record, Report | Unchanged):
        return msgspec.structs.replace(record, sent_at_ms=sent_at_ms, **read_usage(machine)._asdict())
    if isinstance(record, Hello) and record.port:
        return msgspec.structs.replace(record, sent_at_ms=sent_at_ms, limits=limits, **capacity._asdict())
    return msgspec.structs.replace(record, sent_at_ms=sent_at_ms)
