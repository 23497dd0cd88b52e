"""Reading sensors where no Kafka answers: said at once and in words, and nothing raises into the program."""

import asyncio
from collections.abc import Iterator

import pytest

from sdk import sensors
from sdk.sensor_errors import NotYoursError, SensorUnreachableError, UnknownAppError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Kafka that nobody runs; the first read waits a moment for it."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(sensors, "FIRST_READ_WITHIN_S", 0.1)
    monkeypatch.delenv("WATCHKEEP_APP_ID", raising=False)
    yield
    sensors.close()


def test_a_reading_is_unreachable() -> None:
    """Nothing is known of the sensor, which is not the same as a sensor without a value."""
    assert sensors.read(0, app="application-1") == (None, 0, 0, "unreachable", -1)
    assert asyncio.run(sensors.read_async(0, app="1")).quality == "unreachable"


def test_streams_and_joins_say_where_they_looked() -> None:
    """They have nothing to begin with."""
    with pytest.raises(SensorUnreachableError, match=r"answers at 127\.0\.0\.1:1"):
        sensors.stream(0, app="1")
    with pytest.raises(SensorUnreachableError, match=r"answers at 127\.0\.0\.1:1"):
        sensors.join([0, 1], app="1")


def test_whose_sensor_is_meant_must_be_said_and_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Kafka is asked for anything."""
    with pytest.raises(UnknownAppError, match="must be named"):
        sensors.read(0)
    monkeypatch.setenv("WATCHKEEP_APP_ID", "application-1")
    with pytest.raises(NotYoursError, match="application-1 cannot read the sensors of application-2"):
        sensors.join([0, 1], app="2")
