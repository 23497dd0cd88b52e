"""What the runner promises whatever comes, in any order, stale, doubled or late."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agents import inputs as i
from agents.runner import advance, next_wake
from agents.state import Image, State, first_state
from sdk.contract.heartbeats import Report
from sdk.contract.orders import AppOrder, NodeOrders
from tests.agents.rig import LOG, NODE, node_identity

APPS = ("application-a", "application-b")
epochs = st.integers(1, 6)
names = st.sampled_from(APPS)
orders = st.builds(
    lambda apps, claim, registration, as_of, ended: i.OrdersRead(
        NodeOrders(
            NODE,
            claim,
            registration,
            LOG,
            as_of,
            [
                AppOrder(name, epoch, ["true"], kill=kill, on_isolation="stop" if stops else "keep")
                for name, (epoch, kill, stops) in apps.items()
            ],
            ended=ended,
        )
    ),
    st.dictionaries(names, st.tuples(epochs, st.booleans(), st.booleans())),
    st.sampled_from(["c1", "c2", "x"]),
    st.integers(1, 4),
    st.integers(1, 12),
    st.sampled_from([False, False, False, True]),
)
given_inputs = st.one_of(
    orders,
    st.just(i.CaughtUp()),
    st.builds(i.Beaten, names, epochs),
    st.builds(i.Spawned, names, epochs, st.integers(2, 9)),
    st.builds(i.Exited, names, epochs, st.sampled_from([0, -9, None])),
    st.builds(i.Acknowledged, st.integers(1, 30), st.booleans()),
    st.just(i.ClaimDrawn("c1")),
    st.just(i.ClaimDrawn("c2")),
    st.just(i.StopAsked()),
)
steps = st.lists(st.tuples(st.integers(0, 3_000), st.lists(given_inputs, max_size=3)), max_size=30)


def fresh() -> State:
    """An agent that has just started and asks under the claim c1."""
    state, _ = advance(first_state(node_identity(), Image(), []), 0, [i.ClaimDrawn("c1"), i.CaughtUp()])
    return state


@settings(max_examples=120, deadline=None)
@given(steps)
def test_one_copy_at_a_time(script: list[tuple[int, list[i.Input]]]) -> None:
    """A copy is started only when no other of that app is alive, registered and not stopping."""
    state, now_ms = fresh(), 0
    for pause_ms, items in script:
        before = state
        now_ms += pause_ms
        state, out = advance(state, now_ms, items)
        ended = {(it.key, it.epoch) for it in items if isinstance(it, i.Exited)}
        for spawn in (it for it in out if isinstance(it, i.Spawn)):
            old = before.things.get(spawn.key)
            assert state.is_registered
            assert not state.is_stopping
            assert old is None or not old.is_alive or (old.key, old.epoch) in ended


@settings(max_examples=120, deadline=None)
@given(steps)
def test_orders_only_grow(script: list[tuple[int, list[i.Input]]]) -> None:
    """In one log neither the offset obeyed nor what is on disk ever goes back."""
    state, now_ms, saved = fresh(), 0, -1
    for pause_ms, items in script:
        before = state.as_of
        now_ms += pause_ms
        state, out = advance(state, now_ms, items)
        assert state.as_of >= before
        for save in (it for it in out if isinstance(it, i.Save)):
            assert save.image.as_of >= saved
            saved = save.image.as_of


@settings(max_examples=120, deadline=None)
@given(steps)
def test_runner_settles(script: list[tuple[int, list[i.Input]]]) -> None:
    """The same moment once more brings nothing new, and the next turn is wanted later, not now."""
    state, now_ms = fresh(), 0
    for pause_ms, items in script:
        now_ms += pause_ms
        state, _ = advance(state, now_ms, items)
        again, out = advance(state, now_ms, [])
        assert out == []
        assert again == state
        assert next_wake(state) > now_ms


@settings(max_examples=120, deadline=None)
@given(steps)
def test_nothing_newer_than_the_orders_is_stopped(script: list[tuple[int, list[i.Input]]]) -> None:
    """A copy is ended only if the orders can know it, if its registration ended, or with the platform."""
    state, now_ms = fresh(), 0
    for pause_ms, items in script:
        was_registered, before = state.is_registered, state.registration
        now_ms += pause_ms
        state, out = advance(state, now_ms, items)
        if state.is_stopping or not (was_registered and state.is_registered and state.registration == before):
            continue
        wanted = {} if state.orders is None else {it.app: it for it in state.orders.apps}  # type: ignore[union-attr]
        for it in out:
            if isinstance(it, i.Kill | i.Stop) and it.key not in wanted:
                assert it.epoch <= state.as_of or state.things[it.key].isolated or state.things[it.key].forget


@settings(max_examples=120, deadline=None)
@given(steps)
def test_reports_are_whole_and_numbered(script: list[tuple[int, list[i.Input]]]) -> None:
    """Numbers of records grow by one, ages are never negative, and nothing is reported while stopping."""
    state, now_ms = fresh(), 0
    number = state.number
    for pause_ms, items in script:
        now_ms += pause_ms
        state, out = advance(state, now_ms, items)
        for send in (it for it in out if isinstance(it, i.Send)):
            assert send.record.number == number + 1
            number = send.record.number
            assert not state.is_stopping
            if isinstance(send.record, Report):
                assert all(entry.age_ms >= 0 for entry in send.record.apps)


@settings(max_examples=80, deadline=None)
@given(steps)
def test_same_inputs_same_outputs(script: list[tuple[int, list[i.Input]]]) -> None:
    """The runner is a function: told the same again, it says the same again."""
    first, second, now_ms = fresh(), fresh(), 0
    for pause_ms, items in script:
        now_ms += pause_ms
        first, out = advance(first, now_ms, items)
        second, same = advance(second, now_ms, items)
        assert out == same
        assert first == second
