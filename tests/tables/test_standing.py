"""Whether a node takes apps: cordon and quarantine, and where apps of a dead node go under each policy."""

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.requests import ConfigurePool, ConfirmNodeDown, CordonNode, RunApp, UncordonNode
from sdk.contract.specs import AppSpec
from tables.views import node_status
from tests.tables.virtual import POOL
from tests.tables.world import World, begin

_QUARANTINE_MS = 60_000
#: Nodes that fall silent are left alone and may come back.
_MAY_RETURN = Policy(destroy_silent_nodes=False, node_quarantine_ms=_QUARANTINE_MS)


def _apps_on(world: World, node: str) -> set[str]:
    return {app for app, row in world.state.apps.items() if row.node == node}


def _run_app(world: World, name: str) -> str:
    app = f"application-{name}"
    world.ask(RunApp(AppSpec(app, ["run"])))
    world.run(5_000, world.all_run)
    return world.app(app).node


def test_cordoned_node_keeps_its_apps_and_takes_no_more() -> None:
    """Apps stay on a cordoned node and run on; new ones go elsewhere; after uncordon it takes apps again."""
    world = begin(3)
    node = world.app("application-0").node
    world.ask(CordonNode(node))
    assert node_status(world.state, world.state.nodes[node]) == "cordoned"
    before = world.app("application-0").generation
    assert node not in {_run_app(world, f"late-{number}") for number in range(4)}
    assert (world.app("application-0").node, world.app("application-0").generation) == (node, before)
    assert world.of_type(e.AppPlaced)[-1].fell_out["cordoned"] == 1

    world.ask(UncordonNode(node))
    assert node_status(world.state, world.state.nodes[node]) == "active"
    assert _run_app(world, "last") == node
    world.check_replay()


def test_app_on_a_cordoned_node_fails_and_goes_elsewhere() -> None:
    """A copy that ends on a cordoned node does not come back there, even if its spec says so."""
    world = begin()
    world.ask(RunApp(AppSpec("application-a", ["run"], on_failure="same-node")))
    world.run(5_000, world.all_run)
    row = world.app("application-a")
    world.ask(CordonNode(row.node))
    world.agent(row.node).copies[row.app, row.generation].end(1)
    world.run(5_000, lambda: world.app(row.app).generation > row.generation and world.all_run())
    assert world.app(row.app).node != row.node


def test_cordon_outlives_a_return_of_the_node() -> None:
    """A cordoned node that dies and comes back under its id is cordoned still: a person said so."""
    world = begin(policy=_MAY_RETURN)
    node = world.active()[0].node
    world.ask(CordonNode(node))
    _die_and_return(world, node)
    assert node_status(world.state, world.state.nodes[node]) == "cordoned"


def _die_and_return(world: World, node: str) -> None:
    """Let a node fall silent, be declared down, and register again."""
    # An agent that has not read its registration could not name it when it comes back.
    world.run(5_000)
    failures, registration = world.state.nodes[node].failures, world.state.nodes[node].registration
    world.agent(node).paused = True
    world.run(15_000, lambda: world.state.nodes[node].failures > failures)
    world.agent(node).paused = False
    world.run(5_000, lambda: world.state.nodes[node].registration > registration)
    world.run(500)


def _flap(world: World, times: int) -> str:
    """The id of a node that was declared down so often, and is back."""
    node = world.active()[0].node
    for _ in range(times):
        _die_and_return(world, node)
    return node


def test_node_that_failed_three_times_in_ten_minutes_is_not_reused() -> None:
    """After the third failure the node is in quarantine: no apps, another is ordered, in the end it goes."""
    world = begin(policy=_MAY_RETURN)
    node = _flap(world, 2)
    assert node_status(world.state, world.state.nodes[node]) == "active"
    _die_and_return(world, node)
    assert node_status(world.state, world.state.nodes[node]) == "quarantined"
    (quarantined,) = world.of_type(e.NodeQuarantined)
    assert (quarantined.node, quarantined.failures) == (node, 3)
    assert node not in {_run_app(world, f"late-{number}") for number in range(6)}

    began_ms = world.now_ms
    world.run(_QUARANTINE_MS + 1_000, lambda: not world.state.nodes[node].quarantined)
    assert world.now_ms - began_ms <= _QUARANTINE_MS
    (released,) = world.of_type(e.NodeReleased)
    assert released.node == node
    assert world.state.nodes[node].recent_failures == []
    assert released.surplus
    world.run(5_000, lambda: world.state.nodes[node].status == "left")
    assert len(world.active()) == world.state.pools[POOL].nodes
    assert _run_app(world, "last") in {row.node for row in world.active()}
    world.check_replay()


