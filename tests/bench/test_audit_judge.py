"""Each rule of the audit's judges finds a log, a topic or a journal that was tampered with."""

from __future__ import annotations

import pytest

from bench.auditing.journal import Death, Life, Trouble
from bench.auditing.judge import judge_kept
from bench.auditing.recorded import Heard
from sdk.contract import events as e
from sdk.contract.heartbeats import Report, Tick
from tests.bench.audited import Run, sent


@pytest.fixture
def run() -> Run:
    """A run of which nothing can be said."""
    return Run()


def test_true_run_breaks_no_rule(run: Run) -> None:
    """A paused node that was found, destroyed and replaced is all as it must be."""
    assert run.rules == []


def test_silence_that_the_heartbeats_do_not_show_is_found(run: Run) -> None:
    """A silence claimed to begin before the node's last beat is not justified."""
    at = run.at(e.SourceFellSilent)
    event = run.world.log[at].event
    assert isinstance(event, e.SourceFellSilent)
    run.change(at, until_offset=event.until_offset - 20)

    assert "silence is justified" in run.rules


def test_silence_of_who_was_left_in_peace_is_found(run: Run) -> None:
    """The same silence without a trouble in the journal accuses somebody who was not touched."""
    run.truth.troubles.clear()

    assert "no silence of who speaks" in run.rules


def test_stall_of_the_machine_excuses(run: Run) -> None:
    """Who is accused right after the machine stood still is no violation."""
    at_ms = run.topics.events[run.at(e.SourceFellSilent)].meta.append_ms
    run.truth.troubles[:] = [Trouble("stall", ["machine"], at_ms - 3_000, at_ms - 1_000)]

    assert run.rules == []


def test_silence_that_nobody_found_is_found(run: Run) -> None:
    """A node that says nothing for longer than anybody may need, and of which the log says nothing."""
    silent = run.at(e.SourceFellSilent)
    at_ms = run.world.now_ms
    run.topics.events[silent:] = []
    for records in run.topics.heartbeats:
        records += [Heard(len(records) + n, at_ms + n * 500, Tick("w", n)) for n in range(120)]

    assert "silence is found" in run.rules


def test_decision_of_another_term_is_found(run: Run) -> None:
    """The fold drops it, so the orders that stand are not those that the log asks for."""
    run.change(run.at(e.NodeDeclaredDown), term=1)

    assert "no stale orders" in run.rules


def test_request_without_an_answer_is_found(run: Run) -> None:
    """An acknowledged request that the log never answers, and one that its topic has lost."""
    run.truth.sent.append(sent("request-lost"))
    run.topics.requests.append("request-open")
    run.truth.sent.append(sent("request-open"))

    assert run.rules == ["acknowledged requests are kept", "acknowledged requests are answered"]


def test_stale_orders_are_found(run: Run) -> None:
    """Orders that name a node's old apps still stand."""
    node = next(node for node, row in run.world.state.nodes.items() if row.status == "active")
    run.topics.orders[node] = run.topics.orders[run.victim]

    assert "no stale orders" in run.rules


def test_garbage_without_a_letter_is_found(run: Run) -> None:
    """A record that nobody can use and nobody wrote about."""
    run.topics.garbage.append(("requests", 0, 7))

    assert run.rules == ["garbage has a dead letter"]


def test_record_that_is_another_now_is_found(run: Run) -> None:
    """What was read once and is gone, or different, later."""
    seen = [(0, run.topics.events[0].raw), (1, b"another"), (10_000, b"cut off")]

    assert [found.rule for found in judge_kept(seen, run.topics.events)] == ["what was read stays"] * 2


def test_end_of_a_living_process_is_found(run: Run) -> None:
    """A copy that is told to have ended while its process runs on."""
    app = next(app for app in run.world.state.apps if app not in run.apps)
    row = run.world.state.apps[app]
    last = run.topics.events[-1].meta
    run.append(e.AppExited(app, row.generation, row.node, "exited", e.Position(0, 1), 1))
    run.truth.lives.append(Life(app, row.generation, 77, last.append_ms, last.append_ms + 10_000))

    assert "no end of what lives" in run.rules


def test_unsettled_end_is_found(run: Run) -> None:
    """A log that ends with an app to be placed is not at rest."""
    app = next(app for app in run.world.state.apps if app not in run.apps)
    row = run.world.state.apps[app]
    run.append(e.AppExited(app, row.generation, row.node, "exited", e.Position(0, 1), 1))

    assert {"no end of what nobody touched", "decisions settle"} <= set(run.rules)


def test_copy_started_twice_and_copy_that_outlives_its_successor_are_found(run: Run) -> None:
    """Two processes of one generation, and an old one long after the new one was placed."""
    app = run.apps[0]
    old = next(
        entry
        for entry in run.world.log
        if isinstance(entry.event, e.AppPlaced) and entry.event.app == app and not entry.event.replaces
    )
    run.truth.troubles[0].end_ms = run.struck_ms + 1
    run.truth.troubles.append(Trouble("pause node", [run.victim], run.struck_ms, run.struck_ms + 12_000))
    end_ms = run.struck_ms + 200_000
    run.truth.lives += [Life(app, old.offset, 7, 0, end_ms), Life(app, old.offset, 8, 0, end_ms)]

    rules = run.rules

    assert "a copy is started once" in rules
    assert "no superseded copy" in rules


def test_worker_that_ended_by_itself_is_found(run: Run) -> None:
    """A worker that nobody touched must not end."""
    run.truth.deaths.append(Death("worker-1", run.struck_ms - 60_000, 70))

    assert run.rules == ["workers live"]


def test_node_declared_down_after_it_was_back_is_found(run: Run) -> None:
    """A report well before the decision takes the ground from it."""
    down = run.topics.events[run.at(e.NodeDeclaredDown)].meta
    row = run.world.state.nodes[run.victim]
    records = run.topics.heartbeats[row.partition]
    at = max(n for n, it in enumerate(records) if it.timestamp <= down.append_ms - 6_000)
    report = Report(run.victim, row.registration, 0, 1, 0, [])
    records[at] = records[at]._replace(value=report)

    # The silence itself is refuted too; both are told.
    assert {"silence is justified", "no act on a silence that is over"} & set(run.rules)
