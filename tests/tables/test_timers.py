"""The planner's timers: never early, never from time that nobody has read."""

from typing import Any

from sdk.contract import events as e
from sdk.contract.specs import AppSpec
from tables.state import State
from tables.timers import STEP_MAX_MS, Timers
from tests.tables.entries import Entry, fold_entry

APP = "application-a"


def _waiting(wake_ms: int = 5_000) -> State:
    """A state in which one placed app waits for its first beat."""
    state = State()
    at = e.Position(0, 0)
    basis: dict[str, Any] = {"term": 0, "based_on": 0, "policy": -1}
    events: list[e.Event] = [
        e.PlannerStarted("writer", 1),
        e.PoolConfigured("r1", "pool-home", 1, 4),
        e.ProvisionerRegistered("pool-home", "p", 0, "boot", at),
        e.NodeOrdered(**basis, pool="pool-home", slots=4, port_floor=1),
        e.NodeRegistered("node-a_1", "c", 3, 0, "a", 1, "pool-home", 4, [], "boot", at),
        e.AppSubmitted("r2", AppSpec(APP, ["run"])),
        e.AppPlaced(
            **basis, app=APP, node="node-a_1", registration=4, replaces=0, reason="new", wake_ms=wake_ms
        ),
    ]
    for offset, event in enumerate(events):
        assert fold_entry(state, Entry(offset, 1_000_000, event)).accepted, event
    return state


def test_timer_fires_when_its_time_has_passed() -> None:
    """A wake fires once the clock has moved by its time, and names the decision that asked."""
    timers = Timers(_waiting())
    fired = []
    for _ in range(60):
        fired.append([event.set_at for event in timers.fire()])
        timers.advance(100)
    assert fired.index([6]) == 50


def test_pause_moves_the_clock_by_one_step_only() -> None:
    """Who was paused for an hour goes on as if a second had passed."""
    timers = Timers(_waiting())
    timers.fire()
    timers.advance(3_600_000)
    assert timers.fire() == []
    for _ in range(4):
        timers.advance(STEP_MAX_MS)
    assert [event.key for event in timers.fire()] == [APP]


def test_clock_never_goes_back() -> None:
    """A turn that seems to have taken less than no time moves nothing."""
    timers = Timers(_waiting(wake_ms=100))
    timers.fire()
    timers.advance(-5_000)
    timers.advance(100)
    assert len(timers.fire()) == 1


def test_new_term_is_late_rather_than_early() -> None:
    """A new term counts what is left from the append time that the fold has seen, not from its own start."""
    state = _waiting()
    timers = Timers(state)
    timers.fire()
    for _ in range(4):
        timers.advance(1_000)
    timers.restart()
    assert timers.fire() == []
    for _ in range(4):
        timers.advance(1_000)
    assert timers.fire() == []
    timers.advance(1_000)
    assert len(timers.fire()) == 1


def test_time_that_the_log_saw_pass_is_not_waited_for_again() -> None:
    """A new term waits only for what is left after the newest append time."""
    state = _waiting()
    fold_entry(state, Entry(7, 1_004_000, e.BrakeReleaseRequested("r3")))
    timers = Timers(state)
    timers.fire()
    timers.advance(1_000)
    assert len(timers.fire()) == 1


def test_fired_timer_counts_once_and_in_its_term_only() -> None:
    """The fold takes the first firing of a wake, drops a second, and drops one of another term."""
    state = _waiting(wake_ms=1)
    timers = Timers(state)
    timers.fire()
    timers.advance(1)
    (event,) = timers.fire()
    stale = e.TimerFired(
        term=99, based_on=0, policy=-1, table=event.table, key=event.key, set_at=event.set_at
    )
    outcomes = [
        fold_entry(state, Entry(7 + place, 1_001_000, each)).accepted
        for place, each in enumerate((stale, event, event))
    ]
    assert outcomes == [False, True, False]
    assert timers.fire() == []


def test_beat_in_time_takes_the_wake_away() -> None:
    """A wake that nobody waits for any more does not fire."""
    state = _waiting(wake_ms=1_000)
    timers = Timers(state)
    timers.fire()
    fold_entry(state, Entry(7, 1_000_500, e.AppStarted(APP, 6, "node-a_1", e.Position(0, 1))))
    timers.advance(1_000)
    timers.advance(1_000)
    assert timers.fire() == []
