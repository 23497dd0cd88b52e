"""A sensor's values one after the other: from now, from a time back, or as of a past moment. Shell of the SDK.

Each stream has a consumer of its own, so that a slow reader holds up nobody; it reads one topic and commits nothing.
"""

from datetime import UTC, datetime, timedelta

from sdk.points import Point
from sdk.sensor_items import SensorItems, check_count
from sdk.sensor_records import Refused, SensorRecords, Span

__all__ = ["LOOK_BACK", "Point", "SensorStream"]

#: Records from the end among which the newest value is looked for: the last ones may be garbage.
LOOK_BACK = 16


class SensorStream(SensorItems[Point]):
    """The values of one sensor."""

    def __init__(
        self,
        bootstrap: str,
        sensor: str,
        topic: str,
        *,
        n: int | None = None,
        since: float | datetime | None = None,
        at: datetime | None = None,
        refused: Refused | None = None,
    ) -> None:
        """Find the place to begin.

        Raises:
            SensorUnreachableError: Kafka does not answer, or the topic does not exist.
            ValueError: `n` is negative.
        """
        check_count(n)
        super().__init__(SensorRecords(bootstrap, {topic: sensor}, Span(since, at, n), refused=refused), n)
        self.sensor = sensor

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

    def _read(self) -> list[Point]:
        return [point for _, point in self._records.fetch()]

    def _is_over(self) -> bool:
        return bool(self._records.ended())
