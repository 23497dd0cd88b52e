"""The one thread and the one consumer behind all sensors of a program. Shell of the SDK.

1. It follows the registry and the topics of the sensors of every app that somebody asked about, and keeps the newest
   value of each in memory; whoever reads takes it from there and waits for nothing.
2. A record that is no value becomes a dead letter and is passed over; the value before it stays.
3. It never raises into the program: what went wrong is in what a reading says.
"""

import logging
import os
import threading
import time
from itertools import islice
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaError

from sdk.clock import monotonic_s
from sdk.contract.topics import Topics
from sdk.reading_kafka import ASK_WITHIN_MS, open_consumer
from sdk.registry_view import RegistryView
from sdk.sensor_garbage import SensorGarbage
from sdk.sensor_stream import LOOK_BACK
from sdk.values import ValueRefusedError, decode_value

_log = logging.getLogger("watchkeep.sensors")

#: One poll; a record that comes meanwhile ends it.
_POLL_MS = 50
#: Between two looks whether Kafka answers and topics that did not exist do now.
_LOOK_EVERY_S = 1.0
#: Places of which the client is asked at once how far it is.
_ASKED_AT_ONCE = 4
#: Kafka that has not answered for so long is away: two looks and a slow one.
AWAY_AFTER_S = 3.0
_RETRY_S = 0.5
_TABLES = ("apps", "platform")


def app_name() -> str:
    """Who reads, for people: the managed app, or whoever has this process."""
    return os.environ.get("WATCHKEEP_APP_ID") or f"process-{os.getpid()}"


class Sample(NamedTuple):
    """The newest value of a topic."""

    value: Any
    #: When the device wrote it, ms UTC.
    at_ms: int
    offset: int
    partition: int


