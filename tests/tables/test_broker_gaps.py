"""Gaps of the broker in the whole core: nobody alive is touched, and the dead are still found."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from tests.tables.world import World, begin


def _away(world: World, for_ms: int) -> None:
    world.broker_away = True
    world.run(for_ms)
    world.broker_away = False


def _kill(world: World) -> str:
    node = world.active()[0].node
    world.agent(node).paused = True
    return node


@pytest.mark.parametrize("gap_ms", [2_000, 9_000, 20_000, 120_000])
def test_gap_touches_nobody_alive(gap_ms: int) -> None:
    """A broker that is away for any time costs no node and no app."""
    world = begin(8)
    written = len(world.facts_written)
    _away(world, gap_ms)
    world.run(40_000)
    assert len(world.facts_written) == written
    assert world.all_run()


@pytest.mark.parametrize("gap_ms", [2_000, 9_000, 20_000])
def test_node_that_dies_around_a_gap_is_found_within_its_length_and_ten_seconds(gap_ms: int) -> None:
    """A node that dies as the broker goes is found at most the gap and 10 s later than without one."""
    world = begin(8)
    world.run(5_000)
    node = _kill(world)
    died_ms = world.now_ms
    _away(world, gap_ms)
    world.run(40_000, lambda: world.state.nodes[node].silent)
    assert world.now_ms - died_ms <= 10_400 + gap_ms + 10_000
    world.run(5_000, world.all_run)


@settings(max_examples=5)
@given(
    phases=st.lists(
        st.tuples(st.integers(20, 130).map(lambda n: n * 50), st.integers(200, 400).map(lambda n: n * 50)),
        min_size=2,
        max_size=6,
    )
)
def test_flapping_broker_touches_nobody_alive_and_hides_no_death(phases: list[tuple[int, int]]) -> None:
    """However a broker flaps with up-times of 10 s or more, only the dead node is found."""
    world = begin(6)
    node = _kill(world)
    for gap_ms, up_ms in phases:
        _away(world, gap_ms)
        world.run(up_ms)
    world.run(20_000)
    assert {event.node for event in world.of_type(e.NodeDeclaredDown)} == {node}
    assert {event.source for event in world.of_type(e.SourceFellSilent)} == {node}
    assert world.all_run()
    world.check_replay()
