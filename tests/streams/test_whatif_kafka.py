"""A stretch of a real broker, exported with its heartbeats and decided again from both."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from cli import main
from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Beat, Tick
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of
from streams.local.broker import LocalBroker
from streams.log_files import decode_line, open_to_read
from streams.topics import ensure_topics
from tests.streams.logs import Log

pytestmark = pytest.mark.kafka


async def write(kafka: LocalBroker, topics: Topics) -> int:
    """A small log, ticks in every partition, beats of a lone source and garbage; how many heartbeats."""
    log = Log()
    log.start(nodes=2)
    log.add_lone("service-lone")
    heartbeats = [
        (number, encode_heartbeat(Tick("worker", 1 + turn)))
        for turn in range(3)
        for number in range(WIDE_PARTITIONS)
    ]
    heartbeats += [
        (partition_of("service-lone"), encode_heartbeat(Beat("service-lone", 0, number, 5)))
        for number in range(4)
    ]
    heartbeats.append((0, b"\xff garbage\n"))
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=20) as producer:
        sent = [await producer.send(topics.events, entry.raw, partition=0) for entry in log.entries]
        sent += [await producer.send(topics.heartbeats, value, partition=at) for at, value in heartbeats]
        await asyncio.gather(*sent)
    return len(heartbeats)


def test_a_stretch_on_kafka_and_its_export_are_decided_alike(kafka: LocalBroker, tmp_path: Path) -> None:
    """Every event and heartbeat is in the file, in order, and both ways read the same."""
    prefix, path = f"t{uuid.uuid4().hex[:8]}", tmp_path / "night.jsonl.zst"
    ensure_topics(kafka.bootstrap, prefix)
    count = asyncio.run(write(kafka, Topics(prefix)))
    where = ["--bootstrap-servers", kafka.bootstrap, "--prefix", prefix]

    exported = CliRunner().invoke(main, ["events", "export", str(path), "--beats", "-o", "json", *where])
    live = CliRunner().invoke(main, ["whatif", "-o", "json", *where])
    filed = CliRunner().invoke(main, ["whatif", "-o", "json", "--file", str(path)])

    assert exported.exit_code == live.exit_code == filed.exit_code == 0, (exported.output, live.output)
    assert json.loads(exported.output)["heartbeats"] == count
    assert json.loads(live.output) == json.loads(filed.output)
    assert json.loads(live.output)["beats"] == count
    with open_to_read(path) as (file, _):
        lines = [decode_line(text, path, number) for number, text in enumerate(file, start=1)]
    for partition in range(-1, WIDE_PARTITIONS):
        offsets = [line.offset for line, _ in lines if line.partition == partition]
        assert offsets == list(range(len(offsets)))
    assert b"\xff garbage\n" in [raw for _, raw in lines]
    times = [line.append_ms for line, _ in lines]
    assert times == sorted(times)
