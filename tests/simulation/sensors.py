"""Sensors whose silence is judged. Part of the simulator.

A sensor writes into the topic that the platform made for it; how long it may be silent is its own matter or its type's.
"""

from random import Random
from typing import TYPE_CHECKING

from sdk.contract.devices import Device, device_topic
from sdk.contract.requests import LimitSensors, RegisterDevice
from tests.simulation.originals import TopicWriter, TopicWriters

if TYPE_CHECKING:
    from tests.simulation.world import World

TYPE = "thermometer"
#: How often they speak, ms: one more often than a bridge asks, one about as often as a beat is written of it.
EVERY_MS = (150, 1_000)
#: How long they may be silent, ms: longer than the reconnection of a client takes, shorter than most faults last.
LIMITS_MS = (6_000, 9_000, 20_000)


def sensors_of(world: "World", count: int) -> TopicWriters:
    """So many thermometers."""
    names = [f"sensor-{number}" for number in range(count)]
    return TopicWriters(
        world,
        [
            TopicWriter(
                world,
                name,
                device_topic("watchkeep", Device(name)),
                every_ms=EVERY_MS[number % len(EVERY_MS)],
            )
            for number, name in enumerate(names)
        ],
    )


def begin_sensors(world: "World") -> None:
    """They are registered, and their type has a limit."""
    chance = Random(f"sensors/{world.seed}/limit")
    for sensor in world.sensors.all:
        world.ask(RegisterDevice(Device(sensor.name, TYPE)))
    if world.sensors.all:
        world.ask(LimitSensors(TYPE, chance.choice(LIMITS_MS)))
