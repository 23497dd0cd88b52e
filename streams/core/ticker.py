"""Ticks: a worker's beat of the clock on every heartbeat partition. Shell.

A tick every `TICK_MS` unless another worker's came within `OTHERS_MS`, but one of our own at least every
`OWN_MS`: reading it back is how this worker knows that it has read a partition to its end (tables.watcher).
While this worker bridges it writes every tick: its ticks alone say that the topics were read (tables.bridged).
"""

import asyncio
from collections import deque

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Tick
from sdk.contract.topics import WIDE_PARTITIONS
from streams.core import monotonic
from streams.core.pace import Pace
from tables.bridged import BRIDGE_LAG_MS

#: Source: DESIGN 6. More makes detection later by as much; less costs every partition a record.
TICK_MS = 250
OTHERS_MS = 200
#: Half of what counts as fresh, so that one lost tick does not make a partition stale.
OWN_MS = 450
#: Longer than this between two acknowledgements, and the broker was away: twice the longest pause between ticks.
PAUSE_MS = 1_000
#: Ticks of ours remembered until they are read back: ten seconds of them.
_SENT_MAX = 40


class Ticker:
    """Writes ticks and remembers when each was sent."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, writer: str, pace: Pace) -> None:
        self._producer = producer
        self._topic = topic
        self._writer = writer
        self._pace = pace
        self._number = 0
        #: Per partition: monotonic ms of the newest tick of another worker that was read, and of our last.
        self._others_ms = [-OTHERS_MS] * WIDE_PARTITIONS
        self._own_ms = [-OWN_MS] * WIDE_PARTITIONS
        self._sent: deque[tuple[int, int]] = deque(maxlen=_SENT_MAX)
        #: Per partition: when the broker acknowledged a tick last, and when it began to again after a pause.
        self.acknowledged_ms = [0] * WIDE_PARTITIONS
        self.resumed_ms = [0] * WIDE_PARTITIONS
        self._flight: asyncio.Future[list[object]] | None = None
        #: What the bridge beside it has read last: as of which offset of the log, and when it began to.
        self._bridged = self._bridged_at_ms = 0

    def note_bridged(self, as_of: int, began_ms: int) -> None:
        """All topics that the log names up to `as_of` were read to their end, and their beats stand; 0: no more."""
        self._bridged, self._bridged_at_ms = as_of, began_ms

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self._tick()
            await asyncio.sleep(TICK_MS / 1000)

    def read(self, partition: int, tick: Tick) -> int | None:
        """A tick was read: when it was sent (monotonic ms) if it is ours, else None."""
        if tick.writer != self._writer:
            self._others_ms[partition] = monotonic.now_ms()
            return None
        return next((at for number, at in self._sent if number == tick.number), None)

    async def _tick(self) -> None:
        if self._flight is not None and not self._flight.done():
            return  # The broker is away: one batch of ticks waits, more would come back as a flood.
        now_ms = monotonic.now_ms()
        bridged = self._bridged if now_ms - self._bridged_at_ms < BRIDGE_LAG_MS else 0
        partitions = [
            partition
            for partition in range(WIDE_PARTITIONS)
            if bridged
            or now_ms - self._others_ms[partition] >= OTHERS_MS
            or now_ms - self._own_ms[partition] >= OWN_MS
        ]
        if not partitions:
            return
        self._number += 1
        self._sent.append((self._number, now_ms))
        value = encode_heartbeat(Tick(self._writer, self._number, bridged))
        sent = []
        try:
            for partition in partitions:
                self._own_ms[partition] = now_ms
                acked = await self._producer.send(self._topic, value, partition=partition)
                acked.add_done_callback(lambda done, at=partition: self._acknowledge(at, done))
                sent.append(acked)
        except KafkaError:
            return
        self._flight = asyncio.gather(*sent, return_exceptions=True)

    def _acknowledge(self, partition: int, done: "asyncio.Future[object]") -> None:
        if not done.cancelled() and done.exception() is None:
            now_ms = monotonic.now_ms()
            if now_ms - self.acknowledged_ms[partition] > PAUSE_MS:
                self.resumed_ms[partition] = now_ms
            self.acknowledged_ms[partition] = now_ms
            self._pace.online()
