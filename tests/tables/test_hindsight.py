"""Why an app went where it went, derived again from the log."""

import pytest
from msgspec.structs import replace

from sdk.contract import events as e
from sdk.contract.requests import CordonNode, RunApp
from sdk.contract.specs import AppSpec
from tables.hindsight import Placement, differences, judge_nodes
from tables.state import State
from tests.tables.chaos import planned_log
from tests.tables.entries import Entry, fold_all
from tests.tables.world import begin


def _explained(log: list[Entry], entry: Entry) -> list[str]:
    """What differs between a placement and what the log gives for it."""
    placed = entry.event
    assert isinstance(placed, Placement)
    state = fold_all(log[: placed.based_on + 1])
    before = [
        other.event
        for other in log[placed.based_on + 1 : entry.offset]
        if isinstance(other.event, e.Decision)
    ]
    judged = judge_nodes(state, [d for d in before if d.based_on == placed.based_on], placed)
    return differences(judged, placed)


@pytest.mark.parametrize("seed", range(6))
def test_scores_of_every_placement_come_out_again(seed: int) -> None:
    """For each placement of a log of any kind, what the event says of the best nodes is what the log gives."""
    log: list[Entry] = []
    for _, _, log in planned_log(seed, 400):  # noqa: B007  # the list grows as the log does
        pass
    placements = [entry for entry in log if isinstance(entry.event, Placement)]
    ranked = [entry for entry in placements if isinstance(entry.event, Placement) and entry.event.ranking]
    assert ranked
    for entry in placements:
        assert _explained(log, entry) == []


def test_placement_that_says_something_else_is_found() -> None:
    """A score that the log does not give is named with both."""
    state, log = _placed_once()
    placed = log[-1].event
    assert isinstance(placed, e.AppPlaced)
    wrong = replace(placed, ranking=[replace(placed.ranking[0], cost=placed.ranking[0].cost + 1)])
    (sentence,) = differences(judge_nodes(state, [], wrong), wrong)
    assert sentence.startswith(f"{placed.node}: recorded ")
    gone = replace(placed, ranking=[replace(placed.ranking[0], node="node-x")])
    assert differences(judge_nodes(state, [], gone), gone) == ["node-x could not have taken it"]


def test_every_node_is_judged_and_words_say_why_it_fell_out() -> None:
    """Nodes that could not take the app stand last, with the words under which they were counted."""
    state, log = _placed_once()
    placed = log[-1].event
    assert isinstance(placed, e.AppPlaced)
    judged = judge_nodes(state, [], placed)
    assert judged[0].node == placed.node
    assert [each.fell_out for each in judged if each.score is None] == [["cordoned"]]
    assert placed.fell_out == {"cordoned": 1}


def _placed_once() -> tuple[State, list[Entry]]:
    """A state with three nodes, one of them cordoned, and the log that ends with the placement decided from it."""
    world = begin()
    world.ask(CordonNode(min(world.state.nodes)))
    world.ask(RunApp(AppSpec("application-a", ["run"])))
    world.run(5_000, lambda: bool(world.of_type(e.AppPlaced)))
    log = [entry for entry in world.log if not isinstance(entry.event, e.AppStarted)]
    placed = log[-1].event
    assert isinstance(placed, e.AppPlaced)
    return fold_all(world.log[: placed.based_on + 1]), log
