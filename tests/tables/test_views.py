"""The published view: rows that changed are all that must be written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import ValidationError

from sdk.contract.requests import ShutdownNode, StopApp
from tables.state import State
from tables.views import (
    ViewKey,
    all_views,
    app_status,
    content_of,
    decode_progress,
    decode_view,
    encode_progress,
    monitor,
    node_status,
    render,
    split_key,
    view_keys,
)
from tests.tables.chaos import wild_log
from tests.tables.entries import fold_entry, rows_of
from tests.tables.world import begin


@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 32))
def test_changed_rows_keep_the_view_complete(seed: int) -> None:
    """Writing the view rows behind changed rows only gives every row as if all were written anew."""
    views: dict[ViewKey, bytes] = {}
    changed: set[tuple[str, str]] | None = None
    for state, entry in wild_log(seed, 120):
        changed = state.listen() if changed is None else changed
        fold_entry(state, entry)
        for table, key in changed:
            for view in view_keys(state, table, key):
                value = render(state, view)
                if value is None:
                    views.pop(view, None)
                else:
                    views[view] = content_of(value)[1]
        changed.clear()
        assert views == {view: content_of(value)[1] for view, value in all_views(state).items()}


@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 32))
def test_state_can_be_read_back_from_the_view(seed: int) -> None:
    """A reader of the state topics gets the fold's rows back, counters apart."""
    *_, (state, _) = wild_log(seed, 120)
    loaded = State()
    rows = []
    for view, value in all_views(state).items():
        if (found := decode_view(value)) is not None:
            rows.append((found[1], split_key(view)[1], found[2]))
    loaded.load(rows, offset=state.offset, now_ms=state.now_ms)
    expected = {key: row for key, row in rows_of(state).items() if key[0] not in {"counters", "requests"}}
    assert rows_of(loaded) == expected


def test_view_row_names_its_offset() -> None:
    """Each view row says as of which offset it holds."""
    world = begin(1)
    assert {content_of(value)[0] for value in all_views(world.state).values()} == {world.state.offset}


def test_progress_is_read_as_written() -> None:
    """The progress row carries an offset."""
    assert decode_progress(encode_progress(17)) == 17


def test_view_of_an_unknown_table_is_refused() -> None:
    """A view row of a table that nobody knows is no view row."""
    with pytest.raises(ValidationError, match="unknown table 'x'"):
        decode_view(b'{"as_of": 1, "table": "x", "row": {}}')


def test_status_of_apps_in_words() -> None:
    """Each state of an app has one word for people."""
    world = begin(3)
    words = [app_status(world.state, world.app("application-0"))]
    world.ask(StopApp("application-0"))
    words.append(app_status(world.state, world.app("application-0")))
    world.run(2_000)
    words.append(app_status(world.state, world.app("application-0")))
    world.behaviour["application-1"] = "exits"
    world.run(60_000)
    words.append(app_status(world.state, world.app("application-1")))
    assert words == ["running", "stopping", "stopped", "gave-up"]


def test_status_of_nodes_in_words() -> None:
    """Each state of a node has one word for people, and the monitoring row its 0 or 1."""
    world = begin(3)
    first, second = world.active()[:2]
    world.ask(ShutdownNode(first.node))
    words = [node_status(world.state, world.state.nodes[first.node]), node_status(world.state, second)]
    world.agent(second.node).status = "exited"
    world.run(3_000)
    words += [
        node_status(world.state, world.state.nodes[first.node]),
        node_status(world.state, world.state.nodes[second.node]),
    ]
    assert words == ["draining", "active", "left", "down"]
    row = monitor(world.state, second.node)
    assert row is not None
    assert (row.status, row.failure_count) == (0, 1)


def test_nobody_is_monitored_who_is_unknown() -> None:
    """There is no monitoring row of a source that the log does not know."""
    assert monitor(State(), "node-x_1") is None