class SensorFeed:
    """Follows what it is asked to follow; everything public may be called from any thread."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self.registry = RegistryView(prefix)
        #: Topic -> its newest value.
        self.latest: dict[str, Sample] = {}
        #: Topics that are followed and read to what was their end; those that do not exist are not among them.
        self.followed: set[str] = set()
        #: Topics that were asked about and do not exist.
        self.missing: set[str] = set()
        #: Records that were no value.
        self.garbage = SensorGarbage(bootstrap, prefix, writer=f"app/{app_name()}")
        self.is_registry_read = False
        self.changed = threading.Condition()
        self._heard_s = -AWAY_AFTER_S
        self._apps: frozenset[str] = frozenset()
        #: Topics that this consumer has been given.
        self._begun: set[str] = set()
        self._made_of: tuple[int, frozenset[str]] = (-1, frozenset())
        self._topics: set[str] = set()
        #: Places that are read to what was their end when they were begun, and how far the others are.
        self._pending: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        topics = Topics(prefix)
        self._tables = {TopicPartition(topics.state(table), 0): table for table in _TABLES}
        self._over = False
        self._thread: threading.Thread | None = None

    def follow(self, app: str) -> None:
        """Keep the values of this app's sensors from now on."""
        with self.changed:
            if app in self._apps:
                return
            self._apps = self._apps | {app}
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchkeep sensors", daemon=True)
                self._thread.start()

    @property
    def is_away(self) -> bool:
        """Whether Kafka has not answered lately."""
        return monotonic_s() - self._heard_s > AWAY_AFTER_S

    def close(self) -> None:
        """Follow nothing more."""
        self._over = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5.0)
        self.garbage.close()

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over:
            try:
                consumer = open_consumer(
                    self.bootstrap, client_id="watchkeep-sensors", fetch_wait_ms=_POLL_MS
                )
            except (KafkaError, ValueError, OSError) as error:
                _log.debug("Kafka at %s does not answer: %s", self.bootstrap, error)
                time.sleep(_RETRY_S)
                continue
            try:
                self._follow_with(consumer)
            except (KafkaError, OSError) as error:
                # A fresh client meets a broker that came back without what the old one has grown into.
                _log.debug("reading sensors begins anew: %r", error)
            finally:
                self._pending.clear()
                self._next.clear()
                self._begun = set()
                self.followed = set()
                consumer.close()

    def _follow_with(self, consumer: Any) -> None:
        self._assign(consumer, list(self._tables), from_end=False)
        looked_s = monotonic_s()
        while not self._over:
            for place, records in consumer.poll(timeout_ms=_POLL_MS).items():
                self._heard_s = monotonic_s()
                self._take(place, records)
                if place in self._pending:
                    self._next[place] = records[-1].offset + 1
            self._note_read(consumer)
            new = self._wanted() - self._begun
            is_due = monotonic_s() - looked_s >= _LOOK_EVERY_S
            if self.is_registry_read and (new - self.missing or (new and is_due)):
                self._begin(consumer, new)
            if is_due:
                looked_s = monotonic_s()
                consumer.end_offsets([next(iter(self._tables))], timeout_ms=ASK_WITHIN_MS)
                self._heard_s = monotonic_s()

    def _wanted(self) -> set[str]:
        """The topics of all sensors of the apps that somebody asked about; made anew only when something changed."""
        made_of = (self.registry.version, self._apps)
        if made_of != self._made_of:
            self._made_of = made_of
            self._topics = set().union(*(self.registry.topics_of(app) for app in self._apps))
        return self._topics

    def _begin(self, consumer: Any, topics: set[str]) -> None:
        """Follow topics from their last value on; those that do not exist are tried again later."""
        places = []
        for topic in topics:
            numbers = consumer.partitions_for_topic(topic)
            if numbers:
                places += [TopicPartition(topic, number) for number in numbers]
        found = {place.topic for place in places}
        with self.changed:
            self.missing = (self.missing - found) | (topics - found)
            self.changed.notify_all()
        if places:
            self._assign(consumer, places, from_end=True)
            self._begun |= found
            # Empty topics are followed at once; the others when their last value was read.
            self._note_read(consumer)

    def _assign(self, consumer: Any, places: list[TopicPartition], *, from_end: bool) -> None:
        ends = consumer.end_offsets(places, timeout_ms=ASK_WITHIN_MS)
        begins = consumer.beginning_offsets(places, timeout_ms=ASK_WITHIN_MS)
        consumer.assign([*consumer.assignment(), *places])
        for place in places:
            begin = max(begins[place], ends[place] - LOOK_BACK) if from_end else begins[place]
            consumer.seek(place, begin)
            self._next[place] = begin
        self._pending.update(ends)
        self._heard_s = monotonic_s()

    def _note_read(self, consumer: Any) -> None:
        """Which topics have been read to what was their end."""
        if not self._pending:
            return
        read = {place for place, end in self._pending.items() if self._next[place] >= end}
        # Not every offset has a record (a transaction's end has none): the client knows, but each question to it goes
        # through all that it reads, which for a thousand sensors at once would take a minute.
        some = list(islice((place for place in self._pending if place not in read), _ASKED_AT_ONCE))
        read.update(place for place in some if consumer.position(place) >= self._pending[place])
        for place in read:
            del self._pending[place], self._next[place]
        waiting = {place.topic for place in self._pending}
        with self.changed:
            self.is_registry_read = self.is_registry_read or not any(
                it in self._pending for it in self._tables
            )
            self.followed = self.followed | {it.topic for it in read if it not in self._tables} - waiting
            self.changed.notify_all()

    def _take(self, place: TopicPartition, records: list[Any]) -> None:
        table = self._tables.get(place)
        if table is not None:
            for record in records:
                self.registry.apply(table, record.key, record.value)
            return
        for record in records:
            # All of them, not only the newest: who looks at half of it tells of half of the garbage.
            try:
                value = decode_value(record.value)
            except ValueRefusedError as error:
                self.garbage.meet(record, str(error))
                continue
            old = self.latest.get(place.topic)
            if old is None or old.partition == place.partition or record.timestamp >= old.at_ms:
                self.latest[place.topic] = Sample(value, record.timestamp, record.offset, place.partition)
