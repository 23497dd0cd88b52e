"""The planner as a function of state and witness: settled, the same each time, and never over the need."""

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdk.contract.events import AppPlaced, NodeDeclaredDown, NodeOrdered, PlannerStarted
from tables.decide import decide
from tables.pools import nodes_in_pool, nodes_max
from tables.questions import used_slots
from tables.state import State
from tests.tables.chaos import planned_log
from tests.tables.entries import Entry, FakeWitness, fold_entry, saved_and_loaded

_SEEDS = st.integers(0, 1 << 32)
_MANY = settings(max_examples=25)
_ROUNDS = 60


def _fold_decisions(state: State, witness: FakeWitness) -> list[str]:
    """Decide and fold once; the decisions that the fold dropped, with its reason."""
    dropped = []
    for event in decide(state, witness):
        outcome = fold_entry(state, Entry(state.offset + 1, state.now_ms, event))
        if not outcome.accepted:
            dropped.append(f"{event}: {outcome.dropped}")
    return dropped


@_MANY
@given(seed=_SEEDS)
@example(seed=16194)  # an order withdrawn while its pool waits to be held back
@example(seed=347)  # a node of one pool dies while another pool is at its maximum
def test_the_fold_takes_every_decision_of_a_batch(seed: int) -> None:
    """What the planner decides in one call fits together: the fold drops none of it."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        assert _fold_decisions(saved_and_loaded(state), witness) == []


@_MANY
@given(seed=_SEEDS)
@example(seed=525069)  # room asked for in a pool that has more nodes than it ought to have
def test_decisions_settle(seed: int) -> None:
    """After a few rounds without anything new from outside, deciding again gives nothing."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        copy = saved_and_loaded(state)
        for _ in range(4):
            _fold_decisions(copy, witness)
        assert decide(copy, witness) == []


@_MANY
@given(seed=_SEEDS)
def test_decisions_do_not_depend_on_the_order_of_rows(seed: int) -> None:
    """The same rows and answers give the same decisions, whatever order the rows came in."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        shuffled = saved_and_loaded(state, random.Random(seed))
        assert decide(shuffled, witness) == decide(state, witness)


@_MANY
@given(seed=_SEEDS)
def test_deciding_changes_nothing(seed: int) -> None:
    """Deciding is a question: the state is as before and the answer the same a second time."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        listener = state.listen()
        assert decide(state, witness) == decide(state, witness)
        assert listener == set()
        state.listeners.remove(listener)


@_MANY
@given(seed=_SEEDS)
def test_no_node_takes_more_than_its_slots(seed: int) -> None:
    """Whatever is decided, a node never takes more slots than it has, nor an app while it is silent or drains."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        copy = saved_and_loaded(state)
        for event in decide(copy, witness):
            if isinstance(event, AppPlaced):
                node = copy.nodes[event.node]
                assert not node.silent
                assert not node.draining
                assert node.status == "active"
            fold_entry(copy, Entry(copy.offset + 1, copy.now_ms, event))
            assert all(
                used_slots(copy, key) <= row.slots
                for key, row in copy.nodes.items()
                if row.status == "active"
            )


@_MANY
@given(seed=_SEEDS)
def test_ports_are_never_reused(seed: int) -> None:
    """An order's lowest port lies above every port of its pool that the log knows."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        for event in decide(state, witness):
            if isinstance(event, NodeOrdered):
                known = [row.port for row in state.nodes.values() if row.pool == event.pool]
                assert event.port_floor > max(known, default=0)


@_MANY
@given(seed=_SEEDS)
def test_a_pool_is_never_ordered_over_its_wish(seed: int) -> None:
    """After a batch no pool has more staying nodes than it ought to have, unless it had before."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        copy = saved_and_loaded(state)
        before = {pool: nodes_in_pool(copy, pool, staying=True) for pool in copy.pools}
        _fold_decisions(copy, witness)
        for pool, row in copy.pools.items():
            assert nodes_in_pool(copy, pool, staying=True) <= max(row.nodes, before[pool])
            assert nodes_in_pool(copy, pool) <= max(nodes_max(copy, row), nodes_in_pool(state, pool))


@_MANY
@given(seed=_SEEDS)
def test_silence_needs_the_witness(seed: int) -> None:
    """Without a witness that confirms, no silent node is declared down and no app is placed."""
    blind = _Blind()
    for state, _, _ in planned_log(seed, _ROUNDS):
        for event in decide(state, blind):
            assert not isinstance(event, AppPlaced)
            assert not isinstance(event, NodeDeclaredDown) or event.reason == "exited"


class _Blind(FakeWitness):
    """A witness that has read nothing for a while: it knows nothing."""

    def __init__(self) -> None:
        super().__init__(band=None)

    def _says(self, *_question: object) -> bool:
        return False


@_MANY
@given(seed=_SEEDS)
def test_an_old_term_never_counts(seed: int) -> None:
    """What a planner of an earlier term decided is dropped when it arrives after another has begun."""
    for state, witness, _ in planned_log(seed, _ROUNDS):
        decisions = decide(state, witness)
        if not decisions:
            continue
        copy = saved_and_loaded(state)
        starts = Entry(copy.offset + 1, copy.now_ms, _planner())
        assert fold_entry(copy, starts).accepted
        for event in decisions:
            outcome = fold_entry(copy, Entry(copy.offset + 1, copy.now_ms, event))
            assert outcome.dropped == f"term {state.term.term} is not in force"


def _planner() -> PlannerStarted:
    return PlannerStarted("writer-new", 1)
