"""Apps that move and nodes that are drained: ready elsewhere first, one generation in force at every offset."""

from typing import Any

import pytest

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.requests import DrainNode, MoveApp, RestartApp, RunApp, StopApp, UncordonNode
from sdk.contract.specs import AppSpec
from tests.tables.world import World, begin

_APP = "application-0"


def _standby_runs(world: World, app: str = _APP) -> bool:
    """Whether the copy that is made ready has been started."""
    standby = world.app(app).standby
    return standby is not None and (app, standby.generation) in world.agent(standby.node).running()


def _runs(world: World, app: str) -> bool:
    """Whether the generation in force has a living process."""
    row = world.app(app)
    return (app, row.generation) in world.agent(row.node).running()


def _run_uninterrupted(world: World, for_ms: int, apps: list[str], until: Any) -> None:
    """Let time pass, and see at each step that each app has its copy in force running."""

    def look() -> bool:
        assert all(_runs(world, app) for app in apps)
        return bool(until())

    world.run(for_ms, look)


def test_app_that_moves_is_ready_elsewhere_before_it_stops_here() -> None:
    """At each moment the copy in force runs; when it changes, the new one has beaten, and then the old one ends."""
    world = begin(3)
    row = world.app(_APP)
    world.ask(MoveApp(_APP))
    _run_uninterrupted(world, 5_000, [_APP], lambda: world.app(_APP).generation > row.generation)

    new = world.app(_APP)
    (prepared,) = world.of_type(e.AppPrepared)
    assert (prepared.beside, prepared.node) == (row.generation, new.node)
    assert new.node != row.node
    assert (new.phase, new.standby, new.moving, new.failures) == ("running", None, False, 0)
    world.run(5_000)
    assert world.agent(row.node).running() == []
    assert world.app(_APP).generation == new.generation
    assert not world.of_type(e.AppExited)
    world.check_replay()


def test_app_moves_to_the_node_that_is_named() -> None:
    """A named node is taken although another is emptier."""
    world = begin(5)
    row = world.app(_APP)
    fullest = max(
        (node for node in world.state.nodes if node != row.node),
        key=lambda node: sum(app.node == node for app in world.state.apps.values()),
    )
    world.ask(MoveApp(_APP, fullest))
    world.run(5_000, lambda: world.app(_APP).node == fullest)
    assert world.all_run()


def test_move_without_room_waits_and_says_why() -> None:
    """No room elsewhere: the copy here runs on, the reason stands in its row, and it moves once there is room."""
    world = begin(12)
    row = world.app(_APP)
    world.ask(MoveApp(_APP))
    world.run(2_000)
    assert world.app(_APP).pending_reason == "no active node has 1 slot free"
    other = next(app for app in world.state.apps.values() if app.node != row.node)
    world.ask(StopApp(other.app))
    _run_uninterrupted(world, 5_000, [_APP], lambda: world.app(_APP).generation > row.generation)
    assert world.app(_APP).node == other.node
    assert world.app(_APP).pending_reason == ""


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (MoveApp("application-x"), "no app"),
        (MoveApp(_APP, "node-x"), "no node"),
        (MoveApp("application-stopped"), "does not run"),
        (DrainNode("node-x"), "no node"),
    ],
)
def test_what_cannot_be_moved_is_refused(wish: MoveApp | DrainNode, reason: str) -> None:
    """The refusal says what is wrong."""
    world = begin(1)
    world.ask(RunApp(AppSpec("application-stopped", ["run"])))
    world.ask(StopApp("application-stopped"))
    world.run(3_000)
    refused = world.ask(wish)
    assert isinstance(refused, e.RequestRefused)
    assert reason in refused.reason
    here = world.ask(MoveApp(_APP, world.app(_APP).node))
    assert isinstance(here, e.RequestRefused)


