"""Clocks of machines that jump. Part of the simulator's nemesis.

A monotonic clock never steps back, but a machine that was suspended or moved finds that it has jumped ahead; a wall
clock is set either way. The broker's clock is the broker's matter.
"""

from random import Random

from tests.simulation.world import World


def _jump_worker(world: World, chance: Random) -> None:
    machine = world.machines[chance.choice(sorted(world.machines))]
    machine.jumped_ms += chance.choice([0, 900, 5_000, 60_000, 3_600_000])
    machine.wall_shift_ms += chance.choice([-86_400_000, -5_000, 5_000, 86_400_000])
    world.workers_disturbed_ms = world.loop.now_ms
    world.jumped_at_ms.append(world.loop.now_ms)


def _jump_node(world: World, chance: Random) -> None:
    """No excuse for anybody: an agent's clock is bounded."""
    machines = [node.machine for node in world.nodes.values()] + [world.provider.machine]
    machine = chance.choice(machines)
    machine.jumped_ms += chance.choice([0, 900, 5_000, 60_000, 3_600_000])
    machine.wall_shift_ms += chance.choice([-86_400_000, -5_000, 5_000, 86_400_000])


KINDS = {"jump worker's clock": _jump_worker, "jump node's clock": _jump_node}
