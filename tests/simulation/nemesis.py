"""The nemesis: a list of faults made from a seed, each with its own chance, so that any of them can be left out.

Part of the simulator. A fault says when, what and with which chance; whom it hits is decided when it strikes.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from sdk.contract.requests import (
    ChangePolicy,
    ConfirmNodeDown,
    CreateNode,
    ReleaseBrake,
    RestartApp,
    RunApp,
    ShutdownNode,
    StopApp,
)
from sdk.contract.specs import AppSpec
from tests.simulation.kafka import Record
from tests.simulation.loop import Process
from tests.simulation.machines import Copy, Node
from tests.simulation.world import WIDE, World

#: Apps and nodes that requests may lead to, so that there is always room for what is wanted.
APPS_MAX, NODES_MIN, NODES_MAX = 10, 4, 7


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


# --- workers -------------------------------------------------------------------------------------------


def _worker(world: World, chance: Random) -> str:
    """A worker, often the leader."""
    leading = [worker.name for worker in world.living_workers() if worker.planning.leads]
    return (
        chance.choice(leading) if leading and chance.random() < 0.6 else chance.choice(sorted(world.workers))
    )


def _kill_worker(world: World, chance: Random) -> None:
    world.kill_worker(_worker(world, chance), back_ms=chance.randint(200, 8_000))


def _kill_all_workers(world: World, chance: Random) -> None:
    back_ms = chance.randint(1_000, 30_000)
    for name in world.workers:
        world.kill_worker(name, back_ms=back_ms)


def _at_append(world: World, chance: Random, name: str, work: Callable[[], None]) -> None:
    """Do `work` right after a record of that worker was appended to the log: before it is acknowledged."""
    left, before, marker = [chance.randint(1, 6)], world.broker.on_append, f"worker/{name}/".encode()

    def look(record: Record) -> None:
        before(record)
        if left[0] and record.topic == world.topics.events and marker in record.value:
            left[0] -= 1
            if not left[0]:
                world.loop.after(chance.choice([0, 0, 2, 5, 10]), work)

    world.broker.on_append = look


def _kill_worker_at_append(world: World, chance: Random) -> None:
    name = _worker(world, chance)
    _at_append(world, chance, name, lambda: world.kill_worker(name, back_ms=500))


def _pause_worker_at_append(world: World, chance: Random) -> None:
    name, for_ms = _worker(world, chance), chance.choice([500, 4_000, 9_000])
    _at_append(world, chance, name, lambda: world.pause_worker(name, for_ms))


def _stop_broker_at_append(world: World, chance: Random) -> None:
    fault = chance.choice([_stop_broker, _pause_broker, _cut_worker])
    _at_append(world, chance, _worker(world, chance), lambda: fault(world, chance))


def _pause_worker(world: World, chance: Random) -> None:
    world.pause_worker(_worker(world, chance), chance.choice([500, 2_000, 4_000, 9_000, 25_000]))


def _cut_worker(world: World, chance: Random) -> None:
    up, down = chance.choice([(True, False), (False, True), (True, True)])
    world.cut(world.machines[_worker(world, chance)], up=up, down=down, for_ms=chance.randint(500, 20_000))


def _rebalance(world: World, chance: Random) -> None:
    del chance
    world.workers_disturbed_ms = world.loop.now_ms
    world.group.rebalance()


# --- the broker ----------------------------------------------------------------------------------------


def _stop_broker(world: World, chance: Random) -> None:
    world.disturb_broker()
    world.broker.stop()

    def back() -> None:
        world.disturb_broker()
        world.broker.start()

    world.loop.after(chance.choice([300, 2_000, 7_000, 15_000, 30_000]), back)


def _pause_broker(world: World, chance: Random) -> None:
    world.disturb_broker()
    world.broker.pause()

    def back() -> None:
        world.disturb_broker()
        world.broker.resume()

    world.loop.after(chance.choice([300, 2_000, 5_000, 12_000]), back)


def _step_clock(world: World, chance: Random) -> None:
    world.disturb_broker()
    world.broker.shift_ms += chance.choice([-60_000, -5_000, -900, 900, 5_000, 12_000, 60_000])


def _lose_acks(world: World, chance: Random) -> None:
    world.broker.lost_acks = chance.choice([0.1, 0.5])
    world.disturb_broker()

    def over() -> None:
        world.disturb_broker()
        world.broker.lost_acks = 0.0

    world.loop.after(chance.randint(1_000, 15_000), over)


def _slow_broker(world: World, chance: Random) -> None:
    world.broker.slow_ms = chance.choice([50, 300, 900])
    world.disturb_broker()

    def over() -> None:
        world.disturb_broker()
        world.broker.slow_ms = 0

    world.loop.after(chance.randint(1_000, 15_000), over)


def _compact(world: World, chance: Random) -> None:
    for number in range(WIDE):
        world.broker.log(world.topics.commands, number).compact(chance.randint(0, 3))


def _garbage(world: World, chance: Random) -> None:
    if world.broker_up:
        topics = world.topics
        topic = chance.choice([topics.events, topics.heartbeats, topics.commands, topics.requests])
        wide = topic in (topics.heartbeats, topics.commands)
        number = chance.randrange(WIDE) if wide else 0
        key = chance.choice([b"pool-home", b"\xff", b"node-10.0.0.1_8101"])
        world.broker.append((topic, number), [(key, chance.choice([b"", b"{}", b"[1]", b"\xff\xfe"]))])


def _say_again(world: World, chance: Random) -> None:
    """A record of the log comes a second time, however late."""
    log = world.broker.log(world.topics.events)
    if world.broker_up and log.records:
        record = chance.choice(log.records[-chance.choice([3, 30, 3_000]) :])
        world.broker.append((record.topic, record.partition), [(record.key, record.value)])


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


# --- people --------------------------------------------------------------------------------------------


def _ask_app(world: World, chance: Random) -> None:
    apps = sorted(world.checks.state.apps)
    name = f"application-{chance.randrange(APPS_MAX)}"
    match chance.choice(["run", "run", "stop", "restart"]):
        case "run":
            spec = AppSpec(
                name,
                [chance.choice(["beats", "beats", "beats", "stubborn", "exits", "mute"])],
                on_failure=chance.choice(["other-node", "same-node"]),
                on_isolation=chance.choice(["keep", "stop"]),
                start_within_ms=chance.choice([3_000, 30_000]),
                stop_grace_ms=chance.choice([0, 1_000, 5_000]),
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
        case "create" if wanted < NODES_MAX:
            world.ask(CreateNode("pool-home"))
        case "shut down" if wanted > NODES_MIN and active:
            world.ask(ShutdownNode(chance.choice(active)))
        case "confirm" if active:
            silent = [node for node in active if state.nodes[node].silent]
            world.ask(ConfirmNodeDown(chance.choice(silent or active)))
        case _:
            world.ask(ReleaseBrake())


def _ask_policy(world: World, chance: Random) -> None:
    values: dict[str, int | bool | str] = chance.choice(
        [{"strategy": "binpack"}, {"strategy": "spread"}, {"app_backoff_ms": 500}, {"kill_within_ms": 3_000}]
    )
    world.ask(ChangePolicy(values))


KINDS: dict[str, Callable[[World, Random], None]] = {
    "kill worker": _kill_worker,
    "kill all workers": _kill_all_workers,
    "kill worker at append": _kill_worker_at_append,
    "pause worker": _pause_worker,
    "pause worker at append": _pause_worker_at_append,
    "stop broker at append": _stop_broker_at_append,
    "cut worker": _cut_worker,
    "rebalance": _rebalance,
    "stop broker": _stop_broker,
    "pause broker": _pause_broker,
    "step clock": _step_clock,
    "lose acks": _lose_acks,
    "slow broker": _slow_broker,
    "compact": _compact,
    "garbage": _garbage,
    "say again": _say_again,
    "crash node": _crash_node,
    "crash agent": _crash_agent,
    "pause node": _pause_node,
    "cut node": _cut_node,
    "provisioner": _fault_provisioner,
    "app": _fault_app,
    "fail spawns": _fail_spawns,
    "ask app": _ask_app,
    "ask nodes": _ask_nodes,
    "ask policy": _ask_policy,
}
