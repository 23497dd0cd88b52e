"""The nemesis: a list of faults made from a seed, each with its own chance, so that any of them can be left out.

Part of the simulator. A fault says when, what and with which chance; whom it hits is decided when it strikes.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from tests.simulation import (
    nemesis_broker,
    nemesis_clocks,
    nemesis_controllers,
    nemesis_ghosts,
    nemesis_notices,
    nemesis_originals,
    nemesis_people,
    nemesis_sensors,
    nemesis_workers,
)
from tests.simulation.loop import Process
from tests.simulation.machines import Copy, Node
from tests.simulation.world import World


class Fault(NamedTuple):
    """One thing that goes wrong, or that somebody asks for."""

    at_ms: int
    kind: str
    chance: int


def plan_faults(
    seed: int, *, from_ms: int, until_ms: int, count: int, kinds: Sequence[str] = ()
) -> list[Fault]:
    """The faults of a seed, in order of time. Each seed has its favourites (or `kinds`), so that they meet often."""
    chance = Random(f"nemesis/{seed}")
    all_kinds = sorted(KINDS)
    favourites = list(kinds) or chance.sample(all_kinds, chance.randint(2, len(all_kinds) // 2))
    faults = []
    for _ in range(count):
        kind = chance.choice(favourites if chance.random() < (0.9 if kinds else 0.7) else all_kinds)
        faults.append(Fault(chance.randint(from_ms, until_ms), kind, chance.getrandbits(32)))
    return sorted(faults)


def strike(world: World, fault: Fault) -> None:
    """Do it."""
    KINDS[fault.kind](world, Random(fault.chance))


# --- nodes ---------------------------------------------------------------------------------------------


def _nodes(world: World) -> list[Node]:
    return [node for node in world.nodes.values() if node.agent is not None and node.agent.alive]


def _crowd(world: World, chance: Random) -> list[Node]:
    """One node, or most of them."""
    nodes = _nodes(world)
    if not nodes:
        return []
    many = chance.random() < 0.25
    return chance.sample(nodes, chance.randint(len(nodes) // 2 + 1, len(nodes)) if many else 1)


def _crash_node(world: World, chance: Random) -> None:
    for node in _crowd(world, chance):
        node.crash(apps=True)


def _crash_agent(world: World, chance: Random) -> None:
    for node in _crowd(world, chance):
        node.crash(apps=False)


def _pause_node(world: World, chance: Random) -> None:
    for_ms = chance.choice([1_000, 4_000, 9_000, 15_000, 90_000])
    with_apps = chance.random() < 0.5
    for node in _crowd(world, chance):
        copies: list[Process] = list(node.running()) if with_apps else []
        agent = node.agent
        assert agent is not None
        _pause(world, node, [agent, *copies], for_ms)


def _pause(world: World, node: Node, processes: list[Process], for_ms: int) -> None:
    node.disturbed_ms = world.loop.now_ms
    for process in processes:
        process.pause()

    def go_on() -> None:
        node.disturbed_ms = world.loop.now_ms
        for process in processes:
            process.resume()

    world.loop.after(for_ms, go_on)


def _cut_node(world: World, chance: Random) -> None:
    for_ms = chance.choice([2_000, 8_000, 15_000, 30_000, 100_000])
    up, down = chance.choice([(True, False), (False, True), (True, True)])
    for node in _crowd(world, chance):
        world.cut(node.machine, up=up, down=down, for_ms=for_ms)


def _fault_spare(world: World, chance: Random) -> None:
    """A spare dies or hangs, perhaps in the moment in which it is needed."""
    state = world.checks.state
    spares = [node for node in _nodes(world) if (row := state.nodes.get(node.name)) is not None and row.spare]
    if not spares:
        return
    spare = chance.choice(spares)
    others = [node for node in _nodes(world) if node is not spare]
    if others and chance.random() < 0.5:
        chance.choice(others).crash(apps=True)
    if chance.random() < 0.5:
        spare.crash(apps=True)
    else:
        assert spare.agent is not None
        _pause(world, spare, [spare.agent], chance.choice([3_000, 15_000]))


def _fault_provisioner(world: World, chance: Random) -> None:
    agent, provider = world.provider.agent, world.provider
    assert agent is not None
    world.workers_disturbed_ms = world.loop.now_ms
    match chance.choice(["kill", "pause", "cut", "fails", "mute"]):
        case "kill":
            agent.kill()
            world.loop.after(chance.randint(500, 8_000), provider.boot)
        case "pause":
            agent.pause()
            world.loop.after(chance.choice([1_000, 8_000, 20_000]), agent.resume)
        case "cut":
            up, down = chance.choice([(True, False), (False, True), (True, True)])
            world.cut(provider.machine, up=up, down=down, for_ms=chance.choice([2_000, 8_000, 20_000]))
        case "fails":
            provider.fails = True
            world.loop.after(20_000, lambda: setattr(provider, "fails", False))
        case _:
            provider.mute = True
            world.loop.after(20_000, lambda: setattr(provider, "mute", False))


def _park(world: World, chance: Random) -> None:
    """The platform is stopped in good order, and comes up again with the same nodes."""
    down_ms = chance.choice([2_000, 20_000])
    world.park(down_ms=down_ms, up_ms=down_ms + chance.choice([100, 5_000, 20_000]))


# --- apps ----------------------------------------------------------------------------------------------


def _copy(world: World, chance: Random) -> Copy | None:
    copies = [copy for node in world.nodes.values() for copy in node.running()]
    return chance.choice(copies) if copies else None


def _fault_app(world: World, chance: Random) -> None:
    copy = _copy(world, chance)
    if copy is None:
        return
    copy.disturbed_ms = world.loop.now_ms
    match chance.choice(["kill", "kill", "hang", "hang a while", "pause"]):
        case "kill":
            copy.end(chance.choice([0, 1, -11]))
        case "hang":
            copy.hung = True
        case "hang a while":
            copy.hung = True
            world.loop.after(chance.randint(2_000, 14_000), lambda: _unhang(world, copy))
        case _:
            copy.pause()
            world.loop.after(chance.choice([1_000, 9_000, 15_000]), lambda: _unpause(world, copy))


def _unhang(world: World, copy: Copy) -> None:
    copy.disturbed_ms = world.loop.now_ms
    copy.hung = False


def _unpause(world: World, copy: Copy) -> None:
    copy.disturbed_ms = world.loop.now_ms
    copy.resume()


def _fail_spawns(world: World, chance: Random) -> None:
    world.spawn_fail_share = chance.choice([0.2, 0.7])
    world.loop.after(chance.randint(1_000, 10_000), lambda: setattr(world, "spawn_fail_share", 0.0))


KINDS: dict[str, Callable[[World, Random], None]] = {
    **nemesis_workers.KINDS,
    **nemesis_broker.KINDS,
    **nemesis_clocks.KINDS,
    **nemesis_controllers.KINDS,
    **nemesis_ghosts.KINDS,
    **nemesis_notices.KINDS,
    **nemesis_originals.KINDS,
    **nemesis_people.KINDS,
    **nemesis_sensors.KINDS,
    "crash node": _crash_node,
    "crash agent": _crash_agent,
    "pause node": _pause_node,
    "cut node": _cut_node,
    "spare": _fault_spare,
    "provisioner": _fault_provisioner,
    "park": _park,
    "app": _fault_app,
    "fail spawns": _fail_spawns,
}