def _begin_move(**spec: Any) -> tuple[World, str]:
    """A world in which the second copy of an app has been started and has not beaten; and its node."""
    world = begin()
    world.ask(RunApp(AppSpec(_APP, ["run"], **spec)))
    world.run(5_000, world.all_run)
    world.behaviour[_APP] = "hangs"
    world.ask(MoveApp(_APP))
    world.run(1_000, lambda: _standby_runs(world))
    standby = world.app(_APP).standby
    assert standby is not None
    return world, standby.node


def test_copy_that_never_beats_is_given_up_and_the_old_one_goes_on() -> None:
    """A second copy without a beat in time is dropped and stopped; nothing is tried until somebody asks again."""
    world, node = _begin_move(start_within_ms=2_000)
    generation = world.app(_APP).generation
    world.run(3_000, lambda: bool(world.of_type(e.AppStandbyDropped)))
    world.behaviour[_APP] = "beats"
    world.run(20_000)
    assert world.of_type(e.AppStandbyDropped)[0].reason == "never-beat"
    assert (world.app(_APP).generation, world.app(_APP).failures) == (generation, 0)
    assert world.app(_APP).pending_reason == "the last move failed: it never beat"
    assert world.agent(node).running() == []
    assert len(world.of_type(e.AppPrepared)) == 1

    world.ask(MoveApp(_APP))
    world.run(5_000, lambda: world.app(_APP).generation > generation)
    world.check_replay()


def test_copy_that_ends_before_it_took_over_is_no_failure_of_the_app() -> None:
    """A second copy that exits ends the move; the one in force never notices."""
    world, node = _begin_move()
    row = world.app(_APP)
    assert row.standby is not None
    world.agent(node).copies[_APP, row.standby.generation].end(3)
    world.behaviour[_APP] = "beats"
    world.run(2_000, lambda: bool(world.of_type(e.AppExited)))
    after = world.app(_APP)
    assert (after.generation, after.phase, after.failures, after.moving) == (
        row.generation,
        "running",
        0,
        False,
    )
    assert (
        after.pending_reason == f"the last move failed: the copy on {node} exited with 3 before it took over"
    )


def test_old_copy_that_fails_meanwhile_is_replaced_as_ever() -> None:
    """The end of the copy in force ends the move: its next copy is placed anew, and the second one is stopped."""
    world, node = _begin_move()
    row = world.app(_APP)
    assert row.standby is not None
    world.behaviour[_APP] = "beats"
    # Both in one step, before the second copy beats.
    world.agent(row.node).copies[_APP, row.generation].end(1)
    world.agent(node).copies[_APP, row.standby.generation].started_ms = world.now_ms + 60_000
    world.run(5_000, lambda: world.app(_APP).generation > row.generation and world.all_run())
    after = world.app(_APP)
    assert after.generation > row.standby.generation
    assert (after.failures, after.standby) == (1, None)
    world.run(10_000)
    assert (_APP, row.standby.generation) not in world.agent(node).running()


def test_node_of_the_second_copy_dies_and_another_is_chosen() -> None:
    """The death of the node that it was to move to drops the copy there; the move goes on elsewhere."""
    world, node = _begin_move()
    row = world.app(_APP)
    world.behaviour[_APP] = "beats"
    world.agent(node).status = "exited"
    _run_uninterrupted(world, 10_000, [_APP], lambda: world.app(_APP).generation > row.generation)
    assert [dropped.reason for dropped in world.of_type(e.AppStandbyDropped)] == ["node-down"]
    assert world.app(_APP).node not in (node, row.node)


def test_node_of_the_old_copy_dies_and_the_app_comes_back() -> None:
    """The death of the node that it was to leave is a node's death: the app goes to the replacement."""
    world, _ = _begin_move()
    row = world.app(_APP)
    world.agent(row.node).status = "exited"
    world.behaviour[_APP] = "beats"
    world.run(10_000, lambda: world.app(_APP).generation > row.generation and world.all_run())
    assert world.app(_APP).standby is None
    world.run(10_000)
    assert sum(_APP in {app for app, _ in agent.running()} for agent in world.pool.agents.values()) == 1
    world.check_replay()


