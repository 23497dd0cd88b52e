"""What happens when nodes die, come back or are taken away: the whole core in a world with virtual time."""

from itertools import pairwise

import pytest

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.requests import ConfigurePool, CreateNode, ShutdownNode
from tables.views import monitor
from tests.tables.virtual import POOL
from tests.tables.world import World, begin


def _apps_on(world: World, node: str) -> set[str]:
    return {app for app, row in world.state.apps.items() if row.node == node}


def _generations(world: World) -> dict[str, int]:
    return {app: row.generation for app, row in world.state.apps.items()}


def test_node_when_it_dies_comes_back_as_a_new_node_with_all_previous_applications() -> None:
    """A node whose process ends is replaced by a new one with its apps, later generations and one failure."""
    world = begin(8)
    victim = world.active()[0]
    apps, before = _apps_on(world, victim.node), _generations(world)

    world.agent(victim.node).status = "exited"
    world.run(3_000, lambda: world.ready(3) and world.all_run())

    new = max(world.active(), key=lambda row: row.registration)
    after = _generations(world)
    assert _apps_on(world, new.node) == apps
    assert {app for app in after if after[app] > before[app]} == apps
    assert all(after[app] > new.registration for app in apps)
    assert (world.state.nodes[victim.node].failures, world.state.nodes[victim.node].status) == (1, "down")
    assert all(row.failures == row.strikes == 0 for row in world.state.apps.values())
    assert new.port > victim.port
    world.check_replay()


@pytest.mark.parametrize("destroy", [True, False])
def test_stopped_node_is_found_by_silence_and_replaced(destroy: bool) -> None:
    """A node that only falls silent is found within the limit and 0.4 s, and its apps come back elsewhere."""
    world = begin(8, policy=Policy(destroy_silent_nodes=destroy))
    world.run(20_000)
    victim = world.active()[1]
    apps = _apps_on(world, victim.node)
    heard_ms = world.agent(victim.node).due_ms - 2_500

    world.agent(victim.node).paused = True
    world.run(11_000, lambda: bool(world.of_type(e.SourceFellSilent)))
    assert world.now_ms - heard_ms <= 10_400
    world.run(5_000, world.all_run)

    new = max(world.active(), key=lambda row: row.registration)
    assert _apps_on(world, new.node) == apps
    (down,) = world.of_type(e.NodeDeclaredDown)
    assert (down.reason, down.destroy) == ("silent", destroy)
    assert (world.agent(victim.node).status == "exited") is destroy
    world.check_replay()


def test_destroy_that_fails_holds_recovery_up_for_its_bound_only() -> None:
    """Where the provider cannot destroy what is left, the apps move when the bound of 2 s has passed."""
    world = begin(4)
    world.pool.can_destroy = False
    victim = world.active()[0]
    world.agent(victim.node).paused = True
    world.run(12_000, lambda: bool(world.of_type(e.NodeDeclaredDown)))
    down_ms = world.now_ms
    world.run(5_000, world.all_run)
    assert 2_000 <= world.now_ms - down_ms <= 2_600


def test_woken_node_stops_its_copies_and_serves_as_a_free_node() -> None:
    """A node that comes back under its old registration runs nothing old and registers anew as a free node."""
    world = begin(8, policy=Policy(destroy_silent_nodes=False))
    victim = world.active()[0]
    agent = world.agent(victim.node)
    agent.paused = True
    world.run(20_000, lambda: world.all_run() and world.ready(3))
    before = _generations(world)

    agent.paused = False
    world.run(3_000, lambda: world.ready(4))

    row = world.state.nodes[victim.node]
    assert row.registration > victim.registration
    assert row.lineage == row.registration
    assert row.failures == 1
    assert agent.running() == []
    world.run(30_000)
    assert _generations(world) == before
    world.check_replay()


