"""Topics full of the beats of lone sources, as their clients write them. Shell.

The value is what `encode_heartbeat` gives, the key is the source, the partition is the source's. Every source beats
once, then every source a second time, until there are enough.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from bench.fleets.crowd import lone_name
from bench.results import BenchError
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of
from streams.topics import ensure_topics

#: Largest batch: below the broker's largest message of 1 MiB.
_BATCH_BYTES: Final = 900_000
#: So many batches are under way at once.
_UNDER_WAY: Final = 16


def fill(bootstrap: str, *, sources: int, beats: int) -> str:
    """The prefix of new topics, whose heartbeats are `beats` records of `sources` sources.

    Raises:
        BenchError: the topics could not be made.
    """
    prefix = f"peers-{uuid.uuid4().hex[:8]}"
    if faults := ensure_topics(bootstrap, prefix):
        raise BenchError(f"Topic {faults[0].topic}: {faults[0].fault}.")
    asyncio.run(_write(bootstrap, Topics(prefix).heartbeats, sources=sources, beats=beats))
    return prefix


def beat_value(name: bytes, number: int, sent_at_ms: int) -> bytes:
    """One beat as it stands in the topic."""
    return b'["b","%b",0,%d,%d,0]' % (name, number, sent_at_ms)


async def _write(bootstrap: str, topic: str, *, sources: int, beats: int) -> None:
    names = [lone_name(number).encode() for number in range(sources)]
    places = [partition_of(name.decode()) for name in names]
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks=1,
        linger_ms=0,
        max_batch_size=_BATCH_BYTES,
        max_request_size=8 * _BATCH_BYTES,
    )
    await producer.start()
    try:
        under_way: list[Any] = []
        batches = [producer.create_batch() for _ in range(WIDE_PARTITIONS)]
        for number in range(beats):
            name, at = names[number % sources], places[number % sources]
            value = beat_value(name, number + 1, number)
            if batches[at].append(key=name, value=value, timestamp=None) is None:
                under_way.append(await producer.send_batch(batches[at], topic, partition=at))
                batches[at] = producer.create_batch()
                batches[at].append(key=name, value=value, timestamp=None)
                if len(under_way) > _UNDER_WAY:
                    await under_way.pop(0)
        for at, batch in enumerate(batches):
            if batch.record_count():
                under_way.append(await producer.send_batch(batch, topic, partition=at))
        await asyncio.gather(*under_way)
    finally:
        await producer.stop()