@pytest.mark.parametrize("wish", [StopApp(_APP), RestartApp(_APP)])
def test_other_wishes_end_a_move(wish: StopApp | RestartApp) -> None:
    """An app that is stopped or restarted while it moves has no second copy any more."""
    world, node = _begin_move()
    before = world.app(_APP).standby
    assert before is not None
    world.ask(wish)
    world.behaviour[_APP] = "beats"
    assert world.app(_APP).standby is None
    world.run(10_000)
    assert (_APP, before.generation) not in world.agent(node).running()
    assert world.all_run()


def test_worker_that_restarts_finishes_a_move() -> None:
    """A move is state on the log: another worker goes on with it."""
    world, _ = _begin_move()
    row = world.app(_APP)
    world.restart_worker()
    world.behaviour[_APP] = "beats"
    _run_uninterrupted(world, 5_000, [_APP], lambda: world.app(_APP).generation > row.generation)


# --- drain ---------------------------------------------------------------------------------------------


def test_drained_node_loses_its_apps_one_by_one_and_none_is_ever_down() -> None:
    """Each app is ready elsewhere before it stops; never two at once; then the node is there, empty and cordoned."""
    world = begin(6)
    node = world.app(_APP).node
    apps = [app for app, row in world.state.apps.items() if row.node == node]
    assert len(apps) > 1
    world.ask(DrainNode(node))
    moving = 0

    def emptied() -> bool:
        nonlocal moving
        standbys = [row for row in world.state.apps.values() if row.standby is not None]
        moving = max(moving, len(standbys))
        return all(world.app(app).node != node for app in apps)

    _run_uninterrupted(world, 20_000, sorted(world.state.apps), emptied)
    assert moving == 1
    world.run(10_000)
    assert world.agent(node).running() == []
    row = world.state.nodes[node]
    assert (row.status, row.cordoned) == ("active", True)
    assert not world.of_type(e.AppExited)
    world.check_replay()


def test_force_stops_the_apps_first() -> None:
    """With `force` every app of the node ends at once and comes back elsewhere; that is no failure of theirs."""
    world = begin(6)
    node = world.app(_APP).node
    world.ask(DrainNode(node, force=True))
    world.run(5_000, lambda: all(row.node != node for row in world.state.apps.values()) and world.all_run())
    assert not world.of_type(e.AppPrepared)
    assert {row.failures for row in world.state.apps.values()} == {0}
    assert {placed.reason for placed in world.of_type(e.AppPlaced)[6:]} == {"moved"}


def test_deadline_of_a_drain_is_kept() -> None:
    """Apps that could not be made ready elsewhere in time are stopped: the node is empty when it was promised."""
    world = begin(12, policy=Policy(drain_within_ms=30_000))
    node = world.app(_APP).node
    world.ask(DrainNode(node))
    world.run(29_000)
    assert all(_runs(world, app) for app in world.state.apps)
    world.run(4_000)
    assert world.state.nodes[node].forced
    assert world.agent(node).running() == []
    assert sum(row.phase == "ended" and row.pending_reason != "" for row in world.state.apps.values()) == 4
    world.check_replay()


def test_uncordon_ends_a_drain() -> None:
    """Whoever has not moved yet stays, and a second copy that is not needed any more is dropped."""
    world = begin(1)
    row = world.app(_APP)
    world.behaviour[_APP] = "hangs"
    world.ask(DrainNode(row.node))
    world.run(1_000, lambda: _standby_runs(world))
    world.ask(UncordonNode(row.node))
    world.behaviour[_APP] = "beats"
    world.run(500)
    assert world.of_type(e.AppStandbyDropped)[-1].reason == "not-needed"
    assert (world.app(_APP).node, world.app(_APP).generation) == (row.node, row.generation)
