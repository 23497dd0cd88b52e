"""Spares: nodes that stand by without apps, taken when one is missing, and the pool refilled behind them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.requests import (
    ConfigurePool,
    CordonNode,
    CreateNode,
    MoveApp,
    Request,
    RequestNode,
    ShutdownNode,
)
from tables.decide import decide
from tables.pools import is_takeable, nodes_in_pool, nodes_max, spares_in_pool, spares_of
from tables.registries import node_db
from tables.rows import NodeRow
from tests.streams.logs import Log
from tests.tables.chaos import planned_log, wild_log
from tests.tables.entries import Entry, fold_entry, saved_and_loaded
from tests.tables.virtual import POOL
from tests.tables.world import World, begin

_SEEDS = st.integers(0, 1 << 32)
_MANY = settings(max_examples=25)


def _with_spares(
    apps: int = 8, *, nodes: int = 2, spares: int = 1, most: int = 0, policy: Policy | None = None
) -> World:
    """A world in which all nodes and spares have registered and all apps run."""
    world = begin(apps, nodes=nodes, policy=policy)
    world.ask(ConfigurePool("home", nodes, 4, nodes_max=most, spares=spares))
    world.run(5_000, lambda: len(_standing_by(world)) == spares)
    return world


def _standing_by(world: World) -> list[NodeRow]:
    return [row for row in spares_of(world.state, POOL) if is_takeable(row)]


def _serving(world: World) -> list[NodeRow]:
    return [row for row in world.active() if not row.spare]


def _victim(world: World) -> str:
    return next(row.node for row in _serving(world) if world.state.apps_of_node.get(row.node))


def test_a_spare_takes_no_apps() -> None:
    """Apps wait rather than run on a spare, and the count of who fell out names it."""
    world = _with_spares(8)
    world.run_apps(9)
    world.run(3_000)

    late = world.app("application-8")
    assert late.phase == "pending"
    assert late.fell_out == {"slots": 2, "spare": 1}
    assert world.state.apps_of_node.get(_standing_by(world)[0].node) is None


def test_a_dead_node_is_replaced_by_the_spare_with_all_its_apps() -> None:
    """The spare takes the place of the dead node at once, with all its apps, and a new spare is ordered behind it."""
    world = _with_spares(8)
    victim, spare = _victim(world), _standing_by(world)[0].node
    apps = sorted(world.state.apps_of_node[victim])
    world.agent(victim).status = "exited"

    world.run(300, world.all_run)

    assert {world.app(app).node for app in apps} == {spare}
    (taken,) = world.of_type(e.SpareTaken)
    assert (taken.node, taken.replaces) == (spare, victim)
    world.run(5_000, lambda: len(_standing_by(world)) == 1)
    assert world.of_type(e.NodeOrdered)[-1].spare
    assert len(world.active()) == 3
    assert decide(world.state, world.watcher) == []
    world.check_replay()


def test_the_pool_is_refilled_once_the_apps_have_started() -> None:
    """No node is made while apps start on the spare, unless they take too long: then it is made all the same."""
    world = _with_spares(8)
    victim = _victim(world)
    for app in world.state.apps_of_node[victim]:
        world.behaviour[app] = "never"
    world.agent(victim).status = "exited"
    orders = len(world.of_type(e.NodeOrdered))

    world.run(8_000)
    assert len(world.of_type(e.SpareTaken)) == 1
    assert len(world.of_type(e.NodeOrdered)) == orders

    world.run(60_000, lambda: len(_standing_by(world)) == 1)


def test_a_hung_node_is_replaced_by_the_spare() -> None:
    """After a silence too, the spare takes over."""
    world = _with_spares(8)
    victim, spare = _victim(world), _standing_by(world)[0].node
    world.agent(victim).paused = True
    world.run(20_000, lambda: bool(world.of_type(e.SpareTaken)))
    world.run(5_000, world.all_run)
    assert len(world.state.apps_of_node[spare]) == 4


def test_two_deaths_with_one_spare_take_it_and_order_one() -> None:
    """What the spares do not cover is ordered, each dead node with one successor."""
    world = _with_spares(8)
    for row in _serving(world):
        world.agent(row.node).status = "exited"
    world.run(20_000, lambda: world.all_run() and len(_standing_by(world)) == 1)
    (taken,) = world.of_type(e.SpareTaken)
    replacing = [order.replaces for order in world.of_type(e.NodeOrdered) if order.replaces]
    assert len(replacing) == 1
    assert taken.replaces not in replacing
    assert len(world.active()) == 3


def test_a_spare_that_dies_is_replaced_by_a_spare() -> None:
    """A dead spare counts nowhere among the nodes that the pool ought to have, and nobody misses it."""
    world = _with_spares(8)
    spare = _standing_by(world)[0].node
    world.agent(spare).status = "exited"
    world.run(5_000, lambda: world.state.nodes[spare].status == "down" and len(_standing_by(world)) == 1)
    assert world.of_type(e.SpareTaken) == []
    assert world.of_type(e.NodeOrdered)[-1].spare
    assert len(world.active()) == 3
    assert spare not in [node.node_id for node in node_db(world.state).nodes]


def test_a_silent_spare_is_not_taken() -> None:
    """A node that nobody hears is no help: a new one is ordered once its silence is on the log."""
    world = _with_spares(8)
    spare = _standing_by(world)[0].node
    world.agent(spare).paused = True
    world.run(8_000)
    world.agent(_victim(world)).status = "exited"
    world.run(20_000, world.all_run)
    assert all(taken.node != spare for taken in world.of_type(e.SpareTaken))


def test_more_nodes_are_taken_from_the_spares() -> None:
    """`nodes create` is answered by a spare at once, and another stands by after that."""
    world = _with_spares(0)
    spare = _standing_by(world)[0].node
    world.ask(CreateNode(POOL, 1))
    world.run(200, lambda: len(_serving(world)) == 3)
    assert not world.state.nodes[spare].spare
    world.run(5_000, lambda: len(_standing_by(world)) == 1)
    assert len(world.active()) == 4


def test_who_asks_for_a_new_node_gets_the_spare() -> None:
    """A request for a node of its own is granted on the spare, in the same moment."""
    world = _with_spares(0)
    spare = _standing_by(world)[0].node
    world.ask(RequestNode(new=True))
    world.run(200, lambda: bool(world.of_type(e.NodeGranted)))
    assert world.of_type(e.NodeGranted)[0].node == spare


def test_spares_give_way_to_the_maximum() -> None:
    """Nodes and spares together never exceed the maximum; what nodes need, spares do without."""
    world = _with_spares(8, nodes=2, spares=1, most=3)
    world.ask(ConfigurePool("home", 2, 4, nodes_max=3, spares=3))
    world.run(5_000)
    assert len(world.active()) == 3

    world.ask(CreateNode(POOL, 1))
    world.run(5_000)

    assert len(_serving(world)) == 3
    assert _standing_by(world) == []
    refused = world.ask(CreateNode(POOL, 1))
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason == "count: 1 is out of range; pool-home has room for 0 more"


def test_fewer_spares_are_retired() -> None:
    """Who is wanted no more leaves, without an order in its place."""
    world = _with_spares(8, spares=2)
    orders = len(world.of_type(e.NodeOrdered))
    world.ask(ConfigurePool("home", 2, 4, spares=0))
    world.run(5_000, lambda: len(world.active()) == 2)
    assert len(world.of_type(e.SpareRetired)) == 2
    assert world.state.pools[POOL].nodes == 2
    assert len(world.of_type(e.NodeOrdered)) == orders
    assert decide(world.state, world.watcher) == []


def test_a_spare_that_is_shut_down_lowers_the_spares() -> None:
    """As with other nodes, shutting one down says that one less is wanted."""
    world = _with_spares(8)
    world.ask(ShutdownNode(_standing_by(world)[0].node))
    world.run(5_000, lambda: len(world.active()) == 2)
    row = world.state.pools[POOL]
    assert (row.nodes, row.spares) == (2, 0)


def test_a_cordoned_spare_is_left_alone() -> None:
    """Nobody takes a spare that a person closed."""
    world = _with_spares(8)
    world.ask(CordonNode(_standing_by(world)[0].node))
    world.agent(_victim(world)).status = "exited"
    world.run(5_000, world.all_run)
    assert world.of_type(e.SpareTaken) == []


def test_a_returned_spare_is_one_too_many_and_goes() -> None:
    """A spare that was thought dead and replaced comes back: the pool keeps as many as it ought to have."""
    world = _with_spares(0, policy=Policy(destroy_silent_nodes=False))
    spare = world.agent(_standing_by(world)[0].node)
    world.run(1_000)
    spare.paused = True
    world.run(30_000, lambda: world.state.nodes[spare.node].status == "down" and bool(_standing_by(world)))
    spare.paused = False
    world.run(30_000, lambda: bool(world.of_type(e.SpareRetired)) and len(world.active()) == 3)
    assert len(_standing_by(world)) == 1


def test_a_spare_is_taken_while_no_node_can_be_created() -> None:
    """What stands by helps also while creating fails, and while the provisioner is away."""
    world = _with_spares(8)
    world.pool.fails = True
    world.agent(_victim(world)).status = "exited"
    world.run(300, world.all_run)
    world.run(60_000, lambda: bool(world.of_type(e.PoolDegraded)))
    assert world.all_run()
    world.pool.fails = False
    world.run(200_000, lambda: len(_standing_by(world)) == 1)


def test_a_node_ends_the_wait_of_its_pool_by_the_pools_own_time() -> None:
    """A pool whose nodes take long to boot waits longer than the policy says."""
    world = begin(nodes=0)
    world.pool.mute = True
    world.ask(ConfigurePool("home", 1, 4, register_within_ms=120_000))
    world.run(110_000)
    assert world.of_type(e.NodeOrderWithdrawn) == []
    world.run(20_000, lambda: bool(world.of_type(e.NodeOrderWithdrawn)))
    assert world.of_type(e.NodeOrderWithdrawn)[0].reason == "no registration within 120000 ms"


def _below_min(world: World) -> Request:
    world.ask(ConfigurePool("home", 2, 4, nodes_min=2))
    return ShutdownNode(_serving(world)[0].node)


def test_nobody_shuts_a_pool_down_below_its_minimum() -> None:
    """The refusal names the minimum."""
    world = _with_spares(0)
    refused = world.ask(_below_min(world))
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason == "pool-home must keep 2 nodes (its min), and ought to have 2"


def test_no_app_can_be_moved_to_a_spare() -> None:
    """The refusal says what it is."""
    world = _with_spares(8)
    spare = _standing_by(world)[0].node
    refused = world.ask(MoveApp("application-0", spare))
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason == f"{spare} is a spare of its pool and takes no apps until it is taken"


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (
            ConfigurePool("home", 1, 4, nodes_min=2),
            "nodes: 1 is out of range; allowed: 2 to 60000 (min and max)",
        ),
        (ConfigurePool("home", 5, 4, nodes_max=4), "nodes: 5 is out of range; allowed: 0 to 4 (min and max)"),
        (ConfigurePool("home", 2, 4, nodes_max=4, spares=5), "spares: 5 is out of range; allowed: 0 to 4"),
        (
            ConfigurePool("home", 2, 4, register_within_ms=5),
            "register_within_ms: 5 is out of range; allowed: 1000 to 7200000, or 0 for the policy's",
        ),
        (ConfigurePool("home", 2, 4, nodes_max=-1), "min 0, max -1: out of range; allowed: 0 to 60000"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(wish: Request, reason: str) -> None:
    """Each refusal names the value and what is allowed."""
    refused = begin(nodes=1).ask(wish)
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason == reason


@_MANY
@given(seed=_SEEDS)
def test_a_pool_never_orders_over_its_maximum_nor_too_many_spares(seed: int) -> None:
    """Whatever happened, decisions make a pool no larger than it may be, and spares no more than wanted."""
    for state, witness, _ in planned_log(seed, 60):
        copy = saved_and_loaded(state)
        for event in decide(copy, witness):
            counts = {pool: (nodes_in_pool(copy, pool), spares_in_pool(copy, pool)) for pool in copy.pools}
            fold_entry(copy, Entry(copy.offset + 1, copy.now_ms, event))
            for pool, (nodes, spares) in counts.items():
                row = copy.pools[pool]
                assert nodes_in_pool(copy, pool) <= max(nodes, nodes_max(copy, row))
                assert spares_in_pool(copy, pool) <= max(spares, row.spares)


@_MANY
@given(seed=_SEEDS)
def test_a_spare_is_taken_once(seed: int) -> None:
    """Along any log, also one that nobody planned, no order is taken twice, and nothing is placed on a spare."""
    for state, entry in wild_log(seed, 300):
        event = entry.event
        node = state.nodes.get(getattr(event, "node", ""))
        if node is not None and node.spare and isinstance(event, e.AppPlaced | e.AppPrepared | e.NodeGranted):
            copy = saved_and_loaded(state)
            assert not fold_entry(copy, entry).accepted
        for row in state.orders.values():
            assert not (row.spare and row.taken_at)


def test_a_second_record_of_an_order_does_not_count() -> None:
    """Also not where the pool ought to have more by then; the next of the same batch does."""
    log = Log()
    log.start(nodes=1)
    log.add(e.PoolConfigured("request-2", "pool-local", 4, 4))

    def order(place: int, *, accepted: bool = True) -> None:
        log.add(
            e.NodeOrdered(
                term=log.term,
                based_on=9,
                policy=-1,
                pool="pool-local",
                slots=4,
                port_floor=1,
                place=place,
            ),
            accepted=accepted,
        )

    order(1)
    order(1, accepted=False)
    order(2)
    assert log.outcomes[-2].dropped == "it was ordered before"