def test_a_node_that_its_pool_lacks_serves_again_after_its_quarantine() -> None:
    """While nodes are missing and none can be made, the one in quarantine is free again when its time is over."""
    world = begin(policy=_MAY_RETURN)
    node = _flap(world, 3)
    world.pool.fails = True
    world.ask(ConfigurePool("home", len(world.active()), 4))
    world.run(_QUARANTINE_MS + 1_000, lambda: not world.state.nodes[node].quarantined)
    assert [released.surplus for released in world.of_type(e.NodeReleased)] == [False]
    assert node_status(world.state, world.state.nodes[node]) == "active"


def test_failures_far_apart_are_no_reason() -> None:
    """Three failures over more than the window leave the node in service."""
    world = begin(policy=Policy(destroy_silent_nodes=False, node_failure_window_ms=60_000))
    node = _flap(world, 2)
    world.run(60_000)
    _die_and_return(world, node)
    assert node_status(world.state, world.state.nodes[node]) == "active"
    assert not world.of_type(e.NodeQuarantined)


def test_uncordon_ends_a_quarantine_at_once() -> None:
    """A person may trust a node before its time; its old failures do not count any more."""
    world = begin(policy=_MAY_RETURN)
    node = _flap(world, 3)
    world.ask(UncordonNode(node))
    assert node_status(world.state, world.state.nodes[node]) == "active"
    world.run(5_000)
    assert node_status(world.state, world.state.nodes[node]) == "active"
    assert not world.of_type(e.NodeReleased)


def test_quarantine_ends_with_the_registration_and_is_judged_anew() -> None:
    """A node that dies in quarantine and returns is put into quarantine again, for its whole time."""
    world = begin(policy=_MAY_RETURN)
    node = _flap(world, 4)
    assert node_status(world.state, world.state.nodes[node]) == "quarantined"
    assert len(world.of_type(e.NodeQuarantined)) == 2
    world.check_replay()


def test_worker_that_restarts_keeps_a_quarantine() -> None:
    """The time of a quarantine runs on the log: another worker ends it as well, late rather than early."""
    world = begin(policy=_MAY_RETURN)
    node = _flap(world, 3)
    world.restart_worker()
    assert world.state.nodes[node].quarantined
    world.run(_QUARANTINE_MS + 1_000, lambda: not world.state.nodes[node].quarantined)


def test_spread_puts_the_apps_of_a_dead_node_on_those_that_have_room() -> None:
    """With `spread` no app waits for the new node, which comes empty."""
    world = begin(4, nodes=3, policy=Policy(on_node_failure="spread"))
    victim = world.app("application-0").node
    apps, others = _apps_on(world, victim), {row.node for row in world.active()} - {victim}

    world.agent(victim).status = "exited"
    world.run(3_000, lambda: world.ready(3) and world.all_run())

    assert {world.app(app).node for app in apps} <= others
    new = max(world.active(), key=lambda row: row.registration)
    assert new.node not in others
    assert _apps_on(world, new.node) == set()
    assert world.of_type(e.NodeOrdered)[-1].replaces == ""
    assert {placed.reason for placed in world.of_type(e.AppPlaced)[4:]} == {"node-down"}
    world.check_replay()


def test_spread_without_room_waits_for_the_new_node() -> None:
    """With `spread` and full nodes the apps wait, and the empty node that fills up the pool takes them."""
    world = begin(12, policy=Policy(on_node_failure="spread"))
    victim = world.active()[0].node
    apps = _apps_on(world, victim)
    world.agent(victim).status = "exited"
    world.run(3_000, lambda: world.ready(3) and world.all_run())
    new = max(world.active(), key=lambda row: row.registration)
    assert _apps_on(world, new.node) == apps
    assert {left.app for left in world.of_type(e.AppLeftPending)} == apps


def test_policy_may_change_while_a_node_is_being_replaced() -> None:
    """Apps whose replacement was ordered go there, whatever the policy says by then."""
    from sdk.contract.requests import ChangePolicy

    world = begin(12)
    victim = world.active()[0].node
    apps = _apps_on(world, victim)
    world.agent(victim).status = "exited"
    world.run(3_000, lambda: len(world.of_type(e.NodeOrdered)) > 3)
    world.ask(ChangePolicy({"on_node_failure": "spread"}))
    world.run(3_000, lambda: world.ready(3) and world.all_run())
    new = max(world.active(), key=lambda row: row.registration)
    assert _apps_on(world, new.node) == apps


def test_confirmed_death_counts_as_a_failure() -> None:
    """However a node was declared down, it counts."""
    world = begin(policy=Policy(destroy_silent_nodes=False, silence_limit_ms=10_000))
    node = world.active()[0].node
    world.agent(node).paused = True
    world.run(15_000, lambda: world.state.nodes[node].status == "down")
    assert isinstance(world.ask(ConfirmNodeDown(node)), e.RequestRefused)
    assert len(world.state.nodes[node].recent_failures) == 1
