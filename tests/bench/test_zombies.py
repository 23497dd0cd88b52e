"""The table of zombies, the looks at processes, and who is called accepted twice, on lives and logs made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.auditing.recorded import Heard
from bench.results import Figure
from bench.returning.accepted import Acceptance
from bench.returning.cells import CELLS, FAULTS, ISOLATIONS, POLICIES, Cell, Stated, state_cell
from bench.returning.copies import Copy, Lives
from bench.returning.platform import Observed
from bench.returning.run import Outcome, Outcomes
from bench.zombies import measure
from sdk.contract import events as e
from sdk.contract.heartbeats import AppEntry, Report
from tables.rows import Standby
from tests.bench.audited import Run
from tests.simulation.log_rules import Finding

ZOMBIE = Cell("cut", "spread", "keep")
APP = "application-a"


@pytest.fixture(scope="module")
def run() -> Run:
    """A node that was paused, found, and replaced."""
    return Run()


def outcome(cell: Cell = ZOMBIE, *, together_ms: int = 30_000, touched: list[str] | None = None) -> Outcome:
    """A cell that came to what is stated, but for what is given."""
    stated = state_cell(cell, away_s=40)
    seen = Observed(cell, stated.old, stated.new, stated.node, together_ms, touched or [], 9_000, (APP, 7))
    return Outcome(stated, seen, refused=3)


def figure(outcomes: Outcomes, name: str) -> Figure:
    """One figure of a run."""
    return next(it for it in measure(outcomes).figures or [] if it.name == name)


# --- the table --------------------------------------------------------------------------------------


def test_table_states_every_cell_once() -> None:
    """Each fault under each policy with each isolation, with an id of its own."""
    assert len({str(cell) for cell in CELLS}) == len(CELLS)
    assert len(CELLS) == len(FAULTS) * len(POLICIES) * len(ISOLATIONS) == 20
    assert all(isinstance(state_cell(cell, away_s=18), Stated) for cell in CELLS)


@given(st.sampled_from(CELLS), st.floats(12, 600))
def test_bounds_of_two_copies_can_be_met(cell: Cell, away_s: float) -> None:
    """The least time is not over the most, and no fault that a provider may end allows two copies at all."""
    low, high = state_cell(cell, away_s=away_s).together_ms

    assert 0 <= low <= high
    assert high == 0 or cell.fault in ("stopped", "cut", "agent-killed")


def test_cut_zombie_must_run_beside_its_successor_unless_it_stops() -> None:
    """With `keep` the table wants a zombie that was really there; with `stop` it wants none."""
    assert state_cell(ZOMBIE, away_s=40).together_ms[0] > 20_000
    assert state_cell(ZOMBIE._replace(isolation="stop"), away_s=40).together_ms == (0, 0)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"old": "ran on"}, "the old copy's end is 'ran on'"),
        ({"new": "elsewhere"}, "the new copy's home is 'elsewhere'"),
        ({"node": "neither"}, "the node's end is 'neither'"),
        ({"together_ms": 45_000}, "two copies ran for 45000 ms"),
        ({"together_ms": 0}, "two copies ran for 0 ms"),
        ({"touched": ["application-b/9"]}, "neighbours were touched: application-b/9"),
    ],
)
def test_every_difference_from_the_table_is_said(changed: dict[str, Any], sentence: str) -> None:
    """Each part of a cell that is not as stated gives one sentence."""
    fine = outcome()
    strange = fine._replace(observed=fine.observed._replace(**changed))

    assert fine.differences() == []
    (said,) = strange.differences()
    assert said.startswith(sentence)


# --- looks at processes -----------------------------------------------------------------------------


def test_time_of_two_copies_is_between_looks_that_both_show_them() -> None:
    """Two generations in three looks: both ran from the first of them to the last."""
    lives = Lives()
    for at_ms, generations in ((100, [1]), (150, [1, 2]), (200, [1, 2]), (260, [1, 2]), (300, [2])):
        lives.look(at_ms, at_ms + 5, [Copy(APP, it) for it in generations])

    assert lives.together_ms[APP] == 1 + 110
    assert (lives.first_ms[APP, 2], lives.last_ms[APP, 1], lives.gone_ms[APP, 1]) == (150, 260, 305)


def test_stopped_copy_is_there_and_does_not_run() -> None:
    """A process that a signal has stopped runs beside nobody until it is continued."""
    lives = Lives()
    for at_ms, is_stopped in ((100, True), (200, True), (300, False), (400, False)):
        lives.look(at_ms, at_ms + 5, [Copy(APP, 1, is_stopped), Copy(APP, 2)])

    assert lives.together_ms[APP] == 1 + 100
    assert lives.gone_ms == {}


def test_two_processes_of_one_generation_are_one_copy() -> None:
    """An app may start children; they carry its generation."""
    lives = Lives()
    for at_ms in (100, 200):
        lives.look(at_ms, at_ms + 5, [Copy(APP, 1), Copy(APP, 1), Copy("application-b", 2)])

    assert lives.together_ms == {}


# --- the log ----------------------------------------------------------------------------------------


def test_log_of_a_replaced_node_keeps_the_rules(run: Run) -> None:
    """A paused node that was found, destroyed and replaced: nothing to say."""
    assert Acceptance(run.topics).judge() == []


def test_event_about_a_copy_that_is_not_in_force_must_not_count(run: Run) -> None:
    """A start, an end, a silence or a placing that rests on the old generation or registration is named."""
    acceptance = Acceptance(run.topics)
    acceptance.judge()
    app, at = run.apps[0], e.Position(0, 1)
    row = acceptance.state.apps[app]
    node = acceptance.state.nodes[row.node]
    old = row.generation - 1
    decided: dict[str, Any] = {"term": 1, "based_on": 1, "policy": -1}
    silence: dict[str, Any] = {"topic_id": "t", "partition": 0}

    for event in (
        e.AppStarted(app, old, row.node, at),
        e.AppExited(app, old, row.node, "exited", at),
        e.AppPlaced(
            **decided, app=app, node=row.node, registration=node.registration, replaces=old, reason="failure"
        ),
        e.SourceReturned(app, "app", old, offset=3, **silence),
        e.SourceReturned(row.node, "node", node.registration - 1, offset=3, **silence),
        e.NodeDeclaredDown(
            **decided, node=row.node, registration=node.registration - 1, reason="silent", destroy=False
        ),
    ):
        found = acceptance.judge_before(event)
        assert found is not None, event
        assert found.rule == "one copy is accepted"
    assert acceptance.judge_before(e.AppStarted(app, row.generation, row.node, at)) is None


def test_app_that_two_nodes_are_ordered_to_run_is_found(run: Run) -> None:
    """Orders that follow from the fold and name one app twice, whatever led there."""
    acceptance = Acceptance(run.topics)
    acceptance.judge()
    row = acceptance.state.apps[run.apps[0]]
    other = next(
        it for it in acceptance.state.nodes.values() if it.status == "active" and it.node != row.node
    )
    standby = Standby(row.generation + 1, other.node, other.lineage, row.spec)
    acceptance.state.put("apps", row.app, replace(row, standby=standby))
    last = acceptance.state.offset

    run_on = run.world.log[0].event
    run.append(run_on)
    acceptance.judge_record(run.topics.events[-1].said, run.topics.events[-1].meta)

    assert acceptance.state.offset == last + 1
    assert [it.rule for it in acceptance.findings] == ["one copy is accepted"]


def test_reports_of_old_copies_after_the_new_were_placed_are_counted(run: Run) -> None:
    """What a zombie says of its copies is on the topic, and is counted by copy."""
    acceptance = Acceptance(run.topics)
    acceptance.judge()
    app = run.apps[0]
    old = next(
        seen.offset
        for seen in run.world.log
        if isinstance(seen.event, e.AppPlaced) and seen.event.app == app and not seen.event.replaces
    )
    entry = AppEntry(app, old, "running", 0)
    partition = run.topics.heartbeats[0]
    said = Report(run.victim, 1, 5, 1, 0, [entry])

    before = acceptance.count_refused()
    partition.append(Heard(len(partition), run.world.now_ms, said))

    assert acceptance.count_refused() - before == {(app, old): 1}


# --- the figures ------------------------------------------------------------------------------------


def test_figures_have_the_time_of_each_cell_and_count_what_is_wrong() -> None:
    """A figure a cell, which reaches what is stated; and sums over all."""
    strange = outcome(Cell("killed", "spread", "stop"), together_ms=20, touched=["application-b/9"])
    cells = {ZOMBIE: outcome(), strange.observed.cell: strange}
    outcomes = Outcomes(
        cells, {"spread": [Finding("one copy is accepted", "twice")], "new-node": []}, 99, "a saw"
    )

    assert figure(outcomes, "two_copies_cut_spread_keep_ms").value == 30_000
    assert figure(outcomes, "two_copies_cut_spread_keep_ms").is_reached
    assert not figure(outcomes, "two_copies_killed_spread_stop_ms").is_reached
    assert figure(outcomes, "accepted_twice_count").value == 1
    assert figure(outcomes, "neighbours_touched_count").value == 1
    assert figure(outcomes, "cells_not_as_stated_count").value == 1
