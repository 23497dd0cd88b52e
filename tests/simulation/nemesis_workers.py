"""Faults of the workers, many of them at the very moment of a write. Part of the simulator's nemesis."""

from collections.abc import Callable
from random import Random

from sdk.contract.topics import VIEW_TABLES
from tests.simulation.kafka import Place, Record
from tests.simulation.loop import Process
from tests.simulation.machines import Copy
from tests.simulation.nemesis_broker import KINDS as KINDS_OF_BROKER
from tests.simulation.world import World


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
    left, marker = [chance.randint(1, 6)], f"worker/{name}/".encode()

    def look(record: Record) -> None:
        if left[0] and record.topic == world.topics.events and marker in record.value:
            left[0] -= 1
            if not left[0]:
                world.onlookers.remove(look)
                world.loop.after(chance.choice([0, 0, 2, 5, 10]), work)

    world.onlookers.append(look)


def _kill_worker_at_append(world: World, chance: Random) -> None:
    name = _worker(world, chance)
    _at_append(world, chance, name, lambda: world.kill_worker(name, back_ms=500))


def _pause_worker_at_append(world: World, chance: Random) -> None:
    name, for_ms = _worker(world, chance), chance.choice([500, 4_000, 9_000])
    _at_append(world, chance, name, lambda: world.pause_worker(name, for_ms))


def _stop_broker_at_append(world: World, chance: Random) -> None:
    fault = chance.choice([KINDS_OF_BROKER["stop broker"], KINDS_OF_BROKER["pause broker"], _cut_worker])
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
    world.view_group.rebalance()


def _at_send(world: World, chance: Random, name: str, topics: set[str], work: Callable[[], None]) -> None:
    """Do `work` when that worker has handed its client a record for one of `topics`, before it is on its way."""
    left, before, writer = [chance.randint(1, 4)], world.broker.on_send, world.workers[name]

    def look(process: Process, place: Place) -> None:
        before(process, place)
        if left[0] and process is writer and place[0] in topics:
            left[0] -= 1
            if not left[0]:
                work()

    world.broker.on_send = look


def _fault_at_orders(world: World, chance: Random) -> None:
    """The leader dies, sleeps or is cut off with orders in its hands."""
    _fault_at_send(world, chance, {world.topics.commands})


def _fault_at_view(world: World, chance: Random) -> None:
    """The same with rows of the view: between a table write and its changelog."""
    _fault_at_send(world, chance, {world.topics.state(table) for table in VIEW_TABLES})


def _fault_at_send(world: World, chance: Random, topics: set[str]) -> None:
    writers = [worker.name for worker in (world.group.owner, world.view_group.owner) if worker is not None]
    name, for_ms = chance.choice(writers or sorted(world.workers)), chance.choice([500, 4_000, 9_000])
    match chance.choice(["kill", "pause", "pause", "cut", "broker"]):
        case "kill":
            work = _killing(world, name)
        case "pause":
            work = _pausing(world, name, for_ms)
        case "cut":
            work = _cutting(world, chance, name)
        case _:
            work = _stopping(world, chance)
    _at_send(world, chance, name, topics, work)


def _killing(world: World, name: str) -> Callable[[], None]:
    return lambda: world.kill_worker(name, back_ms=500)


def _pausing(world: World, name: str, for_ms: int) -> Callable[[], None]:
    return lambda: world.pause_worker(name, for_ms)


def _cutting(world: World, chance: Random, name: str) -> Callable[[], None]:
    up, down = chance.choice([(True, False), (False, True), (True, True)])
    for_ms = chance.choice([4_000, 9_000, 20_000])
    return lambda: world.cut(world.machines[name], up=up, down=down, for_ms=for_ms)


def _stopping(world: World, chance: Random) -> Callable[[], None]:
    fault = KINDS_OF_BROKER[chance.choice(["stop broker", "pause broker"])]
    return lambda: fault(world, chance)


def _stall_reader(world: World, chance: Random) -> None:
    """One of a worker's three readers gets nothing for a while; the others go on."""
    stall_reader(world, _worker(world, chance), chance.choice([0, 1, 1, 1, 2]), chance.choice(STALLS_MS))


#: A leader that is blind for 5 s ends itself.
STALLS_MS = [1_500, 3_000, 4_500, 8_000]


def stall_reader(world: World, name: str, number: int, for_ms: int) -> None:
    """Let a reader get nothing for a while."""
    worker = world.workers[name]
    if not worker.built:
        return
    world.workers_disturbed_ms = world.loop.now_ms
    reader = worker.readers[number]
    reader.stalled = True

    def go_on() -> None:
        world.workers_disturbed_ms = world.loop.now_ms
        reader.stalled = False

    world.loop.after(for_ms, go_on)


def _return_at_limit(world: World, chance: Random) -> None:
    """A node or an app says nothing for about as long as it may, and a worker is blind just then."""
    nodes = [node for node in world.nodes.values() if node.agent is not None and node.agent.alive]
    copies = [copy for node in nodes for copy in node.running()]
    if copies and chance.random() < 0.6:
        copy = chance.choice(copies)
        copy.hung, copy.disturbed_ms = True, world.loop.now_ms
        world.loop.after(chance.randint(5_000, 13_500), lambda: _go_on_beating(world, copy))
    elif nodes:
        machine = chance.choice(nodes).machine
        world.cut(machine, up=True, down=chance.random() < 0.5, for_ms=chance.randint(9_000, 13_500))
    number, for_ms = chance.choice([0, 1, 1]), chance.choice([1_500, 4_500, 4_800])

    def blind() -> None:
        stall_reader(world, _worker(world, chance), number, for_ms)

    world.loop.after(chance.randint(3_000, 11_000), blind)


def _go_on_beating(world: World, copy: Copy) -> None:
    copy.disturbed_ms = world.loop.now_ms
    copy.hung = False


def _slow_disk(world: World, chance: Random) -> None:
    """Each save of a worker takes long; now and then it dies in one."""
    name = _worker(world, chance)
    disk = world.disks[name]
    disk.slow_ms = chance.choice([200, 900, 2_500])
    if chance.random() < 0.5:
        world.loop.after(chance.randint(1_000, 4_000), _killing(world, name))
    world.loop.after(chance.randint(2_000, 12_000), lambda: setattr(disk, "slow_ms", 0))


KINDS = {
    "slow disk": _slow_disk,
    "kill worker": _kill_worker,
    "kill all workers": _kill_all_workers,
    "kill worker at append": _kill_worker_at_append,
    "pause worker": _pause_worker,
    "pause worker at append": _pause_worker_at_append,
    "stop broker at append": _stop_broker_at_append,
    "fault at orders": _fault_at_orders,
    "fault at view": _fault_at_view,
    "stall reader": _stall_reader,
    "return at limit": _return_at_limit,
    "cut worker": _cut_worker,
    "rebalance": _rebalance,
}
