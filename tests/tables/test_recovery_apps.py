"""What happens when apps exit, hang, loop or are asked to stop: the whole core in a world with virtual time."""

import pytest

from sdk.contract import events as e
from sdk.contract.requests import RestartApp, RunApp, StopApp
from sdk.contract.specs import AppSpec
from tests.tables.world import World, begin

APP = "application-0"


def _end_copy(world: World, app: str) -> None:
    row = world.app(app)
    world.agent(row.node).copies[app, row.generation].end(-9)


def _gaps(world: World, app: str) -> list[int]:
    ends = [entry.append_ms for entry in world.log if isinstance(entry.event, e.AppExited)]
    placed = [
        entry.append_ms
        for entry in world.log
        if isinstance(entry.event, e.AppPlaced) and entry.event.app == app and entry.event.replaces
    ]
    return [at - end for end, at in zip(ends, placed, strict=False)]


def test_exited_app_comes_back_at_once_elsewhere() -> None:
    """An app whose process ends is placed on another node at once, with one failure to its name."""
    world = begin(4)
    before = world.app(APP)
    _end_copy(world, APP)
    world.run(1_000, world.all_run)
    after = world.app(APP)
    assert after.generation > before.generation
    assert after.node != before.node
    assert (after.failures, after.failed_on) == (1, [before.node])


def test_app_comes_back_on_its_node_if_its_spec_says_so() -> None:
    """An app that wants to stay comes back on the node where it failed."""
    world = begin()
    world.ask(RunApp(AppSpec(APP, ["run"], on_failure="same-node")))
    world.run(2_000, world.all_run)
    node = world.app(APP).node
    _end_copy(world, APP)
    world.run(1_000, world.all_run)
    assert world.app(APP).node == node


def test_hanging_app_is_condemned_and_placed_on_its_exit() -> None:
    """An app that stops beating is found at 10 s, killed without grace and placed when it has exited."""
    world = begin(4)
    world.run(5_000)
    hung_ms = world.now_ms
    world.behaviour[APP] = "hangs"
    world.run(11_000, lambda: bool(world.of_type(e.AppDeclaredDown)))
    assert world.now_ms - hung_ms <= 10_400
    world.behaviour[APP] = "beats"
    world.run(1_000, world.all_run)
    assert (world.app(APP).failures, world.app(APP).generation > 0) == (1, True)
    assert [event.app for event in world.of_type(e.AppExited)] == [APP]


def test_hanging_app_that_cannot_be_killed_is_placed_after_two_seconds() -> None:
    """Recovery of a condemned app waits for its exit at most 2 s."""
    world = begin(4)
    world.behaviour[APP] = "hangs"
    world.run(12_000, lambda: bool(world.of_type(e.AppDeclaredDown)))
    condemned_ms, generation, node = world.now_ms, world.app(APP).generation, world.app(APP).node
    world.agent(node).paused = True
    world.behaviour[APP] = "beats"
    world.run(3_000, lambda: world.app(APP).generation > generation)
    assert 2_000 <= world.now_ms - condemned_ms <= 2_200
    assert world.app(APP).node != node


def test_app_that_never_beats_is_condemned_after_its_time_to_start() -> None:
    """An app that never beats counts as failed after `start_within`, and is tried elsewhere."""
    world = begin()
    world.behaviour[APP] = "never"
    world.run_apps(1, start_within_ms=5_000)
    started_ms = world.now_ms
    world.run(8_000, lambda: bool(world.of_type(e.AppDeclaredDown)))
    assert 5_000 <= world.now_ms - started_ms <= 5_500
    world.behaviour[APP] = "beats"
    world.run(1_000, world.all_run)
    assert world.app(APP).failures == 1
    assert world.of_type(e.AppDeclaredDown)[0].reason == "never-beat"


def test_crash_loop_backs_off_and_is_given_up() -> None:
    """First restart at once, then after 1, 2 and 4 s with at most 10 % of jitter; the fifth failure gives up."""
    world = begin()
    world.behaviour[APP] = "exits"
    world.run_apps(1)
    world.run(60_000, lambda: bool(world.of_type(e.AppGaveUp)))
    gaps = _gaps(world, APP)
    assert gaps[0] == 0
    for gap, expected in zip(gaps[1:], (1_000, 2_000, 4_000), strict=True):
        assert 0.9 * expected <= gap <= 1.1 * expected + 100
    world.run(60_000)
    assert len(world.of_type(e.AppPlaced)) == 5
    assert world.app(APP).failures == 5


