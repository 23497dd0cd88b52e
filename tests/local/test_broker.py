"""Our own Kafka as real processes: started, killed, started again, with its data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from streams.commands import CommandError
from streams.local import fast_start
from streams.local.broker import BrokerError, LocalBroker
from streams.local.jars import ensure_jars, hash_file
from streams.local.ports import find_free_ports
from streams.local.probe import probe_any

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """Return a broker of this test alone; a test may kill it."""
    made = _create_broker(tmp_path)
    yield made
    made.stop()


def _create_broker(folder: Path, version: str = "4.1.1") -> LocalBroker:
    port, controller_port = find_free_ports(2)
    return LocalBroker(folder, port=port, controller_port=controller_port, version=version)


def write(broker: LocalBroker, *values: bytes) -> None:
    """Write records to the topic `t`, acknowledged."""
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for value in values:
        producer.send("t", value).get(timeout=30)
    producer.close()


def read_all(broker: LocalBroker) -> list[bytes]:
    """Read the topic `t` from its beginning to its end."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
    partition = TopicPartition("t", 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    values: list[bytes] = []
    while consumer.position(partition) < end:
        for records in consumer.poll(timeout_ms=1000).values():
            values += [record.value for record in records]
    consumer.close()
    return values


def create_topic(broker: LocalBroker) -> None:
    """Create the topic `t` with one partition."""
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic("t", num_partitions=1, replication_factor=1)])
    admin.close()


@pytest.mark.parametrize("version", ["4.1.1", "3.9.1"])
def test_records_survive_a_killed_broker(tmp_path: Path, version: str) -> None:
    """What was acknowledged is there after kill -9 and a new start on the same folder."""
    broker = _create_broker(tmp_path, version)
    try:
        broker.start()
        create_topic(broker)
        write(broker, b"one", b"two")
        broker.kill()

        broker.start()

        assert read_all(broker) == [b"one", b"two"]
    finally:
        broker.stop()


def test_cluster_id_stays_over_an_orderly_stop(broker: LocalBroker) -> None:
    """A stopped broker comes back as the same cluster."""
    broker.start()
    before = probe_any(broker.bootstrap)
    broker.stop()

    broker.start()

    assert before
    assert probe_any(broker.bootstrap) == before


def test_paused_broker_does_not_answer_until_resumed(broker: LocalBroker) -> None:
    """Under SIGSTOP the port is open and nothing answers."""
    broker.start()
    broker.pause()
    answered = broker.is_ready()
    broker.resume()

    assert not answered
    assert broker.is_ready()


def test_taken_port_is_a_plain_sentence(kafka: LocalBroker, tmp_path: Path) -> None:
    """A broker on another's port is refused before anything is started."""
    port = int(kafka.bootstrap.rpartition(":")[2])
    second = LocalBroker(tmp_path, port=port, controller_port=find_free_ports(1)[0])

    with pytest.raises(CommandError, match=f"Port {port} is taken"):
        second.start()


def test_data_of_a_newer_kafka_is_refused(broker: LocalBroker, tmp_path: Path) -> None:
    """An older Kafka on newer data says so instead of failing obscurely."""
    broker.prepare()

    with pytest.raises(BrokerError, match=r"written by Kafka 4\.1\.1"):
        _create_broker(tmp_path, "3.9.1").prepare()


def test_damaged_start_up_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with other bytes than were made is passed over, and one that was made is found."""
    jars = ensure_jars("4.1.1")
    cache = tmp_path / "start.aot"
    monkeypatch.setattr(fast_start, "_cache_path", lambda *_: cache)
    cache.write_bytes(b"good")
    status = cache.stat()
    stamp = f'{{"size": 4, "mtime_ns": {status.st_mtime_ns}, "sha256": "{hash_file(cache)}"}}'
    cache.with_suffix(".json").write_text(stamp, encoding="utf-8")
    assert fast_start.find_cache("4.1.1", jars) == cache

    cache.write_bytes(b"evil")
    os.utime(cache, ns=(0, 1))

    assert fast_start.find_cache("4.1.1", jars) is None
