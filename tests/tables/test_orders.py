"""Orders: what each node and pool is told, in every phase."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from sdk.contract.orders import NodeOrders, Orders, PoolOrders
from sdk.contract.requests import ChangePolicy, RestartApp, ShutdownNode, StopApp
from tables.orders import orders_for, reporters_touched
from tables.state import State
from tests.tables.chaos import planned_log
from tests.tables.virtual import POOL, TOPIC
from tests.tables.world import World, begin

APP = "application-0"


def _node_orders(world: World, node: str) -> NodeOrders:
    orders = orders_for(world.state, node, topic_id=TOPIC)
    assert isinstance(orders, NodeOrders)
    return orders


def _pool_orders(world: World) -> PoolOrders:
    orders = orders_for(world.state, POOL, topic_id=TOPIC)
    assert isinstance(orders, PoolOrders)
    return orders


def test_who_never_registered_has_no_orders() -> None:
    """Neither a node nor a pool without a registration is told anything."""
    world = World()
    assert orders_for(world.state, "node-x_1", topic_id=TOPIC) is None
    assert orders_for(world.state, POOL, topic_id=TOPIC) is None
    assert orders_for(world.state, "pool-x", topic_id=TOPIC) is None


def test_active_node_is_told_its_apps() -> None:
    """An active node is told its claim, registration and every app with generation and spec."""
    world = begin(3, nodes=1)
    row = world.active()[0]
    orders = _node_orders(world, row.node)
    assert (orders.claim, orders.registration, orders.as_of) == (
        row.claim,
        row.registration,
        world.state.offset,
    )
    assert [(app.app, app.generation, app.command, app.kill) for app in orders.apps] == [
        (app, world.app(app).generation, ["run"], False) for app in sorted(world.state.apps)
    ]
    assert not orders.ended


def test_stopped_and_restarting_apps_are_absent() -> None:
    """An app that shall stop, for good or for another start, is absent at once."""
    world = begin(3, nodes=1)
    node = world.app(APP).node
    world.ask(StopApp(APP))
    world.ask(RestartApp("application-1"))
    assert [app.app for app in _node_orders(world, node).apps] == ["application-2"]


def test_condemned_app_is_told_to_be_killed() -> None:
    """A condemned copy stays in the orders with the word to kill it."""
    world = begin(1)
    node = world.app(APP).node
    world.behaviour[APP] = "hangs"
    world.run(12_000, lambda: bool(world.of_type(e.AppDeclaredDown)))
    assert [app.kill for app in _node_orders(world, node).apps] == [True]


def test_node_that_an_app_left_is_told_so() -> None:
    """When an app ends and is placed elsewhere in one turn, the orders of the node it left are written anew."""
    world = begin(4)
    row = world.app(APP)
    world.agent(row.node).copies[APP, row.generation].end(1)
    world.run(2_000, world.all_run)
    left = world.published[row.node]
    assert isinstance(left, NodeOrders)
    assert world.app(APP).node != row.node
    assert APP not in {app.app for app in left.apps}


def test_draining_node_is_told_to_run_nothing() -> None:
    """A node that is to shut down is told to run nothing, under a registration still in force."""
    world = begin(2, nodes=1)
    node = world.active()[0].node
    world.ask(ShutdownNode(node))
    orders = _node_orders(world, node)
    assert (orders.apps, orders.ended) == ([], False)


def test_dead_node_is_told_that_its_registration_is_over() -> None:
    """A node that was declared down is told to stop everything and ask anew, and leaves its pool's orders."""
    world = begin(3)
    row = world.active()[0]
    world.agent(row.node).paused = True
    world.run(12_000, lambda: world.state.nodes[row.node].status == "down")
    orders = _node_orders(world, row.node)
    assert (orders.apps, orders.ended) == ([], True)
    assert row.order not in {node.order for node in _pool_orders(world).nodes}


def test_node_that_is_not_to_be_destroyed_stays_in_the_pools_orders() -> None:
    """With destroy switched off, the pool goes on running the node that fell silent."""
    world = begin(3)
    world.ask(ChangePolicy({"destroy_silent_nodes": False}))
    row = world.active()[0]
    world.agent(row.node).paused = True
    world.run(12_000, lambda: world.state.nodes[row.node].status == "down")
    assert row.order in {node.order for node in _pool_orders(world).nodes}


def test_limit_of_the_policy_reaches_every_node() -> None:
    """A changed silence limit stands in the orders of every node."""
    world = begin(1)
    world.ask(ChangePolicy({"silence_limit_ms": 12_000}))
    world.run(100)
    limits = [world.published[row.node] for row in world.active()]
    assert {orders.silence_limit_ms for orders in limits if isinstance(orders, NodeOrders)} == {12_000}


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 32))
@example(seed=869)  # a condemned app that could not be killed moves to another node
def test_touched_reporters_are_all_whose_orders_differ(seed: int) -> None:
    """Rewriting the orders of those touched alone keeps all orders as if all were computed anew."""
    published: dict[str, Orders | None] = {}
    changed: set[tuple[str, str]] | None = None
    for state, _, _ in planned_log(seed, 50):
        changed = state.listen() if changed is None else changed
        if not published:
            published = _all(state)
        for reporter in reporters_touched(state, changed):
            published[reporter] = _of(state, reporter)
        changed.clear()
        assert published == _all(state)


def _of(state: State, reporter: str) -> Orders | None:
    """The orders without their age."""
    orders = orders_for(state, reporter, topic_id=TOPIC)
    if orders is None:
        return None
    if isinstance(orders, NodeOrders):
        return NodeOrders(
            orders.reporter,
            orders.claim,
            orders.registration,
            "",
            0,
            orders.apps,
            orders.ended,
            orders.silence_limit_ms,
        )
    return PoolOrders(orders.reporter, orders.claim, orders.registration, "", 0, orders.nodes, orders.ended)


def _all(state: State) -> dict[str, Orders | None]:
    return {reporter: _of(state, reporter) for reporter in (*state.nodes, *state.pools)}