def test_replacement_that_dies_itself_is_replaced() -> None:
    """Apps wait for the replacement of a replacement, and arrive there together."""
    world = begin(8)
    victim = world.active()[0]
    apps = _apps_on(world, victim.node)
    world.agent(victim.node).status = "exited"
    world.run(2_000, lambda: bool(world.of_type(e.NodeOrdered)[3:]))
    second = world.of_type(e.NodeOrdered)[3]
    world.run(2_000, lambda: world.ready(3))
    newest = max(world.active(), key=lambda row: row.registration)

    world.agent(newest.node).status = "exited"
    world.run(5_000, lambda: world.ready(3) and world.all_run())

    last = max(world.active(), key=lambda row: row.registration)
    assert second.replaces == victim.node
    assert _apps_on(world, last.node) == apps
    assert world.state.nodes[newest.node].failures == 1


def test_only_node_is_healed() -> None:
    """A platform with one node is too small for the brake: the death of its node is healed."""
    world = begin(3, nodes=1)
    world.agent(world.active()[0].node).paused = True
    world.run(20_000, lambda: world.ready(1) and world.all_run())
    assert world.of_type(e.BrakeEngaged) == []


def test_ports_of_dead_nodes_are_never_used_again() -> None:
    """Each order names a lowest port above every port that the log knows."""
    world = begin(nodes=3)
    for _ in range(3):
        world.agent(world.active()[0].node).status = "exited"
        world.run(3_000, lambda: world.ready(3))
    ports = [row.port for row in world.state.nodes.values()]
    assert len(set(ports)) == len(ports) == 6
    assert world.of_type(e.NodeOrdered)[-1].port_floor > ports[-2]


def test_shutdown_drains_the_node_and_lowers_the_pool() -> None:
    """A node that is shut down is emptied, leaves and is destroyed; its apps move and nothing replaces it."""
    world = begin(6)
    node = world.active()[0].node
    apps = _apps_on(world, node)

    world.ask(ShutdownNode(node))
    world.run(10_000, lambda: world.state.nodes[node].status == "left" and world.all_run())
    world.run(5_000)

    assert world.ready(2)
    assert world.state.pools[POOL].nodes == 2
    assert world.agent(node).status == "exited"
    assert all(world.app(app).node != node for app in apps)
    assert {event.reason for event in world.of_type(e.AppPlaced) if event.app in apps} == {"new", "moved"}
    assert all(row.failures == 0 for row in world.state.apps.values())
    assert len(world.of_type(e.NodeOrdered)) == 3


def test_more_nodes_are_created_on_request() -> None:
    """Nodes that somebody asks for are ordered, register and serve."""
    world = begin(nodes=1)
    world.ask(CreateNode(POOL, 2))
    world.run(3_000, lambda: world.ready(3))
    assert world.state.pools[POOL].nodes == 3


def test_creation_that_fails_backs_off_and_degrades_the_pool() -> None:
    """Failed creations come after 1, 2, 4, 8 s and more; after five the pool is called degraded, and tries go on."""
    world = World(nodes=1)
    world.pool.fails = True
    world.run(40_000)
    times = world.times_of(e.NodeOrdered)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert [round(gap / 1_000) for gap in gaps[:5]] == [1, 2, 4, 8, 16]
    (degraded,) = world.of_type(e.PoolDegraded)
    assert degraded.strikes == 5

    world.pool.fails = False
    world.run(60_000, lambda: world.ready(1))
    pool = world.state.pools[POOL]
    assert (pool.strikes, pool.held_for, pool.degraded) == (0, 0, False)


def test_node_that_never_says_hello_is_given_up_in_time() -> None:
    """An order that brings no node within a minute is withdrawn, destroyed and tried again."""
    world = World(nodes=1)
    world.pool.mute = True
    world.run(70_000, lambda: bool(world.of_type(e.NodeOrderWithdrawn)))
    assert 60_000 <= world.since_begin_ms() <= 61_500
    world.pool.mute = False
    world.run(5_000, lambda: world.ready(1))
    assert [agent.status for agent in world.pool.agents.values()] == ["exited", "running"]


