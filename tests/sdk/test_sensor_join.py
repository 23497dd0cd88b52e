"""The patience of a join while Kafka is away."""

from typing import Any

import pytest

from sdk import sensor_join
from sdk.points import Point
from sdk.sensor_join import JoinTimes, SensorJoin


class _Records:
    """Two topics on a Kafka that is away while `is_away`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.said: list[tuple[str, Point]] = []
        self.is_away = False

    def fetch(self) -> list[tuple[str, Point]]:
        """What came since."""
        said, self.said = self.said, []
        return said

    def ended(self) -> list[str]:
        """Nobody."""
        return []

    def is_read_to_end(self) -> bool:
        """Unknown while Kafka is away."""
        return not self.is_away


@pytest.mark.parametrize(("away_ms", "found"), [(60_000, "b"), (0, None)])
def test_time_in_which_kafka_is_away_is_no_patience(
    monkeypatch: pytest.MonkeyPatch, away_ms: int, found: str | None
) -> None:
    """A minute away costs a row nothing; the same minute with a Kafka that answers ends its wait."""
    now_ms, records = 0, _Records()
    monkeypatch.setattr(sensor_join, "SensorRecords", lambda *_, **__: records)
    monkeypatch.setattr(sensor_join, "_now_ms", lambda: now_ms)
    join = SensorJoin("nowhere", [("s-0", "t-0"), ("s-1", "t-1")], JoinTimes(tolerance_s=99, patience_s=5))
    records.said = [("t-0", Point("a", 1_000, 0))]
    rows = join._read()
    while now_ms < 60_000:
        records.is_away = now_ms < away_ms
        now_ms += 100
        rows += join._read()
    records.is_away = False
    records.said = [("t-1", Point("b", 1_000, 0)), ("t-1", Point("c", 999_000, 1))]
    rows += join._read()
    assert [row.values for row in rows] == [("a", found)]
