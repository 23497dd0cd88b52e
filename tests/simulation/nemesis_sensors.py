"""Faults of sensors, and people who change what is expected of them. Part of the nemesis."""

from collections.abc import Callable
from random import Random

from sdk.contract.devices import Device
from sdk.contract.requests import EnableDevice, LimitSensors, RegisterDevice, RetireDevice
from tests.simulation.nemesis_originals import disturb_writer
from tests.simulation.sensors import LIMITS_MS, TYPE
from tests.simulation.world import World


def _fault_sensor(world: World, chance: Random) -> None:
    if world.sensors.all:
        disturb_writer(world, chance.choice(world.sensors.all), chance)


def _ask_sensor(world: World, chance: Random) -> None:
    """Somebody changes a limit, of all or of one, or names another topic, or switches one off or takes it away."""
    if not world.sensors.all:
        return
    sensor = chance.choice(world.sensors.all)
    again = RegisterDevice(Device(sensor.name, TYPE))
    limit_ms = chance.choice([0, *LIMITS_MS])
    match chance.choice(["type", "own", "again", "elsewhere", "off", "on", "retire"]):
        case "type":
            world.ask(LimitSensors(TYPE, limit_ms))
        case "own":
            world.ask(RegisterDevice(Device(sensor.name, TYPE, silence_limit_ms=limit_ms)))
        case "again":
            world.ask(again)
        case "elsewhere":
            world.ask(RegisterDevice(Device(sensor.name, TYPE, topic=f"{sensor.name}-elsewhere")))
        case "off":
            world.ask(EnableDevice(sensor.name, enabled=False))
        case "on":
            world.ask(EnableDevice(sensor.name, enabled=True))
        case _:
            world.ask(RetireDevice(sensor.name))
            world.loop.after(chance.choice([100, 5_000]), lambda: world.ask(again))


KINDS: dict[str, Callable[[World, Random], None]] = {
    "sensor": _fault_sensor,
    "ask sensor": _ask_sensor,
}
