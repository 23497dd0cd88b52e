"""What people ask for in the middle of it all. Part of the simulator's nemesis."""

from collections.abc import Callable
from random import Random

from sdk.contract.requests import (
    ChangePolicy,
    ConfigurePool,
    ConfirmNodeDown,
    CordonNode,
    CreateNode,
    DrainNode,
    MoveApp,
    PauseWatch,
    ReleaseBrake,
    RestartApp,
    ResumeWatch,
    RunApp,
    ShutdownNode,
    StopApp,
    UncordonNode,
)
from sdk.contract.specs import AppSpec
from tests.simulation.world import World

#: Services that people run, and apps may need.
SERVICES = 3


def beats_of(world: World, app: str) -> str:
    """The topic that an app beats into; people do not change it."""
    row = world.checks.state.apps.get(app)
    return row.spec.beats if row is not None else ""


def _ask_app(world: World, chance: Random) -> None:
    apps = sorted(world.checks.state.apps)
    # A few are services, which others need: each only those before it, so that mostly there is no circle.
    number = chance.randrange(world.size.apps_max)
    name = f"application-{number}" if number >= SERVICES else f"service-{number}"
    needs = [f"service-{at}" for at in range(min(number, SERVICES)) if chance.random() < 0.3]
    match chance.choice(["run", "run", "stop", "restart"]):
        case "run":
            spec = AppSpec(
                name,
                [chance.choice(["beats", "beats", "beats", "stubborn", "exits", "mute"])],
                on_failure=chance.choice(["other-node", "same-node"]),
                on_isolation=chance.choice(["keep", "stop"]),
                start_within_ms=chance.choice([3_000, 30_000]),
                stop_grace_ms=chance.choice([0, 1_000, 5_000]),
                priority=chance.choice([10, 50, 90]),
                group=chance.choice(["", "pair"]),
                needs_services=needs,
                restart=chance.choice(["always", "always", "on-failure", "never"]),
                beats=beats_of(world, name),
            )
            world.ask(RunApp(spec))
        case "stop" if apps:
            world.ask(StopApp(chance.choice(apps)))
        case _ if apps:
            world.ask(RestartApp(chance.choice(apps)))


def _ask_nodes(world: World, chance: Random) -> None:
    state = world.checks.state
    active = sorted(node for node, row in state.nodes.items() if row.status == "active" and not row.draining)
    wanted = sum(pool.nodes for pool in state.pools.values())
    match chance.choice(["create", "shut down", "confirm", "release"]):
        case "create" if wanted < world.size.nodes_max:
            world.ask(CreateNode("pool-home"))
        case "shut down" if wanted > world.size.nodes_min and active:
            world.ask(ShutdownNode(chance.choice(active)))
        case "confirm" if active:
            silent = [node for node in active if state.nodes[node].silent]
            world.ask(ConfirmNodeDown(chance.choice(silent or active)))
        case _:
            world.ask(ReleaseBrake())


def _ask_policy(world: World, chance: Random) -> None:
    values: dict[str, int | bool | str] = chance.choice(
        [
            {"strategy": "binpack"},
            {"strategy": "spread"},
            {"app_backoff_ms": 500},
            {"kill_within_ms": 3_000},
            {"on_node_failure": "spread"},
            {"on_node_failure": "new-node"},
            {"drain_within_ms": 4_000},
        ]
    )
    world.ask(ChangePolicy(values))


def _ask_room(world: World, chance: Random) -> None:
    """A node is closed, opened or emptied; an app is moved."""
    state = world.checks.state
    active = sorted(node for node, row in state.nodes.items() if row.status == "active" and not row.draining)
    running = sorted(app for app, row in state.apps.items() if row.phase == "running")
    closed = sum(state.nodes[node].cordoned for node in active)
    match chance.choice(["cordon", "drain", "uncordon", "move", "move", "move there"]):
        case "cordon" if closed < 2 and active:  # all apps fit on two nodes fewer
            world.ask(CordonNode(chance.choice(active)))
        case "drain" if closed < 2 and active:
            world.ask(DrainNode(chance.choice(active), force=chance.random() < 0.3))
        case "move" if running:
            world.ask(MoveApp(chance.choice(running)))
        case "move there" if running and active:
            world.ask(MoveApp(chance.choice(running), chance.choice(active)))
        case _ if active:
            world.ask(UncordonNode(chance.choice(active)))


def _ask_pause(world: World, chance: Random) -> None:
    """Somebody works on a node, an app or everything for a while, and may be done early."""
    state = world.checks.state
    active = sorted(node for node, row in state.nodes.items() if row.status == "active")
    subject = chance.choice(["", *active, *active, *sorted(state.apps)])
    if state.pauses and chance.random() < 0.3:
        paused = chance.choice(sorted(state.pauses))
        world.ask(ResumeWatch("" if paused == "platform" else paused))
    else:
        world.ask(PauseWatch(subject, chance.choice([1_000, 8_000, 20_000, 40_000])))


def _ask_pool(world: World, chance: Random) -> None:
    """A pool gets more spares or fewer."""
    for pool in world.checks.state.pools.values():
        spares = chance.choice([0, 1, 2])
        wish = ConfigurePool(pool.pool, pool.nodes, pool.slots, pool.nodes_min, pool.nodes_max, spares)
        world.ask(wish)


KINDS: dict[str, Callable[[World, Random], None]] = {
    "ask app": _ask_app,
    "ask nodes": _ask_nodes,
    "ask pause": _ask_pause,
    "ask policy": _ask_policy,
    "ask room": _ask_room,
    "ask pool": _ask_pool,
}
