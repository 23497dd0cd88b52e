"""A Kafka in memory: topics, and clients with those methods of kafka-python that the SDK uses. Part of `sdk.testing`.

Rules, as of a broker with LogAppendTime: offsets grow by one within a partition; a client that is cut off raises what
kafka-python raises; what was read once can be read again; a topic that does not exist is not made by who reads it.
"""

import threading
import time
from collections import defaultdict
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaConnectionError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from sdk.clock import now_ms

#: What a poll returns at most, as kafka-python by default.
_POLL_MAX = 500


class Record(NamedTuple):
    """One record, with kafka-python's names."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Broker:
    """Topics in memory; everything may be called from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._topics: dict[str, list[list[Record]]] = {}
        #: First offset that is still there, by place.
        self._begins: dict[TopicPartition, int] = defaultdict(int)
        #: While it is away every call of a client fails.
        self.is_away = False

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Make a topic, unless there is one."""
        with self.changed:
            self._topics.setdefault(topic, [[] for _ in range(partitions)])

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = 0,
        *,
        at_ms: int | None = None,
    ) -> Record:
        """Append as the broker does, whether clients reach it or not."""
        with self.changed:
            log = self._topics[topic][partition]
            record = Record(topic, partition, len(log), now_ms() if at_ms is None else at_ms, key, value)
            log.append(record)
            self.changed.notify_all()
            return record

    def delete_before(self, topic: str, offset: int) -> None:
        """What retention does."""
        with self.changed:
            self._begins[TopicPartition(topic, 0)] = offset
            self.changed.notify_all()

    def set_away(self, *, is_away: bool) -> None:
        """Go away, or come back."""
        with self.changed:
            self.is_away = is_away
            self.changed.notify_all()

    def records(self, topic: str) -> list[Record]:
        """All records of a topic."""
        with self.changed:
            return [record for log in self._topics.get(topic, []) for record in log]

    def consumer(self, reset: str) -> "Consumer":
        """A client that reads."""
        self.check_there()
        return Consumer(self, reset)

    def producer(self) -> "Producer":
        """A client that writes."""
        self.check_there()
        return Producer(self)

    def check_there(self) -> None:
        """Raise what a client meets while the broker is away."""
        if self.is_away:
            raise KafkaConnectionError("the test has taken Kafka away")

    def log_of(self, place: TopicPartition) -> list[Record]:
        """The records of a partition; with `changed` held."""
        self.check_there()
        if place.topic not in self._topics:
            raise UnknownTopicOrPartitionError(place.topic)
        return self._topics[place.topic][place.partition]

    def begin_of(self, place: TopicPartition) -> int:
        """The first offset that is still there."""
        return self._begins[place]

    def partitions_of(self, topic: str) -> set[int]:
        """Numbers of a topic's partitions; none if it does not exist."""
        with self.changed:
            self.check_there()
            return set(range(len(self._topics.get(topic, []))))

    def names(self) -> set[str]:
        """Names of all topics."""
        with self.changed:
            self.check_there()
            return set(self._topics)


class Producer:
    """What the SDK uses of a KafkaProducer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def send(self, topic: str, *, key: bytes, value: bytes, partition: int) -> "Sent":
        """Append; whoever asks the result for it is told if that failed."""
        try:
            known = self._broker.names()
        except KafkaConnectionError as error:
            return Sent(error)
        if topic not in known:
            return Sent(UnknownTopicOrPartitionError(topic))
        self._broker.append(topic, key, value, partition)
        return Sent(None)

    def close(self, timeout: float = 0) -> None:
        """Nothing to let go of."""


class Sent(NamedTuple):
    """What `send` returns."""

    error: Exception | None

    def get(self, timeout: float = 0) -> None:  # noqa: ARG002 - as kafka-python's
        """Raise if it did not arrive."""
        if self.error is not None:
            raise self.error


class Consumer:
    """What the SDK uses of a KafkaConsumer; belongs to one thread."""

    def __init__(self, broker: Broker, reset: str) -> None:
        self._broker = broker
        self._reset = reset
        self._next: dict[TopicPartition, int] = {}

    def topics(self) -> set[str]:
        """Names of all topics."""
        return self._broker.names()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Numbers of a topic's partitions, None if it does not exist."""
        return self._broker.partitions_of(topic) or None

    def assignment(self) -> set[TopicPartition]:
        """What it reads."""
        return set(self._next)

    def assign(self, places: list[TopicPartition]) -> None:
        """Read these from now on."""
        self._next = {place: self._next.get(place, 0) for place in places}

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Go on there."""
        self._next[place] = offset

    def seek_to_beginning(self, *places: TopicPartition) -> None:
        """Go on at the first record that is still there."""
        for place in places or tuple(self._next):
            self._next[place] = self._broker.begin_of(place)

    def position(self, place: TopicPartition) -> int:
        """The offset that is read next."""
        return self._next[place]

    def beginning_offsets(
        self,
        places: list[TopicPartition],
        timeout_ms: int = 0,  # noqa: ARG002 - as kafka-python's
    ) -> dict[TopicPartition, int]:
        """The first offsets that are still there."""
        with self._broker.changed:
            self._broker.check_there()
            return {place: self._broker.begin_of(place) for place in places}

    def end_offsets(
        self,
        places: list[TopicPartition],
        timeout_ms: int = 0,  # noqa: ARG002 - as kafka-python's
    ) -> dict[TopicPartition, int]:
        """The offsets that come next."""
        with self._broker.changed:
            return {place: len(self._broker.log_of(place)) for place in places}

    def offsets_for_times(
        self,
        times: dict[TopicPartition, int],
        timeout_ms: int = 0,  # noqa: ARG002 - as kafka-python's
    ) -> dict[TopicPartition, Any]:
        """The first record at or after each time, None if there is none."""
        with self._broker.changed:
            return {
                place: next(
                    (
                        record
                        for record in self._broker.log_of(place)[self._broker.begin_of(place) :]
                        if record.timestamp >= at_ms
                    ),
                    None,
                )
                for place, at_ms in times.items()
            }

    def poll(self, timeout_ms: int = 0) -> dict[TopicPartition, list[Record]]:
        """What has come; waits for something until then. Nothing comes while the broker is away."""
        deadline_s = time.monotonic() + timeout_ms / 1000
        with self._broker.changed:
            while not (found := self._fetch()):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    break
                self._broker.changed.wait(left_s)
            return found

    def _fetch(self) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {}
        if self._broker.is_away:
            return found
        for place, offset in self._next.items():
            begin = self._broker.begin_of(place)
            if offset < begin:
                if self._reset == "none":
                    raise OffsetOutOfRangeError({place: offset})
                offset = begin  # noqa: PLW2901 - where it goes on
            if records := self._broker.log_of(place)[offset : offset + _POLL_MAX]:
                found[place] = records
        for place, records in found.items():
            self._next[place] = records[-1].offset + 1
        return found

    def close(self) -> None:
        """Nothing to let go of."""
        self._next = {}
