"""The Faust processors: `requests` admits what people want, `views` writes the published tables. Shell.

Neither computes state: the fold in the core thread does. What Faust gives is membership, leadership, the tables
and their state topics. An exception that escaped here would acknowledge the event and lose it (Faust), so every
path ends in an acknowledgement earned or the end of the process.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import faust

from sdk.contract.codec import DecodeError, decode_request
from streams.core.core import Core
from streams.core.handover import Handover
from streams.core.pace import Pace
from streams.faust_fixes import LoopGuard, exit_at_once, partition_context
from tables.views import ViewKey

_log = logging.getLogger(__name__)

#: How often rows that no event leads to (repairs) are looked for, s.
REPAIR_EVERY_S = 0.25
#: Rows written before the loop lets others run: a row costs 0.2 to 0.5 ms, so well under half a session.
SLICE = 100
#: Rows that may wait in Faust's producer: a second or two of what it sends under load. What is beyond waits in the
#: handover, where a newer version of a row takes the place of the older one. With 20,000 Faust stopped delivering
#: events for longer than `pace.STUCK_S` while it emptied its buffer (bench.planner at 1,000 nodes).
BUFFERED_MAX = 1_000
#: How often it is looked whether the processors stand still, s.
WATCH_EVERY_S = 1.0


async def admit_requests(stream: Any, core: Core) -> None:
    """Answer each request on the log before it is acknowledged; garbage becomes a dead letter."""
    await core.built()
    async for event in stream.events():
        message = event.message
        try:
            asked = decode_request(message.value)
        except DecodeError as error:
            await asyncio.wrap_future(core.bury(message, str(error)))
            core.pace.handled(message.topic, message.offset)
            continue
        try:
            await asyncio.wrap_future(core.admit(asked))
            core.pace.handled(message.topic, message.offset)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # Faust would acknowledge the request and forget it
            exit_at_once(f"request {asked.id} could not be admitted: {error!r}")


async def write_views(stream: Any, writer: "ViewWriter", pace: Pace) -> None:
    """After each event of the log, write the rows it changed."""
    writer.handover.attach_writer()
    async for event in stream.events():
        try:
            await writer.handover.wait_folded(event.message.offset)
            await writer.write()
            pace.handled(event.message.topic, event.message.offset)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # the rows would be lost until somebody compares
            exit_at_once(f"rows of the view could not be written: {error!r}")


async def watch_pace(app: Any, pace: Pace, owns: Callable[[], bool]) -> None:
    """End a worker whose processors stand still although records wait for them."""
    while True:
        await asyncio.sleep(WATCH_EVERY_S)
        if not owns():
            pace.rest()
            continue
        committed = {tp.topic: offset or 0 for tp, offset in app.consumer._committed_offset.items()}  # noqa: SLF001
        if topic := pace.stuck(committed):
            exit_at_once(f"records of {topic} wait and nothing handles them")


class ViewWriter:
    """The only writer of the Faust tables."""

    def __init__(self, app: faust.App, tables: dict[str, Any], handover: Handover, guard: LoopGuard) -> None:
        self.app = app
        self.handover = handover
        self._tables = tables
        self._guard = guard

    async def write(self) -> None:
        """Write the rows that wait now; must run where table writes are legal.

        In slices: a loop that stood still for a long backlog would be taken for one that was paused. And no more than
        the producer has room for: the rest is written after the next event, or by the repairs.
        """
        left = min(self.handover.waiting(), BUFFERED_MAX - self.app.producer.buffer.size)
        while left > 0:
            self._guard.check()
            for view, value in self.handover.take(min(left, SLICE)).items():
                self._put(view, value)
            left -= SLICE
            await asyncio.sleep(0)

    def _put(self, view: ViewKey, value: bytes | None) -> None:
        table, key = self._tables[view.table], view.key.encode()
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value

    async def repair(self, topic: str) -> None:
        """Write rows that no event leads to: after a takeover, and what somebody else overwrote."""
        while True:
            await asyncio.sleep(REPAIR_EVERY_S)
            if self.app.rebalancing or not self.app.tables.actives_ready:
                continue
            with partition_context(self.app, topic, 0):
                await self.write()
