"""Several sensors joined on time: one row for each value of the first of them. Pure; it is handed values and time.

    joiner = Joiner(3, tolerance_ms=500, patience_ms=2_000)
    joiner.take(0, point, now_ms=...)      # sensor 0 of the three said something
    joiner.rows(known_ms=...)              # the rows that are complete, all being known that was said by then

Rules:
1. The first sensor leads: each of its values makes one row, at that value's time, in the order of these times.
2. Of every other sensor the row has the value that is nearest in time, at most the tolerance away, before or after; of
   two that are equally near the earlier one. A value may stand in several rows, or in none.
3. A row is given once no better value can come: when each other sensor has spoken of a time past the row's own plus the
   tolerance, or has ended. Who has not after the patience is missing in the row: None.
4. A leading value of a time before the last row's, and a value of another sensor that could have stood in a row that
   was given, came too late: it is counted in `late`, and no row is given twice or out of order.
5. Of each sensor at most `BUFFER` values wait. The oldest row is given as it is when that is reached, and the oldest
   value of another sensor is dropped and counted in `dropped`.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import Any, NamedTuple

from sdk.points import Point

#: Values of one sensor that wait at most: at ten a second the slowest partner may be 100 s behind.
BUFFER = 1_000


class Joined(NamedTuple):
    """Values of several sensors that belong to one time."""

    #: When the first sensor wrote its value, ms UTC.
    at_ms: int
    #: One for each sensor in the order that they were named in; None where one is missing.
    points: tuple[Point | None, ...]

    @property
    def values(self) -> tuple[Any, ...]:
        """What they said; None where one is missing."""
        return tuple(point.value if point is not None else None for point in self.points)

    @property
    def is_complete(self) -> bool:
        """Whether none is missing."""
        return None not in self.points


class _Waiting(NamedTuple):
    """A leading value whose row has not been given, and when it was read."""

    point: Point
    read_ms: int


class _Other:
    """What one of the other sensors has said of late, in the order of time."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.points: dict[int, Point] = {}
        #: The latest time that it has spoken of.
        self.reached_ms: float = -math.inf

    def take(self, point: Point) -> None:
        if point.at_ms not in self.points:
            insort(self.times, point.at_ms)
        # Of two values of one moment the later record counts.
        self.points[point.at_ms] = point
        self.reached_ms = max(self.reached_ms, point.at_ms)

    def nearest(self, at_ms: int, tolerance_ms: int) -> Point | None:
        place = bisect_left(self.times, at_ms)
        near = [self.times[it] for it in (place - 1, place) if 0 <= it < len(self.times)]
        best = min(near, key=lambda time: abs(time - at_ms), default=None)
        return None if best is None or abs(best - at_ms) > tolerance_ms else self.points[best]

    def forget_before(self, at_ms: float) -> None:
        for time in self.times[: bisect_left(self.times, at_ms)]:
            del self.points[time]
        del self.times[: bisect_left(self.times, at_ms)]

    def forget_oldest(self) -> None:
        del self.points[self.times.pop(0)]


class Joiner:
    """Joins what it is told; the first sensor leads."""

    def __init__(self, sensors: int, *, tolerance_ms: int, patience_ms: int | None) -> None:
        """Begin with nothing said.

        Args:
            sensors: How many there are, the first one included.
            tolerance_ms: Values of one row are at most so far from the first one's.
            patience_ms: How long a row waits for who is late; None: until they have spoken or ended.

        Raises:
            ValueError: fewer than two sensors, or a negative time.
        """
        if sensors < 2:  # noqa: PLR2004  # one cannot be joined
            raise ValueError(f"{sensors} sensors cannot be joined; allowed: two and more")
        if tolerance_ms < 0 or (patience_ms is not None and patience_ms < 0):
            raise ValueError("tolerance and patience must not be negative")
        self._tolerance_ms = tolerance_ms
        self._patience_ms = patience_ms
        self._leading: deque[_Waiting] = deque()
        self._others = [_Other() for _ in range(sensors - 1)]
        self._ended: set[int] = set()
        self._given_ms: float = -math.inf
        #: Values that came too late for their row.
        self.late = 0
        #: Values of other sensors than the first that were dropped because too many waited.
        self.dropped = 0

    def take(self, sensor: int, point: Point, *, now_ms: int) -> None:
        """A sensor said something; `now_ms` is any clock that goes forward, the same for all calls."""
        if sensor == 0:
            self._lead(point, now_ms)
            return
        other = self._others[sensor - 1]
        if point.at_ms <= self._given_ms + self._tolerance_ms:
            self.late += 1
        other.take(point)
        if len(other.times) > BUFFER:
            other.forget_oldest()
            self.dropped += 1

    def end(self, sensor: int) -> None:
        """A sensor says no more."""
        self._ended.add(sensor)

    @property
    def is_over(self) -> bool:
        """Whether no row can come any more."""
        return 0 in self._ended and not self._leading

    @property
    def is_waiting(self) -> bool:
        """Whether a row waits for somebody who is late."""
        return bool(self._leading)

    def rows(self, *, known_ms: int) -> list[Joined]:
        """The rows that are due, in the order of their times.

        Args:
            known_ms: Everything that the sensors had said by then was taken: patience ends by this clock, so that
                nobody is missing in a row because Kafka was away.
        """
        due = []
        while self._leading and self._is_due(self._leading[0], known_ms):
            due.append(self._give())
        return due

    def _lead(self, point: Point, now_ms: int) -> None:
        if point.at_ms < self._given_ms:
            self.late += 1
            return
        # Mostly at the end: the records of one partition come in their order.
        place = bisect_right(self._leading, point.at_ms, key=lambda it: it.point.at_ms)
        self._leading.insert(place, _Waiting(point, now_ms))

    def _is_due(self, waiting: _Waiting, known_ms: int) -> bool:
        if len(self._leading) > BUFFER:
            return True
        if self._patience_ms is not None and known_ms - waiting.read_ms >= self._patience_ms:
            return True
        until_ms = waiting.point.at_ms + self._tolerance_ms
        return all(
            number in self._ended or other.reached_ms > until_ms
            for number, other in enumerate(self._others, start=1)
        )

    def _give(self) -> Joined:
        point = self._leading.popleft().point
        self._given_ms = point.at_ms
        near = [other.nearest(point.at_ms, self._tolerance_ms) for other in self._others]
        for other in self._others:
            other.forget_before(point.at_ms - self._tolerance_ms)
        return Joined(point.at_ms, (point, *near))
