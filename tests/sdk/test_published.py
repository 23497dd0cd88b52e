"""Rows as a deployer reads them, against the fold that published them; no broker needed."""

import msgspec

from sdk.contract.requests import RequestNode
from sdk.published import Published
from tables.questions import used_slots
from tables.state import State
from tables.views import all_views, encode_progress
from tests.tables.world import begin


def _published(state: State) -> Published:
    rows = Published()
    for view, value in all_views(state).items():
        rows.apply(view.table, view.key.encode(), value)
    rows.apply("platform", b"progress", encode_progress(state.offset))
    return rows


def test_rows_say_what_the_fold_says() -> None:
    """Each field that a deployer reads stands in the rows, and free room is counted as the planner counts it."""
    world = begin(3, nodes=2)
    world.ask(RequestNode(slots=2))
    world.run(5_000, lambda: all(row.node for row in world.state.grants.values()))

    rows = _published(world.state)

    assert rows.progress == world.state.offset
    for mine, theirs in ((rows.nodes, world.state.nodes), (rows.apps, world.state.apps)):
        assert mine.keys() == theirs.keys()
        for key, row in mine.items():
            for field in row.__struct_fields__:
                assert getattr(row, field) == getattr(theirs[key], field)
    assert [row.slots for row in rows.grants.values()] == [2]
    for node in rows.nodes.values():
        assert node.slots - rows.free_slots(node) == used_slots(world.state, node.node)
        assert {app.app for app in rows.apps_on(node)} == world.state.apps_of_node.get(node.node, set())


def test_a_removed_row_is_gone_and_garbage_is_passed_over() -> None:
    """A tombstone takes a row away; what is no row changes nothing."""
    world = begin(nodes=1)
    rows = _published(world.state)
    (node,) = rows.nodes

    for value in (b"", b"\xff", b"[]", msgspec.json.encode({"as_of": 1, "table": "nodes", "row": {}})):
        rows.apply("nodes", node.encode(), value)
    rows.apply("platform", None, b"{}")
    assert list(rows.nodes) == [node]

    rows.apply("nodes", node.encode(), None)
    assert rows.nodes == {}
