"""Faults of devices and of those who set controllers. Part of the nemesis."""

from collections.abc import Callable
from random import Random

from sdk.contract.requests import BindDevice, EnableDevice, UnbindDevice
from tests.simulation.controllers import GARBAGE
from tests.simulation.world import World


def _fault_device(world: World, chance: Random) -> None:
    """A device writes garbage, or dies, perhaps between acting and reporting, and comes back sooner or later."""
    if not world.house.devices:
        return
    device = world.house.devices[chance.choice(world.house.controllers)]
    if chance.random() < 0.2 and world.broker_up:
        key = chance.choice([b"desired", b"reported", None])
        world.broker.append((device.topic, 0), [(key, GARBAGE)])
        return
    if chance.random() < 0.5:
        device.dies_after_acting = True
        world.house.set("", 0, controller=device.controller)
        return
    device.kill()
    world.loop.after(chance.choice([500, 3_000, 10_000, 40_000]), device.start)


def _set_controller(world: World, chance: Random) -> None:
    """A burst of commands: of copies old and new, of generations that never were, of people."""
    if not world.house.controllers:
        return
    state = world.checks.state
    for _ in range(chance.randint(1, 4)):
        app = chance.choice(sorted(state.bindings) or [""])
        row = state.apps.get(app)
        in_force = row.generation if row is not None else 0
        copies = [copy.generation for copy in world.house.copies_of(app)]
        generation = chance.choice([in_force, *copies, max(1, in_force - 1), in_force + 3, 0])
        if chance.random() < 0.2:
            world.house.set("", 0, controller=chance.choice(world.house.controllers))
        else:
            world.house.set(app, generation)


def _ask_controller(world: World, chance: Random) -> None:
    """Somebody gives a controller to another app, takes it away, or switches it off and on again."""
    if not world.house.controllers:
        return
    controller = chance.choice(world.house.controllers)
    app = f"application-{chance.randint(2, 4)}"
    match chance.choice(["bind", "bind", "unbind", "off", "on"]):
        case "bind":
            world.ask(BindDevice(app, 0, controller))
        case "unbind":
            world.ask(UnbindDevice(app, 0, "controller"))
        case "off":
            world.ask(EnableDevice(controller, enabled=False))
        case _:
            world.ask(EnableDevice(controller, enabled=True))


KINDS: dict[str, Callable[[World, Random], None]] = {
    "device": _fault_device,
    "set controller": _set_controller,
    "ask controller": _ask_controller,
}
