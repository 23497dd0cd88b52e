"""The same runner when its things are nodes."""

from agents import inputs as i
from agents.state import Found
from sdk.contract.orders import NodeOrder
from tests.agents.rig import Rig, of_kind, pool_identity, pool_reports

WISH = NodeOrder(order=80, slots=4, port_floor=8_101)


def make_pool(*wishes: NodeOrder) -> Rig:
    """A registered provisioner with these orders."""
    rig = Rig(pool_identity())
    rig.register(as_of=100)
    if wishes:
        rig.give(rig.pool_orders(*wishes, as_of=101))
    return rig


def test_order_creates_a_node_once() -> None:
    """An order is carried out once, and reported at once."""
    rig = make_pool()
    rig.wait(100)
    out = rig.give(rig.pool_orders(WISH, as_of=101)) + rig.give(rig.pool_orders(WISH, as_of=102))
    assert [it.epoch for it in of_kind(out, i.Spawn)] == [80]
    assert pool_reports(out)[0].nodes[0].status == "starting"


def test_node_runs_once_its_agent_answers() -> None:
    """The first answer of the agent is reported at once, with name and pid."""
    rig = make_pool(WISH)
    rig.give(i.Spawned("80", 80, 77, "node-x"))
    rig.wait(100)
    entry = pool_reports(rig.give(i.Beaten("80", 80)))[0].nodes[0]
    assert (entry.node, entry.status, entry.pid) == ("node-x", "running", 77)


def test_dead_node_is_reported_until_orders_forget_it() -> None:
    """An exit is reported at once with its reason, kept while ordered, dropped after it was heard."""
    rig = make_pool(WISH)
    rig.give(i.Spawned("80", 80, 77, "node-x"))
    rig.wait(100)
    entry = pool_reports(rig.give(i.Exited("80", 80, -9, "killed by signal 9")))[0].nodes[0]
    assert (entry.status, entry.exit_code, entry.reason) == ("exited", -9, "killed by signal 9")
    rig.wait(10_000)
    assert rig.node_entry(80) is not None
    assert of_kind(rig.give(rig.pool_orders(as_of=200)), i.Forget)


def test_absent_node_is_destroyed_and_told() -> None:
    """A node that is not ordered any more is destroyed without grace and reported exited at least once."""
    rig = make_pool(WISH)
    rig.give(i.Spawned("80", 80, 77, "node-x"))
    rig.wait(100)
    out = rig.give(rig.pool_orders(as_of=102))
    assert of_kind(out, i.Kill)
    assert not of_kind(out, i.Stop)
    assert pool_reports(out)[0].nodes[0].status == "stopping"
    rig.wait(100)
    rig.is_kafka_there = False
    out = rig.give(i.Exited("80", 80, -9))
    assert pool_reports(out)[0].nodes[0].status == "exited"
    assert not of_kind(out + rig.wait(5_000), i.Forget)
    rig.is_kafka_there = True
    assert of_kind(rig.wait(5_000), i.Forget)


def test_nodes_newer_than_the_orders_stay() -> None:
    """Adopted nodes that the orders are too old to know are left alone."""
    rig = Rig(pool_identity(), found=[Found("150", 150, "alive", "node-x", 7)])
    assert not of_kind(rig.register(as_of=149), i.Kill)


def test_platform_stop_parks_nodes_and_start_brings_them_back() -> None:
    """Nodes are asked to stop with the platform; parked ones start with it, before any orders."""
    rig = make_pool(WISH)
    rig.give(i.Spawned("80", 80, 77, "node-x"))
    assert of_kind(rig.give(i.StopAsked()), i.Stop)
    out = rig.give(i.Exited("80", 80, 0))
    assert of_kind(out, i.Finish)
    assert not of_kind(out, i.Forget)
    again = Rig(pool_identity(), found=[Found("80", 80, "parked", "node-x")])
    assert [it for _, it in again.history if isinstance(it, i.Spawn)] == [i.Spawn("80", 80, None)]


def test_platform_stop_does_not_park_the_condemned() -> None:
    """A node that is being destroyed is not asked to stop, which would bring it back next time."""
    rig = make_pool(WISH)
    rig.give(i.Spawned("80", 80, 77, "node-x"))
    rig.give(rig.pool_orders(as_of=102))
    assert not of_kind(rig.give(i.StopAsked()), i.Stop)


def test_platform_stop_ends_within_its_bound() -> None:
    """A node that does not stop is destroyed after 8 s."""
    rig = make_pool(WISH)
    rig.give(i.Spawned("80", 80, 77, "node-x"))
    rig.give(i.StopAsked())
    assert not of_kind(rig.wait(7_900), i.Kill)
    assert of_kind(rig.wait(200), i.Kill)


def test_creation_that_fails_is_an_exit_without_a_name() -> None:
    """What never came to be is reported exited, so that the planner can try again."""
    rig = make_pool(WISH)
    rig.wait(100)
    entry = pool_reports(rig.give(i.Exited("80", 80, 127, "no free port")))[0].nodes[0]
    assert (entry.node, entry.status, entry.reason) == ("", "exited", "no free port")
