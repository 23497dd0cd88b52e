"""Ghosts: an agent that goes on under a registration that another has taken over. Part of the simulator's nemesis.

A machine was copied, or an agent was taken for dead and started a second time: the new one registers in its place,
and the old one writes on and hears nothing. The old one has no processes of its own.
"""

from random import Random

from agents import inputs as i
from agents.state import Found
from sdk.contract.codec import DecodeError, decode_event
from sdk.contract.events import NodeRegistered
from sdk.contract.orders import AppOrder, NodeOrder
from tests.simulation.hands import Hands
from tests.simulation.kafka import Record
from tests.simulation.loop import Machine
from tests.simulation.machines import Agent, Node
from tests.simulation.world import World

# ruff: noqa: ARG002  # hands have one signature


class GhostHands(Hands):
    """What a ghost acts on: nothing; its things end when it says so."""

    def adopt(self, agent: Agent) -> list[Found]:
        """Nothing."""
        return []

    def spawn(self, agent: Agent, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> None:
        """It cannot."""
        agent.feed(i.Exited(key, epoch, 127, "cannot be started"))

    def stop(self, agent: Agent, key: str, epoch: int) -> None:
        """At once."""
        agent.feed(i.Exited(key, epoch, 0, "ended"))

    kill = stop

    def forget(self, key: str, epoch: int) -> None:
        """Nothing to forget."""


def _haunt(world: World, chance: Random) -> None:
    nodes = [
        node
        for node in world.nodes.values()
        if node.agent is not None
        and node.agent.alive
        and not node.agent.paused
        and node.agent.state.is_registered
    ]
    if not nodes:
        return
    node = chance.choice(nodes)
    ghost = node.agent
    assert ghost is not None
    ghost.machine = Machine(world.loop, f"{node.name} (ghost)")
    ghost.machine.jumped_ms = node.machine.jumped_ms
    # Until the new one is registered the old one is the only one: then it hears and says nothing.
    ghost.machine.cut_up = ghost.machine.cut_down = True
    ghost.hands = GhostHands()
    ghost.hands.image = node.image
    world.ghosts.append(ghost)
    node.haunted_by.append(ghost)
    node.agent = None
    node.boot()
    _at_registration(world, node, chance, ghost)


def _at_registration(world: World, node: Node, chance: Random, ghost: Agent) -> None:
    """The old one wakes when the new one is registered, which may die or fall mute before anything of it was heard."""
    then = chance.choice(["cut", "cut", "crash", "nothing"])
    for_ms = chance.choice([15_000, 60_000, 100_000])

    def look(record: Record) -> None:
        if record.topic != world.topics.events:
            return
        try:
            event = decode_event(record.value).event
        except DecodeError:
            return
        if isinstance(event, NodeRegistered) and event.node == node.name:
            world.onlookers.remove(look)
            ghost.machine.cut_up = False
            world.loop.after(for_ms, lambda: setattr(ghost.machine, "cut_down", False))
            if then == "crash":
                world.loop.after(0, lambda: node.crash(apps=False))
            elif then == "cut":
                world.cut(node.machine, up=True, down=False, for_ms=100_000)

    world.onlookers.append(look)


KINDS = {"ghost": _haunt}
