"""The brake: when so many nodes are overdue that we are the ones who may be ill."""

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.requests import ConfirmNodeDown, ReleaseBrake
from tests.tables.world import World, begin


def _pause(world: World, count: int) -> list[str]:
    nodes = sorted(row.node for row in world.active())[:count]
    for node in nodes:
        world.agent(node).paused = True
    return nodes


def _downs(world: World) -> list[e.NodeDeclaredDown]:
    return world.of_type(e.NodeDeclaredDown)


def test_three_of_four_silent_are_held_and_none_is_replaced() -> None:
    """With three of four nodes overdue for 25 s nothing is declared down, and the brake ends when they are back."""
    world = begin(8, nodes=4)
    world.run(10_000)
    nodes = _pause(world, 3)
    world.run(25_000)
    assert world.state.brake.engaged >= 0
    assert (world.state.brake.overdue, world.state.brake.nodes) == (3, 4)
    assert all(world.state.nodes[node].silent for node in nodes)

    for node in nodes:
        world.agent(node).paused = False
    world.run(15_000, lambda: world.state.brake.engaged < 0)

    assert world.of_type(e.BrakeReleased)[-1].reason == "calm"
    world.run(10_000)
    assert _downs(world) == []
    assert world.ready(4)
    assert world.all_run()
    world.check_replay()


def test_after_the_hold_one_node_is_replaced_per_step() -> None:
    """When the share stays over the bound for the hold, one node is declared down at a time, a step apart."""
    world = begin(8, nodes=8)
    _pause(world, 5)
    world.run(60_000)
    assert _downs(world) == []
    world.run(40_000)
    times = world.times_of(e.NodeDeclaredDown)
    engaged_ms = world.times_of(e.BrakeEngaged)[0]
    assert times
    assert times[0] - engaged_ms >= 60_000
    while_engaged = [at for at in times if world.state.brake.engaged >= 0 or at < times[0] + 10_000]
    assert len(while_engaged) <= 1 + (world.since_begin_ms() - times[0]) // 10_000
    world.run(60_000, lambda: world.ready(8) and world.state.brake.engaged < 0)


def test_all_overdue_are_never_replaced() -> None:
    """When every node is overdue none is replaced, however long it lasts."""
    world = begin(6)
    nodes = _pause(world, 3)
    world.run(200_000)
    assert _downs(world) == []
    assert world.state.brake.band == "all"
    for node in nodes:
        world.agent(node).paused = False
    world.run(20_000, lambda: world.state.brake.engaged < 0 and world.ready(3))
    assert _downs(world) == []


def test_two_nodes_have_no_brake() -> None:
    """With fewer than three nodes the brake stays off, and both are replaced."""
    world = begin(4, nodes=2)
    nodes = _pause(world, 2)
    world.run(25_000, lambda: len(_downs(world)) == 2)
    assert {event.node for event in _downs(world)} == set(nodes)
    assert world.of_type(e.BrakeEngaged) == []


def test_one_of_three_is_not_held() -> None:
    """A share within the bound is no reason to brake."""
    world = begin(6)
    _pause(world, 1)
    world.run(15_000, lambda: len(_downs(world)) == 1)
    assert world.of_type(e.BrakeEngaged) == []


def test_deaths_that_the_provider_confirms_are_neither_counted_nor_held() -> None:
    """When processes of three of four nodes end, all are replaced at once and the brake stays off."""
    world = begin(8, nodes=4)
    for row in world.active()[:3]:
        world.agent(row.node).status = "exited"
    world.run(3_000, lambda: world.ready(4) and world.all_run())
    assert [event.reason for event in _downs(world)] == ["exited"] * 3
    assert world.of_type(e.BrakeEngaged) == []


def test_confirmed_death_is_not_held() -> None:
    """A person who confirms that a silent node is dead is obeyed under the brake, for that node alone."""
    world = begin(8, nodes=4)
    nodes = _pause(world, 3)
    world.run(15_000)
    world.ask(ConfirmNodeDown(nodes[0]))
    world.run(5_000)
    assert [(event.node, event.reason) for event in _downs(world)] == [(nodes[0], "confirmed")]


def test_released_brake_lets_recovery_go_on() -> None:
    """A person who releases the brake lets all silent nodes be replaced."""
    world = begin(8, nodes=4)
    nodes = _pause(world, 3)
    world.run(15_000)
    assert _downs(world) == []
    world.ask(ReleaseBrake())
    world.run(10_000, lambda: world.ready(4) and world.all_run())
    assert {event.node for event in _downs(world)} == set(nodes)


def test_brake_survives_a_change_of_leader() -> None:
    """A new leader goes on holding: the hold is in the state, not in a process."""
    world = begin(8, nodes=4)
    _pause(world, 3)
    world.run(15_000)
    world.restart_worker()
    world.run(40_000)
    assert _downs(world) == []
    assert world.state.brake.engaged >= 0


def test_brake_engages_before_the_first_verdict() -> None:
    """The share is known at half the limit, so the brake is on before the first node is found silent."""
    world = begin(8, nodes=4, policy=Policy())
    world.run(10_000)
    _pause(world, 3)
    world.run(20_000)
    assert world.times_of(e.BrakeEngaged)[0] < world.times_of(e.SourceFellSilent)[0]
