"""Why an app went where it went, derived again from the log."""

import pytest

from sdk.contract import events as e
from tables.hindsight import Placement, differences, judge_nodes
from tests.tables.chaos import planned_log
from tests.tables.entries import Entry, fold_all


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
    for _, _, log in planned_log(seed, 250):  # noqa: B007  # the list grows as the log does
        pass
    placements = [entry for entry in log if isinstance(entry.event, Placement)]
    ranked = [entry for entry in placements if isinstance(entry.event, Placement) and entry.event.ranking]
    assert ranked
    for entry in placements:
        assert _explained(log, entry) == []
