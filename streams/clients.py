"""Kafka clients as Watchkeep needs them, and a log that an outage cannot flood. Shell.

Rules (found the hard way, see docs/adr):
1. A consumer is assigned, never subscribed: no group, no rebalance. `auto_offset_reset` stays "earliest" and
   positions are set with `seek(tp, offset)`; `seek_to_beginning` races with the default reset.
2. A producer gives up a record after `SEND_WITHIN_MS`; what was not acknowledged may or may not be on the log.
"""

import asyncio
import logging
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

_log = logging.getLogger(__name__)

#: A record not acknowledged within this time has an unknown outcome. Source: DESIGN 6, delivery of beat producers.
SEND_WITHIN_MS = 3_000
#: A request of a reader without an answer for this long is given up and its connection made anew: over
#: `FETCH_WAIT_MS`, short enough that a cut network is noticed before the silence limit.
READ_WITHIN_MS = 5_000
#: How long the broker may hold a fetch when there is nothing; it answers at once when there is.
FETCH_WAIT_MS = 500
#: Largest fetch of one partition, bytes: several times the largest record.
FETCH_BYTES = 4 << 20
#: Pause between tries to reach the broker at the start, s.
RETRY_S = 0.5
#: One line about trouble with the broker per this time, s; aiokafka alone writes 150 a minute.
COMPLAIN_EVERY_S = 5.0


def create_reader(bootstrap: str) -> AIOKafkaConsumer:
    """A consumer without a group; assign and seek it."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
        request_timeout_ms=READ_WITHIN_MS,
    )


def create_writer(bootstrap: str, *, acks: str | int = "all") -> AIOKafkaProducer:
    """A producer that sends at once and gives up after `SEND_WITHIN_MS`."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks=acks,
        linger_ms=0,
        request_timeout_ms=SEND_WITHIN_MS,
        max_batch_size=256 << 10,
        max_request_size=2 << 20,
    )


async def start_clients(*clients: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Start clients; a broker that does not answer is waited for."""
    for client in clients:
        while True:
            try:
                await client.start()
                break
            except KafkaError as error:
                _log.warning("waiting for Kafka: %s", error)
                await asyncio.sleep(RETRY_S)


async def end_offsets(
    reader: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition."""
    ends: dict[TopicPartition, int] = await reader.end_offsets(partitions)
    return ends


class _Seldom(logging.Filter):
    """Lets one record of a logger through per `COMPLAIN_EVERY_S`."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return False
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + COMPLAIN_EVERY_S
        return True


def quieten_kafka_logs() -> None:
    """Keep the clients' loggers from writing a line for each retry of an outage."""
    seldom = _Seldom()
    # A filter counts for its own logger only, so each of theirs gets it.
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "aiokafka"]
    for name in ("aiokafka", *names):
        logging.getLogger(name).addFilter(seldom)
    # Said outright: records below it are made and thrown away otherwise, a fifth of an idle worker's CPU.
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    logging.getLogger("kafka").setLevel(logging.ERROR)
