"""What follows when a copy ends by itself: `restart` in a spec."""

from typing import Literal

import pytest

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.requests import DrainNode, MoveApp, RestartApp, RunApp, StopApp
from sdk.contract.specs import AppSpec
from tables.decide import decide
from tables.questions import used_slots
from tables.views import app_status, monitor
from tests.tables.world import World, begin

Restart = Literal["always", "on-failure", "never"]
APP = "application-job"


def _world(restart: Restart, *, nodes: int = 3, policy: Policy | None = None) -> World:
    """A world in which the job runs."""
    world = begin(nodes=nodes, policy=policy)
    world.ask(RunApp(AppSpec(APP, ["run"], restart=restart, start_within_ms=3_000)))
    world.run(10_000, world.all_run)
    return world


def _end(world: World, exit_code: int) -> None:
    """The copy in force ends by itself."""
    row = world.app(APP)
    world.agent(row.node).copies[APP, row.generation].end(exit_code)
    world.run(5_000, lambda: world.app(APP).generation > row.generation or world.app(APP).phase == "finished")


@pytest.mark.parametrize(
    ("restart", "exit_code", "phase"),
    [
        ("always", 0, "placed"),
        ("always", 3, "placed"),
        ("on-failure", 0, "finished"),
        ("on-failure", 3, "placed"),
        ("never", 0, "finished"),
        ("never", 3, "finished"),
    ],
)
def test_what_follows_from_an_exit(restart: Restart, exit_code: int, phase: str) -> None:
    """Finished with its code, no failure, and its room is free; or a failure and another copy."""
    world = _world(restart)
    node = world.app(APP).node
    _end(world, exit_code)
    row = world.app(APP)
    if phase == "finished":
        assert (row.phase, row.exit_code, row.failures, app_status(world.state, row)) == (
            "finished",
            exit_code,
            0,
            "finished",
        )
        monitored = monitor(world.state, APP)
        assert monitored is not None
        assert (monitored.status, monitored.failure_count) == (0, 0)
        assert used_slots(world.state, node) == 0
        assert decide(world.state, world.watcher) == []
    else:
        assert row.failures == 1
        world.run(10_000, world.all_run)
    world.check_replay()


def test_a_finished_app_runs_again_when_somebody_asks() -> None:
    """By a restart or by another submission; a stop makes it an app like any other that was stopped."""
    world = _world("on-failure")
    _end(world, 0)
    world.ask(RestartApp(APP))
    world.run(10_000, world.all_run)
    _end(world, 0)
    world.ask(RunApp(AppSpec(APP, ["run", "more"], restart="on-failure")))
    world.run(10_000, world.all_run)
    _end(world, 0)
    world.ask(StopApp(APP))
    assert app_status(world.state, world.app(APP)) == "stopped"


@pytest.mark.parametrize("restart", ["on-failure", "never"])
def test_the_death_of_its_node(restart: Restart) -> None:
    """It brings back what is run again on failure, and is the end of what runs once."""
    world = _world(restart)
    first = world.app(APP)
    world.agent(first.node).status = "exited"
    world.run(60_000, lambda: world.app(APP).phase in ("finished", "placed"))
    row = world.app(APP)
    if restart == "never":
        assert (row.phase, row.end_reason, row.exit_code, row.failures) == ("finished", "node-down", None, 0)
        world.run(60_000, lambda: world.ready(3))
        assert world.app(APP).generation == first.generation
    else:
        world.run(60_000, world.all_run)
        assert world.app(APP).generation > first.generation


def test_a_hang_is_a_failure_and_the_end_of_what_runs_once() -> None:
    """It is condemned, killed, and not placed again."""
    world = _world("never")
    world.behaviour[APP] = "hangs"
    world.run(30_000, lambda: world.app(APP).phase == "finished")
    row = world.app(APP)
    assert (row.end_reason, row.failures) == ("silent", 1)
    assert [each.replaces for each in world.of_type(e.AppPlaced)] == [0]


def test_a_condemned_copy_whose_agent_says_nothing_is_over_when_its_time_has_passed() -> None:
    """The bound of killing ends what runs once, as it brings back everything else."""
    world = _world("never")
    world.behaviour[APP] = "hangs"
    world.run(30_000, lambda: world.app(APP).phase == "condemned")
    world.keep_fact = lambda event: not isinstance(event, e.AppExited)
    world.run(10_000, lambda: world.app(APP).phase == "finished")
    assert [each.reason for each in world.of_type(e.AppFinished)] == ["silent"]


def test_a_copy_that_the_platform_ended_has_not_finished() -> None:
    """An exit with 0 on a node that is emptied by force is no end of the work; of what runs once it is the end."""
    for restart in ("on-failure", "never"):
        world = _world(restart, nodes=2)
        node = world.app(APP).node
        world.ask(DrainNode(node, force=True))
        if restart == "never":
            world.run(10_000, lambda: world.app(APP).phase == "finished")  # noqa: B023  # called at once
        else:
            world.run(10_000, lambda: world.app(APP).node != node and world.all_run())  # noqa: B023  # the same


def test_what_runs_once_is_not_moved() -> None:
    """No second copy of it is made ready, whoever asks; a drained node keeps it until it ends or its time is over."""
    world = _world("never", nodes=2, policy=Policy(drain_within_ms=20_000))
    answer = world.ask(MoveApp(APP))
    assert isinstance(answer, e.RequestRefused)
    assert answer.reason == f"{APP} runs once (restart = never): a second copy of it is never started"
    assert not world.append(e.AppMoveRequested("request-raced", APP))

    world.ask(DrainNode(world.app(APP).node))
    world.run(15_000)
    assert world.app(APP).phase == "running"
    world.run(20_000, lambda: world.app(APP).phase == "finished")
    assert world.of_type(e.AppPrepared) == []


def test_somebody_asks_for_another_run_while_the_copy_is_lost() -> None:
    """Then the death of the node is not the end of what runs once."""
    world = _world("never")
    world.agent(world.app(APP).node).status = "exited"
    world.ask(RestartApp(APP))
    world.run(60_000, lambda: not world.all_run())
    world.run(60_000, world.all_run)
    assert world.of_type(e.AppFinished) == []
