"""Measured load: from a report, through the watcher, into a placement that cites it."""

import pytest

from sdk.contract import events as e
from sdk.contract.heartbeats import Report, Unchanged
from sdk.contract.requests import RunApp
from sdk.contract.specs import AppSpec
from tables.watcher import load_of
from tests.tables.world import World, begin

_AT = e.Position(3, 4)


def _load(world: World, **loads: float) -> None:
    """Let nodes, named by their place, report this load from now on."""
    agents = list(world.pool.agents.values())
    for name, load in loads.items():
        agents[int(name.removeprefix("node"))].load = load
    world.run(3_000)


def test_app_when_it_fails_comes_back_on_a_different_node_chosen_by_load() -> None:
    """Of the two nodes that are left, the one whose machine is less busy gets the app, and the event says why."""
    world = begin()
    busy = [agent.node for agent in world.pool.agents.values()]
    _load(world, node0=0.1, node1=0.9, node2=0.3)
    world.ask(RunApp(AppSpec("application-a", ["run"])))
    world.run(5_000, world.all_run)
    assert world.app("application-a").node == busy[0]
    generation = world.app("application-a").generation

    world.agent(busy[0]).copies["application-a", generation].end(1)
    world.run(5_000, lambda: world.app("application-a").generation > generation and world.all_run())

    assert world.app("application-a").node == busy[2]
    placed = world.of_type(e.AppPlaced)[-1]
    assert placed.reason == "failure"
    assert [(score.node, score.failed, score.cpu_permille) for score in placed.ranking] == [
        (busy[2], 0, 300),
        (busy[1], 0, 900),
        (busy[0], 1, 100),
    ]


def test_placement_cites_the_report_that_its_load_is_from() -> None:
    """Partition and offset in each score are those of a report of that node with that load."""
    world = begin()
    _load(world, node0=0.5, node1=0.4, node2=0.6)
    world.run_apps(4)
    world.run(5_000, world.all_run)
    for placed in world.of_type(e.AppPlaced):
        for score in placed.ranking:
            assert score.measured is not None
            report = world.heartbeats[score.measured.partition][score.measured.offset].record
            assert isinstance(report, Report | Unchanged)
            assert (report.reporter, round(report.load * 1_000)) == (score.node, score.cpu_permille)


@pytest.mark.parametrize(
    ("load", "memory", "used", "permille"),
    [
        (0.25, 1_000, 500, (250, 500)),
        (0.0, 1_000, 300, (0, 300)),
        (7.0, 0, 5, (7_000, 0)),
        (-1.0, 1_000, 2_000, (0, 1_000)),
        (1e300, -5, 1, (100_000, 0)),
    ],
)
def test_load_is_read_in_thousandths(load: float, memory: int, used: int, permille: tuple[int, int]) -> None:
    """Whatever a report says becomes whole numbers within bounds."""
    report = Report("node-a_1", 1, 1, 1, 1, [], load, memory, used)
    found = load_of(report, _AT)
    assert found is not None
    assert (found.cpu_permille, found.memory_permille) == permille


def test_report_without_load_says_nothing() -> None:
    """A report of before there was a load, or of a machine that shows none, is no load of zero."""
    assert load_of(Report("node-a_1", 1, 1, 1, 1, []), _AT) is None


def test_nodes_are_hot_from_ninety_percent_on_and_packed_last() -> None:
    """With `binpack`, the fullest node with a busy machine comes after an emptier one."""
    from sdk.contract.policy import Policy

    world = begin(2, policy=Policy(strategy="binpack"))
    full = world.app("application-0").node
    world.agent(full).memory_mib = (1_000, 950)
    world.run(3_000)
    world.ask(RunApp(AppSpec("application-late", ["run"])))
    world.run(5_000, world.all_run)
    assert world.app("application-late").node != full
