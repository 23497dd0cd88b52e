"""What is used of the inside of aiokafka's reader, on a real broker: it is still there and means the same."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from sdk.contract.codec import DecodeError, decode_heartbeat, encode_heartbeat
from sdk.contract.heartbeats import AppEntry, Beat, Report, Tick
from sdk.contract.topics import Topics
from streams.clients import create_reader, create_writer, start_clients
from streams.core.appender import Appender
from streams.core.batches import as_record, read_batches
from streams.core.heartbeats import Hearing
from streams.core.letters import Letters
from streams.core.snapshots import Snapshots
from streams.local.broker import LocalBroker
from streams.topics import ensure_topics
from tables.silence import PartitionWatch
from tables.state import State
from tables.watcher import Watcher
from tests.tables.plain_silence import PlainWatch

pytestmark = pytest.mark.kafka

_PARTITION = 3
_GARBAGE = b"\xffgarbage"


@pytest.fixture
def topics(kafka: LocalBroker) -> Topics:
    """A platform of its own."""
    name = f"t{uuid.uuid4().hex[:8]}"
    ensure_topics(kafka.bootstrap, name)
    return Topics(name)


def _values() -> list[bytes]:
    report = Report("node-10.0.0.1_8101", 7, 9, 1, 0, [AppEntry("application-a", 9, "running", 100)])
    values = []
    for number in range(1, 400):
        values += [encode_heartbeat(Beat(f"service-{source}", 0, number, 0)) for source in range(5)]
        if number % 20 == 0:
            values += [encode_heartbeat(report), encode_heartbeat(Tick("w", number)), _GARBAGE]
    return values


async def _fill(bootstrap: str, topic: str, compression: str | None) -> int:
    """Write batches of many sizes; return how many records."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=compression, max_batch_size=1 << 20
    )
    await start_clients(producer)
    values = _values()
    begin = 0
    for size in (1, 127, 128, 129, 256, 300, len(values)):
        batch = producer.create_batch()
        for value in values[begin : begin + size]:
            assert batch.append(key=b"key", value=value, timestamp=None) is not None
        begin += size
        await (await producer.send_batch(batch, topic, partition=_PARTITION))
    await producer.stop()
    return len(values)


async def _read_plainly(bootstrap: str, at: TopicPartition, end: int) -> tuple[PlainWatch, list[Any]]:
    """What `getmany` gives, through the plain watch."""
    reader = create_reader(bootstrap)
    records: list[Any] = []
    await start_clients(reader)
    reader.assign([at])
    reader.seek(at, 0)
    while len(records) < end:
        for some in (await reader.getmany(timeout_ms=1_000)).values():
            records += some
    await reader.stop()
    plain, policy = PlainWatch(_PARTITION, begin=0), State().policy
    for record in records:
        try:
            heard = decode_heartbeat(record.value)
        except DecodeError:
            heard = None
        plain.apply(record.offset, record.timestamp, heard, policy)
    return plain, records


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_hearing_knows_what_a_plain_reader_knows(
    kafka: LocalBroker, topics: Topics, tmp_path: Path, compression: str | None
) -> None:
    """Batches of any size, compressed or not, with garbage among them, that begin before where reading goes on."""

    async def work() -> None:
        end = await _fill(kafka.bootstrap, topics.heartbeats, compression)
        at = TopicPartition(topics.heartbeats, _PARTITION)
        plain, records = await _read_plainly(kafka.bootstrap, at, end)
        watcher, producer = Watcher(State()), create_writer(kafka.bootstrap)
        await start_clients(producer)
        letters = Letters(Appender(producer, topics, "worker/test/1"), topics)
        ticks: list[Tick] = []
        heard_all = asyncio.Event()

        def look() -> None:
            if watcher.watches[_PARTITION].next_offset == end:
                heard_all.set()

        snapshots = Snapshots(tmp_path / "core")
        # As if it had been saved in the middle of a batch.
        middle = PartitionWatch(_PARTITION, begin=0)
        for record in records[:200]:
            heard = None if record.value == _GARBAGE else decode_heartbeat(record.value)
            middle.apply(record.offset, record.timestamp, heard, watcher.policy)
        middle.compared(set(middle.heard))
        snapshots.save(State(), set(), [middle], [], topic_id="t")
        hearing = Hearing(
            bootstrap=kafka.bootstrap,
            topic=topics.heartbeats,
            watcher=watcher,
            snapshots=snapshots,
            letters=letters,
            hear_tick=lambda _, tick: ticks.append(tick),
            wake=look,
        )
        reading = asyncio.create_task(hearing.run())
        await heard_all.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await producer.stop()
        snapshots.close()

        watch = watcher.watches[_PARTITION]
        assert watch.sessions == plain.sessions
        assert watch.clock_ms == plain.clock_ms
        assert {name: it.report for name, it in watch.reports.items()} == {
            name: it.report for name, it in plain.reports.items()
        }
        garbage = [record.offset for record in records if record.value == _GARBAGE]
        assert [tick.number for tick in ticks] == [n for n in range(20, 400, 20) if n >= 40]
        assert [letter.offset for letter in letters.pending] == [it for it in garbage if it >= 200]

    asyncio.run(asyncio.wait_for(work(), 60))


def test_record_of_a_batch_is_as_getmany_gives_it(kafka: LocalBroker, topics: Topics) -> None:
    """Field by field, so that a dead letter says the same; and a position after it is one after its batch."""

    async def work() -> None:
        end = await _fill(kafka.bootstrap, topics.heartbeats, None)
        at = TopicPartition(topics.heartbeats, _PARTITION)
        _, records = await _read_plainly(kafka.bootstrap, at, end)
        reader = create_reader(kafka.bootstrap)
        found: list[Any] = []
        await start_clients(reader)
        reader.assign([at])
        reader.seek(at, 0)
        read_batches(reader)
        while len(found) < end:
            for batches in (await reader.getmany(timeout_ms=1_000, max_records=2)).values():
                assert len(batches) <= 2
                found += [as_record(at, record) for batch in batches for record in batch]
                assert await reader.position(at) == found[-1].offset + 1
        await reader.stop()
        assert found == records

    asyncio.run(asyncio.wait_for(work(), 60))
