"""The records of sensors' topics from a place on, read by one consumer without a group. Shell of the SDK.

1. Where each partition goes on is kept apart from the consumer: a Kafka that is away is waited for, and reading goes on
   where it stopped, without a gap or a repeat.
2. What retention deleted before it could be read is counted and said; what is no value is passed over.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from sdk.clock import now_ms
from sdk.points import Point
from sdk.reading_kafka import ASK_WITHIN_MS, open_consumer
from sdk.sensor_errors import SensorUnreachableError
from sdk.values import ValueRefusedError, decode_value

_log = logging.getLogger("watchkeep.sensors")

_POLL_MS = 100
_RETRY_S = 0.5

#: Told of each record that is no value, with the reason.
Refused = Callable[[Any, str], None]


class Span(NamedTuple):
    """Which records of the topics are meant."""

    #: Begin that long ago, s, or at that time; None: with what comes next, or `last` before the end.
    since: float | datetime | None = None
    #: End before that time.
    at: datetime | None = None
    #: With `at` and without `since`: so many before the end, of each partition.
    last: int | None = None


class SensorRecords:
    """Reads on and on; belongs to one thread at a time."""

    def __init__(
        self,
        bootstrap: str,
        sensors: Mapping[str, str],
        span: Span,
        *,
        refused: Refused | None = None,
    ) -> None:
        """Find the place to begin.

        Args:
            bootstrap: Kafka.
            sensors: Topic -> the sensor that writes there, for the words of errors.
            span: What is meant.
            refused: Is told of records that are no values.

        Raises:
            SensorUnreachableError: Kafka does not answer, or a topic does not exist.
        """
        self._bootstrap = bootstrap
        self._sensors = dict(sensors)
        self._refused = refused
        #: Records that retention had deleted before they could be read, by topic.
        self.cut_off: dict[str, int] = dict.fromkeys(sensors, 0)
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._consumer: Any = None
        try:
            self._open()
            self._find_begin(span)
        except (KafkaError, OSError, ValueError) as error:
            self.close()
            names = ", ".join(sorted(set(self._sensors.values())))
            raise SensorUnreachableError(f"{names}: no Kafka answers at {bootstrap} ({error}).") from None
        except SensorUnreachableError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the consumer."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def ended(self) -> set[str]:
        """Topics of which everything that is meant was read."""
        open_topics = {place.topic for place, end in self._ends.items() if self._next[place] < end}
        return {place.topic for place in self._ends} - open_topics

    def fetch(self) -> list[tuple[str, Point]]:
        """What has come, with its topic; waits a moment for it, and for a Kafka that is away."""
        found: list[tuple[str, Point]] = []
        try:
            if self._consumer is None:
                self._open()
                self._seek()
            for place, records in self._consumer.poll(timeout_ms=_POLL_MS).items():
                points = (self._take(place, record) for record in records)
                found += [(place.topic, point) for point in points if point is not None]
        except OffsetOutOfRangeError:
            self._skip_deleted()
        except (KafkaError, OSError, SensorUnreachableError) as error:
            _log.debug("%s: waiting for Kafka: %r", self._bootstrap, error)
            self.close()
            time.sleep(_RETRY_S)
        return found

    def is_read_to_end(self) -> bool:
        """Whether everything that is in the topics now was read; False too if Kafka does not say."""
        if self._consumer is None:
            return False
        try:
            ends = self._consumer.end_offsets(list(self._next), timeout_ms=ASK_WITHIN_MS)
        except (KafkaError, OSError):
            return False
        return all(self._next[place] >= end for place, end in ends.items())

    # --- where to begin and to end ------------------------------------------------------------------

    def _find_begin(self, span: Span) -> None:
        places = list(self._consumer.assignment())
        begins = self._consumer.beginning_offsets(places, timeout_ms=ASK_WITHIN_MS)
        ends = self._consumer.end_offsets(places, timeout_ms=ASK_WITHIN_MS)
        if span.at is not None:
            self._ends = self._offsets_at(places, _ms_of(span.at), ends)
        if span.since is not None:
            self._next = self._offsets_at(places, _ms_of(span.since), ends)
            for place in places:
                if self._next[place] == begins[place] > 0:
                    self._say_cut(place, begins[place])
        elif span.at is not None:
            last = span.last
            self._next = {it: max(begins[it], self._ends[it] - last) if last else begins[it] for it in places}
        else:
            self._next = dict(ends)
        self._seek()

    def _offsets_at(
        self, places: list[TopicPartition], at_ms: int, ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        found = self._consumer.offsets_for_times(dict.fromkeys(places, at_ms), timeout_ms=ASK_WITHIN_MS)
        return {
            place: found[place].offset if found.get(place) is not None else ends[place] for place in places
        }

    # --- reading ------------------------------------------------------------------------------------

    def _take(self, place: TopicPartition, record: Any) -> Point | None:
        if record.offset < self._next[place] or record.offset >= self._ends.get(place, record.offset + 1):
            return None
        self._next[place] = record.offset + 1
        try:
            value = decode_value(record.value)
        except ValueRefusedError as error:
            _log.debug("%s offset %d is no value: %s", place.topic, record.offset, error)
            if self._refused is not None:
                self._refused(record, str(error))
            return None
        return Point(value, record.timestamp, record.offset)

    def _skip_deleted(self) -> None:
        places = list(self._next)
        for place, begin in self._consumer.beginning_offsets(places, timeout_ms=ASK_WITHIN_MS).items():
            if begin > self._next[place]:
                self._say_cut(place, begin - self._next[place])
                self._next[place] = begin
        self._seek()

    def _say_cut(self, place: TopicPartition, count: int) -> None:
        self.cut_off[place.topic] += count
        _log.warning(
            "%s: retention deleted up to %d values of %s before they could be read",
            self._sensors[place.topic],
            count,
            place.topic,
        )

    def _open(self) -> None:
        # Where retention deleted what was next, that is said and not passed over.
        consumer = open_consumer(self._bootstrap, client_id="watchkeep-sensors", reset="none")
        places = []
        for topic, sensor in self._sensors.items():
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                consumer.close()
                raise SensorUnreachableError(f"{sensor}: its topic {topic} does not exist.")
            places += [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        self._consumer = consumer

    def _seek(self) -> None:
        for place, offset in self._next.items():
            self._consumer.seek(place, offset)


def _ms_of(when: float | datetime) -> int:
    """A time, or so many seconds ago, as ms UTC."""
    if isinstance(when, datetime):
        return int(when.timestamp() * 1000)
    return now_ms() - int(when * 1000)
