"""Durations, tables and rows for people."""

from __future__ import annotations

import click
import pytest

from streams.render import app_views, duration, node_views, nodes_table, table
from streams.render_events import event_words, short_type
from tests.streams.logs import Log, said


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (-5, "0 s"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (12_500, "12.5 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (3_600_000, "1 h"),
        (18_120_000, "5 h 2 min"),
        (277_200_000, "3 d 5 h"),
    ],
)
def test_duration_is_what_a_person_says(ms: int, words: str) -> None:
    """Two units at most, the smaller one left out when it is nothing."""
    assert duration(ms) == words


def test_table_cuts_the_last_column_at_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns line up whatever their colour, and no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", "60")
    text = table(["a", "b"], [["x", "y" * 100], [click.style("longer", fg="red"), "z"]])
    lines = [click.unstyle(line) for line in text.splitlines()]

    assert lines[0] == "A       B"
    assert max(len(line) for line in lines) == 60
    assert lines[2] == "longer  z"


def test_nodes_show_apps_and_those_being_created() -> None:
    """A node lists its apps and how full it is; an open order is a node that is provisioning."""
    from sdk.contract.events import NodeOrdered

    log = Log()
    log.start(nodes=1, slots=1)
    log.add_app("application-a", "node-127.0.0.1_8082", running=False)
    log.want_node()
    log.add(NodeOrdered(term=log.term, based_on=0, policy=-1, pool="pool-local", slots=1, port_floor=8083))

    views = node_views(log.state, gone=False)

    assert [view["status"] for view in views] == ["active", "provisioning"]
    assert views[0]["occupancy"] == "occupied"
    assert views[0]["apps"] == [{"app": "application-a", "status": "starting"}]
    assert "a(starting)" in nodes_table(views, log.now_ms)


def test_apps_without_stopped_ones() -> None:
    """Stopped apps are only listed on request."""
    from sdk.contract.events import AppStopRequested, AppSubmitted
    from sdk.contract.specs import AppSpec

    log = Log()
    log.start()
    log.add(AppSubmitted("r1", AppSpec("application-a", ["true"])))
    log.add(AppStopRequested("r2", "application-a"))

    assert app_views(log.state, stopped=False) == []
    assert app_views(log.state, stopped=True)[0]["status"] == "stopped"


def test_event_in_one_line_leaves_out_the_background() -> None:
    """A line says what happened; terms, positions and offsets are for `events show`."""
    log = Log()
    log.start()
    generation = log.add_app("application-a", "node-127.0.0.1_8082")
    recorded = said(log.entries[generation])

    assert short_type(recorded.type) == "app.placed"
    assert event_words(recorded.event).startswith("app=application-a node=node-127.0.0.1_8082")
    assert "term" not in event_words(recorded.event)
