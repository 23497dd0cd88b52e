"""The platform in memory keeps the contract, and what a test can do to it shows in the SDK."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sdk import controllers, notifications, sensors, testing
from sdk.sensor_errors import SensorUnreachableError
from tests.sdk.contract_sdk import SdkContract, until

pytest_plugins = ["sdk.testing.plugin"]


class MemoryWorld:
    """The contract's world, in memory."""

    def __init__(self, platform: testing.Platform) -> None:
        self._platform = platform

    def sensor(self, name: str, *, app: str, index: int) -> Callable[[bytes], object]:
        """Register and bind."""
        sensor = self._platform.sensor(name)
        self._platform.bind(app, index, sensor)
        return sensor.write_raw

    def controller(self, name: str, handler: Callable[[Any], Any] | None, *, app: str, index: int) -> None:
        """Register and bind."""
        self._platform.bind(app, index, self._platform.controller(name, handler, is_away=handler is None))

    def environment(self, app: str, *, generation: int) -> AbstractContextManager[None]:
        """Of a copy that nobody placed."""
        return self._platform.environment(app, generation=generation)

    def told(self, app: str) -> dict[str, tuple[str, str, int]]:
        """By key."""
        return {
            it.key: (it.text, it.severity, it.count)
            for it in self._platform.notifications
            if it.app == f"application-{app}"
        }

    def beats(self, app: str) -> int:
        """Of that source."""
        return sum(beat.source == app for beat in self._platform.beats)


class TestContractInMemory(SdkContract):
    """The same tests as on a real Kafka."""

    @pytest.fixture
    def world(self, platform: testing.Platform) -> MemoryWorld:
        """A fresh one for each test."""
        return MemoryWorld(platform)


def test_a_value_grows_old_as_time_passes(platform: testing.Platform) -> None:
    """Live within the sensor's limit, stale after it, by the clock of the test."""
    sensor = platform.sensor("hall", silence_limit_s=60)
    platform.bind("heating", 0, sensor)
    sensor.write(21.5, ago_s=30)
    assert sensors.read(0, app="heating").quality == "live"
    platform.advance(40)
    reading = sensors.read(0, app="heating")
    assert reading.quality == "stale"
    assert reading.age_ms == pytest.approx(70_000, abs=2_000)


def test_over_an_outage_reads_answer_and_streams_go_on(platform: testing.Platform) -> None:
    """The last value at once and stale; then everything that was written, once."""
    sensor = platform.sensor("hall", silence_limit_s=3600)
    platform.bind("heating", 0, sensor)
    sensor.write(1)
    assert sensors.read(0, app="heating").quality == "live"
    with sensors.stream(0, 3, since=60.0, app="heating") as points:
        assert next(points).value == 1
        with platform.outage():
            sensor.write(2)
            reading = sensors.read(0, app="heating")
            assert (reading.value, reading.quality) == (1, "stale")
        sensor.write(3)
        assert [point.value for point in points] == [2, 3]
    assert until(lambda: sensors.read(0, app="heating").value == 3)


def test_what_is_said_in_an_outage_arrives_once(platform: testing.Platform) -> None:
    """Notifications and commands wait, and count once."""
    platform.bind("heating", 0, platform.controller("lamp"))
    with platform.outage():
        for _ in range(5):
            notifications.send("cold", app="heating")
        handle = controllers.set(0, {"on": True}, app="heating")
        assert handle.state == "pending"
    assert handle.wait(10.0) == "done"
    assert [(it.text, it.count) for it in platform.notifications] == [("cold", 5)]
    assert len(platform.commands) == 1


def test_nothing_is_reachable_from_the_beginning_of_an_outage(
    platform: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a last value a read says `unreachable`, and a stream raises."""
    monkeypatch.setattr(sensors, "FIRST_READ_WITHIN_S", 0.05)
    with platform.outage():
        assert sensors.read(0, app="heating").quality == "unreachable"
        with pytest.raises(SensorUnreachableError):
            sensors.stream(0, 1, app="heating")


def test_a_command_expires_as_time_passes(platform: testing.Platform) -> None:
    """Its device is away for as long as it may wait."""
    lamp = platform.controller("lamp", is_away=True)
    platform.bind("heating", 0, lamp)
    handle = controllers.set(0, 1, 3600.0, app="heating")
    platform.wait_for(lambda: lamp.commands)
    platform.advance(3601)
    assert handle.wait(10.0) == "expired"
    assert [command.state for command in lamp.commands] == ["expired"]


def test_a_stream_says_what_retention_cut_off(platform: testing.Platform) -> None:
    """And begins with what is there."""
    sensor = platform.sensor("hall")
    platform.bind("heating", 0, sensor)
    for number in range(5):
        sensor.write(number)
    platform.forget_before(sensor, 2)
    with sensors.stream(0, 3, since=60.0, app="heating") as points:
        assert [point.value for point in points] == [2, 3, 4]
        assert points.cut_off == 2


def test_a_stream_as_of_a_past_time_ends_there(platform: testing.Platform) -> None:
    """An app can be run again on what it saw then."""
    sensor = platform.sensor("hall")
    platform.bind("heating", 0, sensor)
    for number in range(5):
        sensor.write(number, ago_s=50 - 10 * number)
    at = datetime.now(UTC) - timedelta(seconds=25)
    with sensors.stream(0, at=at, app="heating") as points:
        assert [point.value for point in points] == [0, 1, 2]


def test_a_copy_in_force_is_obeyed_and_an_old_one_refused(platform: testing.Platform) -> None:
    """By the generation in the environment that an agent makes."""
    platform.bind("heating", 0, platform.controller("lamp"))
    with platform.managed("heating", generation=12):
        assert controllers.set(0, 1).wait(10.0) == "done"
        platform.app("heating", generation=13)
        assert controllers.set(0, 1).wait(10.0) == "rejected"


def test_a_platform_that_is_over_is_unreachable(
    platform: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever still has its address hears so, as of any Kafka that is away."""
    with testing.Platform() as other:
        address = other.bootstrap
    monkeypatch.setattr(sensors, "FIRST_READ_WITHIN_S", 0.05)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", address)
    assert sensors.read(0, app="heating").quality == "unreachable"
    assert platform.beats == []


def test_the_environment_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a test stays for the next."""
    monkeypatch.setenv("WATCHKEEP_APP_ID", "application-outer")
    with testing.Platform(), pytest.raises(ValueError, match="must be named"):
        notifications.send("who am I?")
    with testing.Platform() as platform:
        assert platform.notifications == []
        assert platform.beats == []
