"""The fold: the same rows whatever happened to its process, and nothing that makes it raise."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract.events import EVENT_TYPES, Event
from tables.fold import Meta, fold_garbage
from tables.fold_apps import TRANSITIONS
from tables.invariants import check_invariants
from tables.rows import AppRow
from tables.state import State
from tests.contract.strategies import of_struct
from tests.tables.chaos import APPS, IP, POOLS, planned_log, wild_log
from tests.tables.entries import Entry, fold_all, fold_entry, indexes_of, rows_of, saved_and_loaded

_SEEDS = st.integers(0, 1 << 32)
_LENGTH = 160
_MANY = settings(max_examples=25)

_SMALL = st.one_of(st.integers(-1, 40), st.integers(-(1 << 53), 1 << 53))
_NAMED: dict[str, st.SearchStrategy[object]] = {
    **dict.fromkeys(
        [
            "term",
            "registration",
            "generation",
            "order",
            "set_at",
            "epoch",
            "replaces_lineage",
            "based_on",
            "grant",
        ],
        _SMALL,
    ),
    "node": st.sampled_from([f"node-{IP}_{port}" for port in (8_101, 8_102)] + ["", "nonsense"]),
    "pool": st.sampled_from([*POOLS, "home", "pool-", "pool-a b"]),
    "app": st.sampled_from([*APPS, "", "application-"]),
    "source": st.sampled_from([*APPS, *POOLS, f"node-{IP}_8101", "deployer"]),
    "request": st.sampled_from(["r1", "r2", "r3"]),
    "table": st.sampled_from(["nodes", "apps", "pools", "orders", "grants", "brake", "counters", "nonsense"]),
    "key": st.sampled_from([*APPS, *POOLS, f"node-{IP}_8101", "now", "1"]),
}
_EVENTS = st.one_of([of_struct(kind, _NAMED) for kind, _ in EVENT_TYPES.values()])


def _wild(seed: int) -> list[Entry]:
    return [entry for _, entry in wild_log(seed, _LENGTH)]


@_MANY
@given(seed=_SEEDS, cut=st.integers(0, _LENGTH), overlap=st.integers(0, 30))
def test_any_split_gives_the_same_rows(seed: int, cut: int, overlap: int) -> None:
    """Rows saved at any offset and folded on, some records a second time, equal the rows of one pass."""
    log = _wild(seed)
    half = saved_and_loaded(fold_all(log[:cut]), random.Random(seed))

    resumed = fold_all(log[max(0, cut - overlap) :], half)

    whole = fold_all(log)
    assert rows_of(resumed) == rows_of(whole)
    assert (resumed.offset, resumed.now_ms) == (whole.offset, whole.now_ms)
    assert indexes_of(resumed) == indexes_of(whole)


@_MANY
@given(seed=_SEEDS)
def test_every_record_read_twice_changes_nothing(seed: int) -> None:
    """A log of which each record is read twice gives the same rows, counters included."""
    log = _wild(seed)
    twice = [entry for entry in log for _ in range(2)]
    assert rows_of(fold_all(twice)) == rows_of(fold_all(log))


#: A planner begins anew, orders are counted by what is wanted, and a hash changes nothing.
SAID_AGAIN = ("PlannerStarted", "NodeOrdered", "FoldHashed")


@_MANY
@given(seed=_SEEDS)
def test_every_event_written_twice_counts_once(seed: int) -> None:
    """An event appended a second time right behind itself is dropped, but for counting and what may be said again."""
    for state, entry in wild_log(seed, _LENGTH):
        after = saved_and_loaded(state)
        first = fold_entry(after, Entry(entry.offset, entry.append_ms, entry.event))
        if not first.accepted or type(entry.event).__name__ in SAID_AGAIN:
            continue
        second = fold_entry(after, Entry(entry.offset + 1, entry.append_ms, entry.event))
        assert not second.accepted, entry.event


@_MANY
@given(seed=_SEEDS)
def test_invariants_hold_after_each_plausible_record(seed: int) -> None:
    """No record of a plausible log raises, breaks an invariant or makes an app jump between phases."""
    state = State()
    for entry in _wild(seed):
        before = dict(state.apps)
        outcome = fold_entry(state, entry)
        assert not outcome.raised, outcome.dropped
        assert check_invariants(state) == [], entry
        _check_moves(before, state)


def _check_moves(before: dict[str, AppRow], state: State) -> None:
    for key, row in state.apps.items():
        old = before.get(key)
        if old is None:
            assert row.phase == "pending"
            continue
        assert row.phase == old.phase or row.phase in TRANSITIONS[old.phase], (old.phase, row.phase)
        assert row.generation >= old.generation
        if row.generation > old.generation:
            assert row.phase == "placed"


@settings(max_examples=150)
@given(events=st.lists(_EVENTS, max_size=30))
def test_arbitrary_events_never_raise(events: list[Event]) -> None:
    """Well-formed events without any sense are counted and dropped, or leave a sound state."""
    state = State()
    for offset, event in enumerate(events):
        outcome = fold_entry(state, Entry(offset, offset, event))
        assert not outcome.raised, outcome.dropped
        assert check_invariants(state) == [], event
        saved_and_loaded(state)


@_MANY
@given(seed=_SEEDS)
def test_invariants_hold_in_planned_logs(seed: int) -> None:
    """Facts and requests in any order, answered by the planner, keep the state sound."""
    for state, _, _ in planned_log(seed, 60):
        assert check_invariants(state) == []


@_MANY
@given(seed=_SEEDS)
def test_every_record_is_counted(seed: int) -> None:
    """Each record is counted as accepted or dropped, with the reason of the last drop."""
    log = _wild(seed)
    state = fold_all(log)
    counters = list(state.tables["counters"].values())
    total = sum(getattr(row, "accepted") + getattr(row, "dropped") for row in counters)  # noqa: B009
    assert total == len(log)


def test_garbage_moves_the_offset_only() -> None:
    """A record that is no event of ours is counted and passed over, once."""
    state = State()
    first = fold_garbage(state, Meta(5, 1_000), "no JSON")
    again = fold_garbage(state, Meta(5, 1_000), "no JSON")
    assert (first.dropped, again.dropped) == ("no JSON", "already folded")
    assert (state.offset, state.now_ms) == (5, 1_000)
    assert list(state.tables["counters"]) == ["undecodable"]


def test_a_rule_that_raises_does_not_stop_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in a rule of ours is reported as such and the record is passed over."""
    state, entry = next(wild_log(1, 5))
    monkeypatch.setattr("tables.fold._HANDLERS", {})
    outcome = fold_entry(state, entry)
    assert outcome.raised
    assert state.offset == entry.offset