def test_pool_never_grows_over_its_maximum() -> None:
    """A pool never has more nodes than the policy allows, those being created included."""
    world = begin(nodes=2, policy=Policy(pool_nodes_max=2))
    refused = world.ask(CreateNode(POOL, 1))
    world.ask(ConfigurePool("home", 5, 4))
    world.run(10_000)
    assert isinstance(refused, e.RequestRefused)
    assert world.ready(2)


def test_killed_leader_takes_nothing_with_it() -> None:
    """A node that dies together with the worker is found and healed by the next worker; nobody else is touched."""
    world = begin(8)
    victim = world.active()[0]
    before = _generations(world)
    apps = _apps_on(world, victim.node)
    world.agent(victim.node).paused = True
    world.run(2_000)
    world.restart_worker()
    world.run(15_000, lambda: world.ready(3) and world.all_run())
    after = _generations(world)
    assert {app for app in after if after[app] > before[app]} == apps
    assert monitor(world.state, victim.node) is not None
    world.check_replay()


@pytest.mark.parametrize("back_ms", [0, 1_000, 30_000])
def test_fresh_worker_declares_nobody_down_who_lives(back_ms: int) -> None:
    """A worker that counts back any time, or knows nothing, writes no fact about the living."""
    world = begin(8)
    world.run(40_000)
    facts = len(world.facts_written)
    world.restart_worker(back_ms=back_ms)
    world.run(40_000)
    assert len(world.facts_written) == facts
    assert world.of_type(e.NodeDeclaredDown) == []


@pytest.mark.parametrize("back_ms", [0, 1_000, 30_000])
def test_fresh_worker_finds_a_node_that_died_before(back_ms: int) -> None:
    """A worker that starts long after a node fell silent finds it within the limit from its start."""
    world = begin(4)
    victim = world.active()[0].node
    world.agent(victim).paused = True
    world.worker_paused = True
    world.run(60_000)
    world.worker_paused = False
    world.restart_worker(back_ms=back_ms)
    # Nobody ticked for a minute, but the others' reports moved the clock in their partitions.
    world.run(25_000, lambda: world.state.nodes[victim].status == "down")
    world.run(5_000, world.all_run)
    assert [event.node for event in world.of_type(e.NodeDeclaredDown)] == [victim]


def test_worker_paused_for_long_judges_nothing_it_has_not_read() -> None:
    """A worker that stood still reads what came meanwhile before it judges: nobody alive is touched."""
    world = begin(8)
    facts = len(world.facts_written)
    world.worker_paused = True
    world.run(40_000)
    world.worker_paused = False
    world.run(40_000)
    assert len(world.facts_written) == facts


def test_lone_source_is_watched_and_counted() -> None:
    """A program that beats straight to Kafka is known from its first beat, silent after 10 s, and may return."""
    world = begin()
    world.lone["service-deployer"] = 0
    world.run(12_000)
    alive = monitor(world.state, "service-deployer")
    beats = world.lone.pop("service-deployer")
    world.run(21_000)
    gone = monitor(world.state, "service-deployer")
    world.lone["service-deployer"] = beats
    world.run(6_000)
    back = monitor(world.state, "service-deployer")
    assert [row and (row.status, row.failure_count) for row in (alive, gone, back)] == [
        (1, 0),
        (0, 1),
        (1, 1),
    ]


def test_overdue_node_takes_no_apps() -> None:
    """A node that was not heard for half the limit is not silent yet, and still takes nothing new."""
    world = begin(nodes=2)
    world.run(5_000)
    quiet, other = sorted(row.node for row in world.active())
    world.agent(quiet).paused = True
    world.run(6_000)
    world.run_apps(4)
    world.run(1_000)
    assert not world.state.nodes[quiet].silent
    assert {row.node for row in world.state.apps.values()} == {other}