def test_restart_request_ends_a_give_up() -> None:
    """An app that was given up runs again when somebody restarts it, with a clean slate."""
    world = begin()
    world.behaviour[APP] = "exits"
    world.run_apps(1)
    world.run(60_000, lambda: bool(world.of_type(e.AppGaveUp)))
    world.behaviour[APP] = "beats"
    world.ask(RestartApp(APP))
    world.run(2_000, world.all_run)
    assert (world.app(APP).strikes, world.app(APP).recent_failures) == (0, [])


def test_good_run_wipes_the_slate() -> None:
    """After ten minutes of good run a failure is the first again, and the restart is at once."""
    world = begin(1)
    for _ in range(2):
        _end_copy(world, APP)
        world.run(3_000, world.all_run)
    assert world.app(APP).strikes == 2
    world.run(600_000)
    _end_copy(world, APP)
    world.run(400, world.all_run)
    assert (world.app(APP).strikes, world.app(APP).failures) == (1, 3)


def test_restart_request_replaces_the_copy() -> None:
    """A restart stops the copy politely and starts another; it is no failure."""
    world = begin(2)
    generation = world.app(APP).generation
    world.ask(RestartApp(APP))
    world.run(2_000, lambda: world.app(APP).generation > generation and world.all_run())
    assert world.app(APP).failures == 0
    assert world.of_type(e.AppPlaced)[-1].reason == "restart"


def test_stopped_app_stays_stopped_until_it_is_run_again() -> None:
    """An app that is stopped ends, is not brought back, and runs again when it is submitted again."""
    world = begin(2)
    world.ask(StopApp(APP))
    world.run(2_000, lambda: world.app(APP).phase == "stopped")
    world.run(20_000)
    assert world.app(APP).phase == "stopped"
    world.ask(RunApp(AppSpec(APP, ["run"])))
    world.run(2_000, world.all_run)
    assert world.app(APP).failures == 0


@pytest.mark.parametrize("change", [StopApp(APP), RestartApp(APP)])
def test_app_of_a_dead_node_obeys_requests(change: StopApp | RestartApp) -> None:
    """A stop or restart that meets an app whose node just died is carried out."""
    world = begin(3)
    world.agent(world.app(APP).node).status = "exited"
    world.run(400, lambda: bool(world.of_type(e.NodeDeclaredDown)))
    world.ask(change)
    world.run(5_000, world.all_run)
    assert world.app(APP).phase == ("stopped" if isinstance(change, StopApp) else "running")


def test_no_room_leaves_apps_pending_oldest_first() -> None:
    """Apps without room wait with a reason, and the oldest is placed first when room comes."""
    world = begin(nodes=1, slots=2)
    world.run_apps(4)
    world.run(2_000)
    waiting = [app for app, row in world.state.apps.items() if row.phase == "pending"]
    assert {world.app(app).pending_reason for app in waiting} == {"no active node has 1 slot free"}
    world.ask(StopApp("application-0"))
    world.run(3_000)
    assert world.app(waiting[0]).phase == "running"
    assert world.app(waiting[1]).phase == "pending"


def test_lost_app_is_found_and_comes_back() -> None:
    """An app that its node does not know although its orders name it is lost, and comes back."""
    world = begin(3)
    row = world.app(APP)
    agent = world.agent(row.node)
    agent.copies[APP, row.generation].end(0)
    del agent.copies[APP, row.generation]
    agent.copies_forgotten = {(APP, row.generation)}
    world.run(5_000, lambda: world.app(APP).generation > row.generation and world.all_run())
    assert world.of_type(e.AppExited)[0].reason == "lost"


def test_node_silence_is_not_charged_to_its_apps() -> None:
    """Apps that moved because their node died have no failure and no strike."""
    world = begin(4)
    world.agent(world.app(APP).node).paused = True
    world.run(20_000, lambda: world.ready(3) and world.all_run() and bool(world.of_type(e.NodeDeclaredDown)))
    assert all((row.failures, row.strikes) == (0, 0) for row in world.state.apps.values())
