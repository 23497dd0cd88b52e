"""The sensors of the demo: what is asked for them, and the program that makes them up. Shell.

`python -m streams.demo_sensors` writes to the topics of all of them what real ones would, until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from sdk.contract.devices import Device, device_topic
from sdk.contract.requests import BindDevice, LimitSensors, RegisterDevice, Request
from sdk.contract.topics import SENSOR_CONFIG
from streams.settings import PROJECT_ROOT, Settings, load_settings
from streams.simulated_sensors import simulate
from streams.topics import ensure_topic
from tables.state import State

CATALOGUE: Final = PROJECT_ROOT / "examples" / "platform" / "sensors.toml"


class DemoSensor(msgspec.Struct, frozen=True):
    """One sensor in the catalogue."""

    name: str
    #: Also what it is simulated as.
    type: Literal["thermometer", "camera"]
    location: str
    #: The app that has it at index 0.
    reader: str
    #: Between two values, or two looks whether something moves, s.
    every_s: float
    unit: str = ""

    @property
    def device(self) -> Device:
        """As it is registered."""
        return Device(f"sensor-{self.name}", self.type, self.unit, self.location)


class _Catalogue(msgspec.Struct, frozen=True):
    """The file."""

    limits: dict[str, int]
    sensor: list[DemoSensor]


def read_catalogue() -> _Catalogue:
    """The sensors of the demo, and the limits of their types in seconds."""
    return msgspec.convert(tomllib.loads(CATALOGUE.read_text(encoding="utf-8")), _Catalogue)


def sensor_wishes(state: State) -> dict[str, Request]:
    """Limits and sensors that the log lacks, by their names for people."""
    catalogue = read_catalogue()
    wishes: dict[str, Request] = {
        f"limit of {type_} sensors": LimitSensors(type_, limit_s * 1_000)
        for type_, limit_s in catalogue.limits.items()
        if type_ not in state.sensor_limits
    }
    for sensor in catalogue.sensor:
        if sensor.device.device not in state.devices:
            wishes[sensor.device.device] = RegisterDevice(sensor.device)
    return wishes


def binding_wishes(state: State) -> dict[str, Request]:
    """Bindings that the log lacks; a device can be bound once it is known."""
    return {
        f"{sensor.device.device} for {sensor.reader}": BindDevice(sensor.reader, 0, sensor.device.device)
        for sensor in read_catalogue().sensor
        if sensor.reader not in state.bindings and sensor.device.device in state.devices
    }


async def run_sensors(settings: Settings, sensors: Sequence[DemoSensor]) -> None:
    """Write until cancelled."""
    topics = [device_topic(settings.prefix, sensor.device) for sensor in sensors]
    for topic in topics:
        await asyncio.to_thread(ensure_topic, settings.bootstrap, topic, SENSOR_CONFIG)
    async with asyncio.TaskGroup() as group:
        for seed, (sensor, topic) in enumerate(zip(sensors, topics, strict=True)):
            group.create_task(
                simulate(
                    settings.bootstrap, topic, sensor.type, every_s=sensor.every_s, count=None, seed=seed
                )
            )


def main() -> int:
    """Make the sensors up; ended by SIGTERM or Ctrl-C."""
    try:
        asyncio.run(run_sensors(load_settings(), read_catalogue().sensor))
    except KeyboardInterrupt:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
