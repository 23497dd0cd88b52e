"""Where an app goes."""

from typing import Any

import pytest

from sdk.contract import events as e
from sdk.contract.policy import Policy
from sdk.contract.specs import AppSpec
from tables.decide import decide
from tables.placement import Choice, Refusal, choose_node
from tables.plan import Plan
from tables.room import Need
from tables.rows import AppRow
from tables.state import State
from tests.tables.entries import Entry, FakeWitness, fold_entry

_AT = e.Position(0, 0)


def _node(number: int) -> str:
    return f"node-a_{number}"


def _state(loads: dict[int, int], *, strategy: str = "spread") -> State:
    """Nodes with four slots each, of which so many are taken."""
    state = State()
    basis: dict[str, Any] = {"term": 0, "based_on": 0, "policy": -1}

    def append(event: e.Event) -> int:
        offset = state.offset + 1
        outcome = fold_entry(state, Entry(offset, 1_000, event))
        assert outcome.accepted, outcome.dropped
        return offset

    append(e.PlannerStarted("writer", 1))
    append(e.PolicyChanged("r-policy", Policy(strategy=strategy)))
    append(e.PoolConfigured("r-pool", "pool-home", len(loads), 4))
    append(e.ProvisionerRegistered("pool-home", "p", 0, "boot", _AT))
    for number, load in loads.items():
        order = append(e.NodeOrdered(**basis, pool="pool-home", slots=4, port_floor=1))
        registered = e.NodeRegistered(
            _node(number), f"c{number}", order, 0, "a", number, "pool-home", 4, [], "boot", _AT
        )
        registration = append(registered)
        for place in range(load):
            app = f"application-{number}-{place}"
            append(e.AppSubmitted(f"r-{app}", AppSpec(app, ["run"])))
            append(
                e.AppPlaced(
                    **basis,
                    app=app,
                    node=_node(number),
                    registration=registration,
                    replaces=0,
                    reason="new",
                )
            )
    return state


def _app(slots: int = 1, *, failed_on: list[str] | None = None, same: str = "") -> AppRow:
    spec = AppSpec("application-new", ["run"], slots=slots, on_failure="same-node" if same else "other-node")
    failed = failed_on or []
    return AppRow(
        "application-new",
        spec,
        True,
        "pending",
        0,
        node=same,
        failed_on=failed,
        recent_failures=[900] * len(failed),
    )


def _choose(state: State, app: AppRow) -> str:
    choice = choose_node(Plan(state, FakeWitness()), app)
    return choice.node if isinstance(choice, Choice) else choice.reason


@pytest.mark.parametrize(("strategy", "node"), [("spread", 2), ("binpack", 3)])
def test_strategy_decides(strategy: str, node: int) -> None:
    """Spread takes the node with the most free slots, binpack the fullest that has room."""
    assert _choose(_state({1: 2, 2: 1, 3: 3, 4: 4}, strategy=strategy), _app()) == _node(node)


def test_equal_nodes_are_told_apart_by_name() -> None:
    """Among equals the smallest name wins, whatever order they came in."""
    assert _choose(_state({3: 1, 1: 1, 2: 1}), _app()) == _node(1)


def test_nodes_where_it_failed_come_last_the_latest_last_of_all() -> None:
    """A node where the app failed is taken only when there is no other, the one of longest ago first."""
    state = _state({1: 0, 2: 3, 3: 0})
    assert _choose(state, _app(failed_on=[_node(3), _node(1)])) == _node(2)
    assert _choose(state, _app(2, failed_on=[_node(1), _node(3)])) in (_node(1), _node(3))


def test_same_node_is_kept_if_the_spec_says_so() -> None:
    """An app that wants to stay goes back to its node, although it failed there."""
    assert _choose(_state({1: 0, 2: 3}), _app(failed_on=[_node(2)], same=_node(2))) == _node(2)


def test_never_over_capacity() -> None:
    """A node without room for all slots of an app is not chosen, and the reason says how many were needed."""
    state = _state({1: 3, 2: 2})
    assert _choose(state, _app(2)) == _node(2)
    assert _choose(state, _app(3)) == "no active node has 3 slots free"


def test_room_given_away_in_this_call_is_gone() -> None:
    """What one call has placed counts, and so does what it reserved."""
    state = _state({1: 2})
    plan = Plan(state, FakeWitness())
    plan.take(_node(1), AppSpec("application-other", ["run"]))
    plan.reserve(_node(1), Need(1, 0, 0))
    assert choose_node(plan, _app()) == Refusal("no active node has 1 slot free", {"slots": 1})
    assert isinstance(choose_node(plan, _app(), only=_node(1)), Choice)


@pytest.mark.parametrize(
    "event",
    [
        e.NodeShutdownRequested("r-x", _node(1)),
        e.SourceFellSilent(_node(1), "node", 5, "log", 0, 9, 10, 10_001, 10_000),
    ],
)
def test_draining_and_silent_nodes_are_never_chosen(event: e.Event) -> None:
    """A node that drains or is silent takes nothing."""
    state = _state({1: 0})
    assert fold_entry(state, Entry(state.offset + 1, 2_000, event)).accepted
    assert _choose(state, _app()) == "no node is active"


def test_node_that_nobody_heard_is_not_chosen() -> None:
    """A node that the witness has not heard within the overdue limit takes nothing."""

    class Deaf(FakeWitness):
        def confirm_heard(self, node: str) -> e.Position | None:
            return None if node == _node(1) else super().confirm_heard(node)

    state = _state({1: 0, 2: 3})
    choice = choose_node(Plan(state, Deaf()), _app())
    assert isinstance(choice, Choice)
    assert [score.node for score in choice.ranking] == [_node(2)]
    assert (choice.node, choice.fell_out) == (_node(2), {"unheard": 1})


@pytest.mark.parametrize(
    ("known", "decided"),
    [({1, 2}, {"AppLeftPending"}), ({2}, set()), (set(), set())],
)
def test_that_there_is_no_room_is_concluded_only_by_who_knows(known: set[int], decided: set[str]) -> None:
    """A witness that has not read as far as anybody can does not know that a node with room was not heard."""

    class Behind(FakeWitness):
        def confirm_heard(self, node: str) -> e.Position | None:
            return None if node == _node(1) else super().confirm_heard(node)

        def knows(self, node: str) -> bool:
            return node in map(_node, known)

    state = _state({1: 0, 2: 4})
    assert fold_entry(
        state, Entry(state.offset + 1, 2_000, e.AppSubmitted("r", AppSpec("application-new", ["run"])))
    ).accepted
    assert {type(event).__name__ for event in decide(state, Behind())} == decided


def test_leaving_node_is_not_chosen() -> None:
    """A node that this very call declares down takes nothing."""
    plan = Plan(_state({1: 0}), FakeWitness())
    plan.leaving.add(_node(1))
    assert choose_node(plan, _app()) == Refusal("no node is active", {"leaving": 1})
