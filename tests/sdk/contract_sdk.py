"""What authors may rely on, whatever lies below: run against the platform in memory and against a real one.

A class that inherits `SdkContract` provides the fixture `world`, which has the methods of `World`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

from sdk import App, controllers, notifications, sensors
from sdk.controllers import Rejected
from sdk.sensor_errors import NotBoundError, NotYoursError, UnknownAppError


class World(Protocol):
    """A platform as the contract needs it. Names are fresh in each test."""

    def sensor(self, name: str, *, app: str, index: int) -> Callable[[bytes], object]:
        """Register and bind one; what writes to it is returned."""

    def controller(self, name: str, handler: Callable[[Any], Any] | None, *, app: str, index: int) -> None:
        """Register and bind one, with a device that acts, or without a device."""

    def environment(self, app: str, *, generation: int) -> AbstractContextManager[None]:
        """The environment of a copy of an app."""

    def told(self, app: str) -> dict[str, tuple[str, str, int]]:
        """By key what people were told: text, severity, count."""

    def beats(self, app: str) -> int:
        """How many beats were heard."""


def until(look: Callable[[], Any], within_s: float = 20.0) -> Any:
    """What `look` returns once that is true."""
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.01)
    return found


class SdkContract:
    """The contract."""

    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        """A name for the app and the devices of this test."""
        return str(request.node.name).replace("_", "-")

    def test_a_sensor_without_values_says_so_and_then_is_live(self, world: World, name: str) -> None:
        """`no-value-yet`, and after the first record its value."""
        write = world.sensor(name, app=name, index=0)
        assert until(lambda: sensors.read(0, app=name).quality == "no-value-yet")
        write(b"21.5")
        reading = until(lambda: (it := sensors.read(0, app=name)).offset == 0 and it)
        assert (reading.value, reading.quality) == (21.5, "live")
        assert 0 <= reading.age_ms < 10_000

    def test_garbage_is_passed_over(self, world: World, name: str) -> None:
        """The value before it stays, and the one after it is read; literals of older devices are values."""
        write = world.sensor(name, app=name, index=0)
        write(b"1")
        write(b"{[garbage")
        assert until(lambda: sensors.read(0, app=name).value) == 1
        write(b"{'t': 21}")
        assert until(lambda: sensors.read(0, app=name).value == {"t": 21})

    def test_a_stream_has_all_values_in_order(self, world: World, name: str) -> None:
        """From a time back, without gaps or repeats."""
        write = world.sensor(name, app=name, index=0)
        for number in range(10):
            write(str(number).encode())
        with sensors.stream(0, 10, since=60.0, app=name) as points:
            assert [point.value for point in points] == list(range(10))

    def test_sensors_are_joined_on_time(self, world: World, name: str) -> None:
        """A row for each value of the first, with what the second said last; from a time back and as it comes."""
        first = world.sensor(name, app=name, index=0)
        second = world.sensor(f"{name}-second", app=name, index=1)
        second(b"1")
        first(b"10")
        with sensors.join([0, 1], tolerance_s=60, patience_s=1, since=60.0, app=name) as rows:
            joined = iter(rows)
            assert next(joined).values == (10, 1)
            second(b"2")
            first(b"20")
            assert next(joined).values == (20, 2)
            # The second's second value is near enough for the first row, which had been given by then.
            assert (rows.late, rows.dropped) == (1, 0)

    def test_errors_say_what_is_wrong(self, world: World, name: str) -> None:
        """Unknown app, unbound index and somebody else's sensor are different errors."""
        world.sensor(name, app=name, index=3)
        with pytest.raises(UnknownAppError, match="nobody"):
            sensors.read(0, app="nobody")
        with pytest.raises(NotBoundError, match="bound: 3"):
            sensors.read(0, app=name)
        with world.environment(name, generation=1), pytest.raises(NotYoursError):
            sensors.read(0, app="other")

    def test_a_command_is_done_once(self, world: World, name: str) -> None:
        """The handle ends with what the device reported; the same id again is not done again."""
        acted: list[Any] = []

        def switch(value: Any) -> Any:
            acted.append(value)
            return {"is": value}

        world.controller(name, switch, app=name, index=0)
        first = controllers.set(0, True, app=name, command="once")
        assert (first.wait(20.0), first.reported) == ("done", {"is": True})
        again = controllers.set(0, True, app=name, command="once")
        assert again.wait(20.0) == "done"
        assert acted == [True]

    def test_a_device_and_the_platform_reject(self, world: World, name: str) -> None:
        """Both say why."""

        def refuse(value: Any) -> Any:
            raise Rejected(f"not {value}")

        world.controller(name, refuse, app=name, index=0)
        by_device = controllers.set(0, 7, app=name)
        by_platform = controllers.set(5, 7, app=name)
        assert (by_device.wait(20.0), by_device.reason) == ("rejected", "not 7")
        assert by_platform.wait(20.0) == "rejected"
        assert "no controller at index 5" in by_platform.reason

    def test_a_newer_command_takes_the_place_of_the_one_before(self, world: World, name: str) -> None:
        """While its device is away; the last one expires."""
        world.controller(name, None, app=name, index=0)
        first = controllers.set(0, 1, app=name)
        second = controllers.set(0, 2, 0.5, app=name)
        assert first.wait(20.0) == "rejected"
        assert "superseded" in first.reason
        assert second.wait(20.0) == "expired"

    def test_a_copy_that_is_not_in_force_is_refused(self, world: World, name: str) -> None:
        """Its command never is in force."""
        world.controller(name, None, app=name, index=0)
        with world.environment(name, generation=3):
            handle = controllers.set(0, 1)
        assert handle.wait(20.0) == "rejected"
        assert "generation 3" in handle.reason

    def test_a_flood_is_one_notification_with_a_count(self, world: World, name: str) -> None:
        """One per key: the newest text, the loudest severity, all counted."""
        for number in range(20):
            notifications.send(f"dry {number}", key="pump", app=name)
        notifications.send("very dry", key="pump", severity="critical", app=name)
        notifications.send("something else", app=name)
        told = until(lambda: len(it := world.told(name)) == 2 and it["pump"][2] == 21 and it)
        assert told["pump"] == ("very dry", "critical", 21)
        assert told["something else"] == ("something else", "info", 1)

    def test_an_app_ties_it_together(self, world: World, name: str) -> None:
        """It beats, reads, sets and tells, and what it has to say is delivered when its block ends."""
        world.sensor(name, app=name, index=0)(b"35")
        world.controller(name, lambda value: value, app=name, index=0)
        with App(name, every_s=0.2) as app:
            assert until(lambda: app.sensors[0].read().value) == 35
            assert app.controllers[0].set({"on": True}).wait(20.0) == "done"
            until(lambda: world.beats(app.name) > 1)
            app.notify("Too hot!", key="heat")
        assert not app.running
        assert until(lambda: world.told(name))["heat"] == ("Too hot!", "info", 1)
