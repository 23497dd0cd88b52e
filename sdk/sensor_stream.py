"""A sensor's values one after the other: from now, from a time back, or as of a past moment. Shell of the SDK.

Each stream has a consumer of its own, so that a slow reader holds up nobody; it reads one topic and commits nothing.
"""

import logging
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from sdk.sensor_errors import SensorUnreachableError
from sdk.sensor_feed import ASK_WITHIN_MS, LOOK_BACK, open_consumer
from sdk.values import ValueRefusedError, decode_value

_log = logging.getLogger("watchkeep.sensors")

_POLL_MS = 100
_RETRY_S = 0.5


class Point(NamedTuple):
    """One value of a stream."""

    value: Any
    #: When the device wrote it, ms UTC.
    at_ms: int
    offset: int


class SensorStream:
    """Iterates over the values of one sensor; a context manager too, and `close` ends it."""

    def __init__(
        self,
        bootstrap: str,
        sensor: str,
        topic: str,
        *,
        n: int | None = None,
        since: float | datetime | None = None,
        at: datetime | None = None,
    ) -> None:
        """Find the place to begin.

        Raises:
            SensorUnreachableError: Kafka does not answer, or the topic does not exist.
            ValueError: `n` is negative.
        """
        if n is not None and n < 0:
            raise ValueError(f"n: {n} is negative; allowed: 0 or more, or None for no end")
        self.sensor = sensor
        #: Values that retention had deleted before they could be read: the stream says less than was asked for.
        self.cut_off = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._left = n
        self._ready: deque[Point] = deque()
        #: Where each partition goes on, kept apart from the consumer, which may have to be made anew.
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._consumer: Any = None
        try:
            self._open()
            self._find_begin(n, since, at)
        except (KafkaError, OSError, ValueError) as error:
            self.close()
            raise SensorUnreachableError(f"{sensor}: no Kafka answers at {bootstrap} ({error}).") from None
        except SensorUnreachableError:
            self.close()
            raise

    @classmethod
    def last(cls, bootstrap: str, sensor: str, topic: str) -> Point | None:
        """The newest value of a sensor, None if it has written none.

        Raises:
            SensorUnreachableError: as above.
        """
        # More than one, because the last records may be no values.
        with cls(bootstrap, sensor, topic, n=LOOK_BACK, at=datetime.now(UTC) + timedelta(days=1)) as points:
            points._left = None
            return max(points, key=lambda point: point.at_ms, default=None)

    def __iter__(self) -> Self:
        """The stream itself."""
        return self

    def __next__(self) -> Point:
        """The next value; waits for it, however long Kafka is away."""
        if self._left == 0:
            self.close()
            raise StopIteration
        while not self._ready:
            if self._is_at_end():
                self.close()
                raise StopIteration
            self._fetch()
        if self._left is not None:
            self._left -= 1
        return self._ready.popleft()

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of the consumer; what was not read is not given any more."""
        self._left = 0
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    # --- where to begin and to end ------------------------------------------------------------------

    def _find_begin(self, n: int | None, since: float | datetime | None, at: datetime | None) -> None:
        places = list(self._consumer.assignment())
        begins = self._consumer.beginning_offsets(places, timeout_ms=ASK_WITHIN_MS)
        ends = self._consumer.end_offsets(places, timeout_ms=ASK_WITHIN_MS)
        if at is not None:
            self._ends = self._offsets_at(places, _ms_of(at), ends)
        if since is not None:
            self._next = self._offsets_at(places, _ms_of(since), ends)
            for place in places:
                if self._next[place] == begins[place] > 0:
                    self._say_cut(place, begins[place])
        elif at is not None:
            self._next = {it: max(begins[it], self._ends[it] - n) if n else begins[it] for it in places}
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

    def _is_at_end(self) -> bool:
        return bool(self._ends) and all(self._next[place] >= end for place, end in self._ends.items())

    # --- reading ------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Read some; a Kafka that is away is waited for, and the stream goes on where it stopped."""
        try:
            if self._consumer is None:
                self._open()
                self._seek()
            for place, records in self._consumer.poll(timeout_ms=_POLL_MS).items():
                for record in records:
                    self._take(place, record)
        except OffsetOutOfRangeError:
            self._skip_deleted()
        except (KafkaError, OSError, SensorUnreachableError) as error:
            _log.debug("%s: the stream waits for Kafka: %r", self.sensor, error)
            self._drop_consumer()
            time.sleep(_RETRY_S)

    def _take(self, place: TopicPartition, record: Any) -> None:
        if record.offset < self._next[place] or record.offset >= self._ends.get(place, record.offset + 1):
            return
        self._next[place] = record.offset + 1
        try:
            value = decode_value(record.value)
        except ValueRefusedError as error:
            _log.debug("%s offset %d is no value: %s", self.sensor, record.offset, error)
        else:
            self._ready.append(Point(value, record.timestamp, record.offset))

    def _skip_deleted(self) -> None:
        places = list(self._next)
        for place, begin in self._consumer.beginning_offsets(places, timeout_ms=ASK_WITHIN_MS).items():
            if begin > self._next[place]:
                self._say_cut(place, begin - self._next[place])
                self._next[place] = begin
        self._seek()

    def _say_cut(self, place: TopicPartition, count: int) -> None:
        self.cut_off += count
        _log.warning(
            "%s: retention deleted up to %d values of %s before they could be read",
            self.sensor,
            count,
            place.topic,
        )

    def _open(self) -> None:
        # Where retention deleted what was next, that is said and not passed over.
        consumer = open_consumer(self._bootstrap, reset="none")
        numbers = consumer.partitions_for_topic(self._topic)
        if not numbers:
            consumer.close()
            raise SensorUnreachableError(f"{self.sensor}: its topic {self._topic} does not exist.")
        consumer.assign([TopicPartition(self._topic, number) for number in sorted(numbers)])
        self._consumer = consumer

    def _seek(self) -> None:
        for place, offset in self._next.items():
            self._consumer.seek(place, offset)

    def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _ms_of(when: float | datetime) -> int:
    """A time, or so many seconds ago, as ms UTC."""
    if isinstance(when, datetime):
        return int(when.timestamp() * 1000)
    return int((time.time() - when) * 1000)
