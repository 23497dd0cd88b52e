"""Writes to the log and to the other topics that the core writes; every outcome is known or said unknown. Shell."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sdk.contract.codec import encode_event
from sdk.contract.events import Event, subject_of
from sdk.contract.ids import derive_id
from sdk.contract.topics import Topics

_log = logging.getLogger(__name__)

#: So many events of one call are sent as a batch of their own: one by one, each with its future, they cost eight times
#: as much. Fewer join what others write at the same moment, which a batch never does: it waits until those are sent.
BATCH_FROM = 16


class Appender:
    """Appends events in order, and single records elsewhere."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, writer: str) -> None:
        self._producer = producer
        self._topics = topics
        self.writer = writer
        self._tasks: set[asyncio.Task[None]] = set()
        #: Fails with the first error that is not Kafka's; the core ends with it.
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def append(self, events: list[tuple[str, Event, str]]) -> list[int]:
        """Append (id, event, cause) in this order and return their offsets.

        Raises:
            KafkaError: at least one was not acknowledged; it may or may not be on the log.
        """
        at_ms = time.time_ns() // 1_000_000
        records = [
            (
                subject_of(event).encode(),
                encode_event(event, event_id=event_id, cause=cause, writer=self.writer, at_ms=at_ms),
            )
            for event_id, event, cause in events
        ]
        return await (self._send_each(records) if len(records) < BATCH_FROM else self._send_batches(records))

    async def _send_each(self, records: list[tuple[bytes, bytes]]) -> list[int]:
        topic = self._topics.events
        waiting = [await self._producer.send(topic, value, key=key, partition=0) for key, value in records]
        return [result.offset for result in await _gather(waiting)]

    async def _send_batches(self, records: list[tuple[bytes, bytes]]) -> list[int]:
        left, waiting, counts = deque(records), [], []
        while left:
            batch = self._producer.create_batch()
            while left and batch.append(key=left[0][0], value=left[0][1], timestamp=None) is not None:
                left.popleft()
            counts.append(batch.record_count())
            waiting.append(await self._producer.send_batch(batch, self._topics.events, partition=0))
        firsts = [result.offset for result in await _gather(waiting)]
        return [first + place for first, count in zip(firsts, counts, strict=True) for place in range(count)]

    async def put(self, topic: str, key: bytes, value: bytes | None, *, partition: int = 0) -> None:
        """Write one record and wait for its acknowledgement; raises KafkaError if it does not come."""
        await self._producer.send_and_wait(topic, value, key=key, partition=partition)

    def later(self, work: Awaitable[object], failed: Callable[[], None] | None = None) -> None:
        """Do `work` beside the loop; a Kafka error calls `failed`, any other ends the core."""
        task = asyncio.ensure_future(_guard(work, failed))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.broken.done():
            self.broken.set_exception(error)

    async def close(self) -> None:
        """Drop what is still under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _gather(waiting: list[Any]) -> list[Any]:
    """What the broker answered to each, once all are answered; raises the first error."""
    results: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


async def _guard(work: Awaitable[object], failed: Callable[[], None] | None) -> None:
    try:
        await work
    except KafkaError as error:
        _log.debug("a write was not acknowledged: %r", error)
        if failed is not None:
            failed()


def decision_id(event: Event, *, based_on: int, place: int) -> str:
    """Id of a decision, derived from what it says, the offset it was made at and its place in the batch."""
    return derive_id("decision", repr(event), based_on, place)
