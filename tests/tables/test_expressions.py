"""Expressions about a state: what they mean, what they look at, and how they refuse what they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sdk.contract.specs import AppSpec
from tables.expressions import DEPTH_MAX, ExpressionError, parse_expression
from tables.rows import AppRow, NodeRow
from tables.state import State

NODE = NodeRow(
    node="node-10.0.0.1_8082",
    pool="pool-local",
    ip="10.0.0.1",
    port=8082,
    slots=4,
    drivers=["process"],
    boot_id="boot",
    claim="claim",
    order=3,
    registration=4,
    lineage=4,
    registered_at_ms=0,
    status="active",
    since_ms=0,
    partition=0,
    seen=0,
)
APP = AppRow("application-a", AppSpec("application-a", ["true"]), True, "running", 0, generation=7)


@pytest.fixture
def state() -> State:
    """Return a state with a node that is up, one that is down and an app on the first."""
    state = State()
    state.put("nodes", NODE.node, NODE)
    state.put("nodes", "node-10.0.0.1_8083", replace(NODE, node="node-10.0.0.1_8083", order=5, status="down"))
    state.put("apps", APP.app, replace(APP, node=NODE.node, lineage=4, failures=3))
    return state


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("app application-a on node-10.0.0.1_8082", True),
        ("app application-a on node-10.0.0.1_8083", False),
        ("app application-a is running", True),
        ("app application-a is silent", False),
        ("app application-a failures >= 3", True),
        ("app application-a failures > 3", False),
        ("app application-a generation = 7 and app application-a wanted = true", True),
        ("app application-b exists", False),
        ("not app application-b exists", True),
        ("not not app application-a exists", True),
        ("node node-10.0.0.1_8083 is down", True),
        ("node node-10.0.0.1_8082 status = active", True),
        ("nodes = 2 and nodes down = 1", True),
        ("nodes down > 1 or (apps running < 2 and not brake is on)", True),
        ("nodes down > 1 or apps running < 2 and brake is on", False),
        ("brake is off", True),
    ],
)
def test_expression_means_what_it_says(state: State, text: str, holds: bool) -> None:
    """Each form holds of a state or does not, and `and` binds closer than `or`."""
    assert parse_expression(text).holds(state.tables) is holds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends where a statement"),
        ("app", "the id of the app is missing"),
        ("app a", "`is`, `on`, `exists` or a field is missing"),
        ("app a flies", "no field 'flies'"),
        ("app a is flying", "never 'flying'; allowed: pending"),
        ("app a failures ~ 3", "'~'"),
        ("app a failures > many", "compared with a number"),
        ("app a phase > running", "only = and != compare it"),
        ("app a wanted = yes", "true or false"),
        ("node n on m", "only an app is on a node"),
        ("pool p is (", r"pools are never '\('"),
        ("brake is broken", "on or off"),
        ("(app a exists", r"`\)` is missing"),
        ("app a exists app b exists", "follows a whole expression"),
        ("__import__('os')", "begins no statement"),
        ("nodes down", "a comparison is missing"),
        ("app a exists!", "'!' at character 13"),
        ("(" * (DEPTH_MAX + 2) + "app a exists", "nested too deeply"),
        ("not " * (DEPTH_MAX + 2) + "app a exists", "nested too deeply"),
        ("app a exists or " * 200 + "app a exists", "characters; allowed"),
    ],
)
def test_expression_that_is_none_is_refused_in_words(text: str, says: str) -> None:
    """What is wrong, and what is allowed, stands in the error."""
    with pytest.raises(ExpressionError, match=says):
        parse_expression(text)


@given(st.text(alphabet="app node()<>=! isondow10", max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text does anything but hold, not hold, or be refused."""
    try:
        expression = parse_expression(text)
    except ExpressionError:
        return
    assert expression.holds(State().tables) in (True, False)


def test_expression_knows_what_it_looks_at() -> None:
    """Named rows are looked up; who counts looks at everything."""
    named = parse_expression("app a exists or (node n is down and not brake is on)")
    counting = parse_expression("app a exists or nodes > 3")

    assert named.places == frozenset({("apps", "a"), ("nodes", "n"), ("brake", "now")})
    assert counting.places is None
