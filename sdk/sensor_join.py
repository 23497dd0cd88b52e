"""Rows of several sensors as they come, or as of a past time, read by one consumer. Shell of the SDK."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sdk import clock
from sdk.joining import Joined, Joiner
from sdk.sensor_items import SensorItems, check_count
from sdk.sensor_records import Refused, SensorRecords, Span

#: While a row waits for who is late, Kafka is asked so often whether everything was read.
_ASK_EVERY_MS = 250
#: Longest step of the clock of patience between two answers: an answer that was lost costs one question.
_STEP_MAX_MS = 2 * _ASK_EVERY_MS


class JoinTimes(NamedTuple):
    """What is joined, and how long a row waits."""

    tolerance_s: float
    patience_s: float
    n: int | None = None
    since: float | datetime | None = None
    at: datetime | None = None


class SensorJoin(SensorItems[Joined]):
    """Rows of several sensors. What is in a row: `sdk.joining`."""

    def __init__(
        self,
        bootstrap: str,
        sensors: Sequence[tuple[str, str]],
        times: JoinTimes,
        *,
        refused: Refused | None = None,
    ) -> None:
        """Find the place to begin.

        Args:
            bootstrap: Kafka.
            sensors: Id and topic of each, the leading one first.
            times: See there.
            refused: Is told of records that are no values.

        Raises:
            SensorUnreachableError: Kafka does not answer, or a topic does not exist.
            ValueError: fewer than two sensors, one of them twice, a negative number, or `at` without `since`.
        """
        if len({topic for _, topic in sensors}) < len(sensors):
            raise ValueError("a sensor cannot be joined with itself: name each index once")
        check_count(times.n)
        if times.at is not None and times.since is None:
            raise ValueError("at: it is the end; say with since where to begin")
        tolerance_ms = round(times.tolerance_s * 1000)
        # Of what has been written already nothing comes late: who has not spoken by its end is missing.
        patience_ms = None if times.at is not None else round(times.patience_s * 1000)
        self._joiner = Joiner(len(sensors), tolerance_ms=tolerance_ms, patience_ms=patience_ms)
        span = Span(_earlier(times.since, times.tolerance_s), times.at)
        named = {topic: sensor for sensor, topic in sensors}
        super().__init__(SensorRecords(bootstrap, named, span, refused=refused), times.n)
        self.sensors = [sensor for sensor, _ in sensors]
        self._number = {topic: number for number, (_, topic) in enumerate(sensors)}
        self._from_ms = _ms_of(times.since)
        #: Patience is counted on a clock that stands still while Kafka does not say that everything was read: who could
        #: not write is not late.
        self._clock_ms = 0
        self._asked_ms = self._answered_ms = _now_ms()

    @property
    def late(self) -> int:
        """Values that came too late for their row."""
        return self._joiner.late

    @property
    def dropped(self) -> int:
        """Values that were dropped because too many waited."""
        return self._joiner.dropped

    def _is_over(self) -> bool:
        return self._joiner.is_over

    def _read(self) -> list[Joined]:
        for topic, point in self._records.fetch():
            number = self._number[topic]
            if number or point.at_ms >= self._from_ms:
                self._joiner.take(number, point, now_ms=self._clock_ms)
        for topic in self._records.ended():
            self._joiner.end(self._number[topic])
        rows = self._joiner.rows(known_ms=self._clock_ms)
        now_ms = _now_ms()
        if not self._joiner.is_waiting:
            self._asked_ms = self._answered_ms = now_ms
        elif not rows and now_ms - self._asked_ms >= _ASK_EVERY_MS:
            self._asked_ms = now_ms
            if self._records.is_read_to_end():
                self._clock_ms += min(now_ms - self._answered_ms, _STEP_MAX_MS)
                self._answered_ms = now_ms
        return rows


def _now_ms() -> int:
    return int(clock.monotonic_s() * 1000)


def _earlier(since: float | datetime | None, by_s: float) -> float | datetime | None:
    """Where reading begins, so that the first row finds those that were there just before it."""
    if since is None:
        return None
    return since - timedelta(seconds=by_s) if isinstance(since, datetime) else since + by_s


def _ms_of(since: float | datetime | None) -> int:
    """The time before which no row begins."""
    if since is None:
        return 0
    if isinstance(since, datetime):
        return int(since.timestamp() * 1000)
    return clock.now_ms() - int(since * 1000)
