"""A topic of lone beats, written as fast as it goes: `python -m bench.fleets.filling` with its order on stdin.

Each pass has every source once, in an order of its own; the first is there to make everybody known, and is not
measured. Between the beats of a partition stand ticks, as a worker writes them. Prints where the measured part begins
and ends.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from bench.fleets.crowd import lone_name
from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Beat, Tick
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of

#: Records of a batch: what gathers for one partition in the 60 ms that a request takes when 60,000 beat a second.
_BATCH_RECORDS: Final = 500
#: Beats of a partition for each tick. Source: 4 ticks a second among the 7,500 beats of 300,000 sources, and half as
#: many again, so that few sources have as many turns.
_BEATS_PER_TICK: Final = 1_250
#: More than so many beats take, bytes.
_BATCH_BYTES: Final = 256 << 10
#: Batches under way at once.
_UNDER_WAY: Final = 64
WRITER: Final = "worker/filling/1"


class Order(msgspec.Struct, frozen=True):
    """What is to be written."""

    bootstrap: str
    prefix: str
    lone: int
    #: Beats after the first pass.
    beats: int
    seed: int


class Filled(msgspec.Struct, frozen=True):
    """What stands there, by partition."""

    #: Offset of the first measured record, and the one after the last.
    begins: list[int]
    ends: list[int]
    seconds: float


class Filling:
    """One topic."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._topic = Topics(order.prefix).heartbeats
        self._chance = random.Random(order.seed)  # an order that can be repeated
        self._numbers = 0
        self._ticks = [0] * WIDE_PARTITIONS
        self._beats = [0] * WIDE_PARTITIONS
        self._offsets = [0] * WIDE_PARTITIONS
        self._waiting: set[Any] = set()

    async def run(self) -> Filled:
        """Write everything; return when all is acknowledged."""
        beat = Beat("service-1", 0, 7, 8)
        assert encode_heartbeat(beat) == _value(b"service-1", 7, 8)
        self._keys = [lone_name(number).encode() for number in range(self._order.lone)]
        self._places = [partition_of(key.decode()) for key in self._keys]
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._order.bootstrap, acks=1, linger_ms=0, max_batch_size=_BATCH_BYTES
        )
        await self._producer.start()
        began_s = time.monotonic()
        try:
            self._batches = [self._producer.create_batch() for _ in range(WIDE_PARTITIONS)]
            await self._write(self._order.lone)
            begins = list(self._offsets)
            await self._write(self._order.beats)
        finally:
            await self._producer.stop()
        return Filled(begins, list(self._offsets), time.monotonic() - began_s)

    async def _write(self, beats: int) -> None:
        """Write so many beats, pass after pass, and a tick at the end of each partition."""
        left = beats
        while left > 0:
            sources = list(range(len(self._keys)))
            self._chance.shuffle(sources)
            for source in sources[:left]:
                await self._beat(source)
            left -= len(sources)
        for partition in range(WIDE_PARTITIONS):
            self._tick(partition)
            await self._send(partition)
        for sent in self._waiting:
            await sent
        self._waiting.clear()

    async def _beat(self, source: int) -> None:
        self._numbers += 1
        key, partition = self._keys[source], self._places[source]
        # Each source counts its own, so a few of many have the number that is compared again.
        number = self._numbers // len(self._keys) + source
        self._append(partition, key, _value(key, number, time.time_ns() // 1_000_000))
        self._beats[partition] += 1
        if self._beats[partition] % _BEATS_PER_TICK == 0:
            self._tick(partition)
        if self._batches[partition].record_count() >= _BATCH_RECORDS:
            await self._send(partition)

    def _tick(self, partition: int) -> None:
        self._ticks[partition] += 1
        self._append(partition, WRITER.encode(), encode_heartbeat(Tick(WRITER, self._ticks[partition])))

    def _append(self, partition: int, key: bytes, value: bytes) -> None:
        assert self._batches[partition].append(key=key, value=value, timestamp=None) is not None
        self._offsets[partition] += 1

    async def _send(self, partition: int) -> None:
        batch = self._batches[partition]
        self._batches[partition] = self._producer.create_batch()
        self._waiting.add(await self._producer.send_batch(batch, self._topic, partition=partition))
        if len(self._waiting) >= _UNDER_WAY:
            _, self._waiting = await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)


def _value(key: bytes, number: int, at_ms: int) -> bytes:
    return b'["b","%b",0,%d,%d,0]' % (key, number, at_ms)


def main() -> None:
    """Obey the order on standard input and print what stands there."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(Filling(order).run())))


if __name__ == "__main__":
    main()
