"""Kafka as an agent sees it: the newest record goes up, orders come down. Shell of the agents.

1. Only the newest record waits to be sent; what it replaces is worth nothing any more.
2. A request that hangs 3 s is given up together with its client: a broker that was stopped and continued, or
   killed and started again, is met with a fresh one. There is at most one try a quarter second.
3. Orders are read by `assign` from offset 0; `on_caught_up` comes at the end seen when reading began.
4. One line in the log when an outage begins, one when it is over.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from sdk.contract.codec import DecodeError, decode_orders, encode_heartbeat
from sdk.contract.heartbeats import Heartbeat
from sdk.contract.orders import Orders
from sdk.contract.topics import Topics, partition_of

log = logging.getLogger("watchkeep.link")

#: A request gets this long. Source: DESIGN 6, with the settling time of the log clock.
REQUEST_TIMEOUT_S = 3.0
#: Between two tries while Kafka is away; well under the reconnect cap of 1 s.
RETRY_PAUSE_S = 0.25
#: A fetch waits this long at the broker for something new; longer only saves empty answers.
FETCH_WAIT_MS = 2_000
#: Bound of closing a client: what it still holds is worthless.
CLOSE_WITHIN_S = 0.5

_AWAY = (KafkaError, OSError, TimeoutError)


class Link:
    """The way to Kafka and back for one reporter."""

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        reporter: str,
        *,
        on_sent: Callable[[Heartbeat, int], None],
        on_orders: Callable[[Orders], None],
        on_caught_up: Callable[[], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._reporter = reporter
        self._on_sent = on_sent
        self._on_orders = on_orders
        self._on_caught_up = on_caught_up
        self._newest: Heartbeat | None = None
        self._fresh = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._is_reading_start = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._away_since_s: float | None = None
        #: Records under our key that could not be read.
        self.undecodable = 0
        self._task = asyncio.ensure_future(self._write())

    @property
    def is_away(self) -> bool:
        """Whether Kafka did not take the last record."""
        return self._away_since_s is not None

    def send(self, record: Heartbeat) -> None:
        """Write `record` as soon as possible, unless a newer one comes first."""
        self._newest = record
        self._fresh.set()

    def read_orders(self) -> None:
        """Read orders from the beginning with a fresh client, unless just that is going on."""
        if self._reader is not None:
            if self._is_reading_start:
                return
            self._reader.cancel()
        self._is_reading_start = True
        self._reader = asyncio.ensure_future(self._read())

    async def close(self) -> None:
        """Let go of Kafka; bounded."""
        tasks = [task for task in (self._task, self._reader, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=2 * CLOSE_WITHIN_S)

    async def _write(self) -> None:
        """Send the newest record, one at a time, for ever."""
        producer: AIOKafkaProducer | None = None
        partition = partition_of(self._reporter)
        try:
            while True:
                await self._fresh.wait()
                self._fresh.clear()
                record, self._newest = self._newest, None
                if record is None:
                    continue
                try:
                    async with asyncio.timeout(REQUEST_TIMEOUT_S):
                        if producer is None:
                            producer = self._new_producer()
                            await producer.start()
                        stands = await producer.send_and_wait(
                            self._topics.heartbeats,
                            encode_heartbeat(record),
                            key=self._reporter.encode(),
                            partition=partition,
                        )
                except _AWAY as error:
                    self._note_away(error)
                    if producer is not None:
                        self._discard(_close_producer(producer))
                        producer = None
                    if self._newest is None:
                        self._newest = record
                    self._fresh.set()
                    await asyncio.sleep(RETRY_PAUSE_S)
                else:
                    self._note_back()
                    self._on_sent(record, stands.offset)
        finally:
            if producer is not None:
                await _close_producer(producer)

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._reporter,
            linger_ms=0,
            acks="all",
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
            retry_backoff_ms=100,
        )

    async def _read(self) -> None:
        """Hand on every orders record under our key, from the first on."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                client_id=self._reporter,
                group_id=None,
                # Explicit, with `seek`: assigning and seeking to the beginning races with a reset to the end.
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                fetch_max_wait_ms=FETCH_WAIT_MS,
                request_timeout_ms=FETCH_WAIT_MS + int(REQUEST_TIMEOUT_S * 1000),
                retry_backoff_ms=100,
            )
            try:
                await self._follow(consumer)
            except _AWAY as error:
                self._note_away(error)
            finally:
                self._discard(_close_consumer(consumer))
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        place = TopicPartition(self._topics.commands, partition_of(self._reporter))
        async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
            await consumer.start()
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            consumer.seek(place, 0)
        self._is_reading_start = True
        key = self._reporter.encode()
        position = 0
        while True:
            if self._is_reading_start and position >= end:
                self._is_reading_start = False
                self._on_caught_up()
            batches = await consumer.getmany(place, timeout_ms=60_000)
            for record in batches.get(place, ()):
                position = record.offset + 1
                if record.key == key and record.value is not None:
                    self._take(record.value)

    def _take(self, value: bytes) -> None:
        try:
            orders = decode_orders(self._reporter, value)
        except DecodeError as error:
            self.undecodable += 1
            if self.undecodable == 1:
                log.warning("orders that cannot be read are ignored and counted; the first: %s", error)
            return
        self._on_orders(orders)

    def _note_away(self, error: BaseException) -> None:
        if self._away_since_s is None:
            self._away_since_s = asyncio.get_running_loop().time()
            why = str(error) or type(error).__name__
            log.warning("Kafka at %s does not answer (%s): everything goes on", self._bootstrap, why)

    def _note_back(self) -> None:
        if self._away_since_s is not None:
            away_s = asyncio.get_running_loop().time() - self._away_since_s
            self._away_since_s = None
            log.warning("Kafka answers again after %.1f s", away_s)

    def _discard(self, closing: Coroutine[Any, Any, None]) -> None:
        """Close a client beside the work."""
        task = asyncio.ensure_future(closing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close_producer(producer: AIOKafkaProducer) -> None:
    """Close without flushing: an old record must not arrive after a newer one."""
    # `stop` flushes first, for as long as that takes; aiokafka 0.14 has no public way around it.
    producer._closed = True  # noqa: SLF001
    with contextlib.suppress(*_AWAY, asyncio.CancelledError):
        async with asyncio.timeout(CLOSE_WITHIN_S):
            if producer._sender is not None:  # noqa: SLF001
                await producer._sender.close()  # noqa: SLF001
            await producer.client.close()


async def _close_consumer(consumer: AIOKafkaConsumer) -> None:
    with contextlib.suppress(*_AWAY, asyncio.CancelledError):
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await consumer.stop()
