"""What a report says and when it is due. Pure core of the agents.

A report of a node at rest is full at least every `FULL_EVERY_MS`; those between say "as before" and name the offset
of the full one, which Kafka has acknowledged. They do so only if a full one would say the same again, ages apart: the
same apps in the same order, all running, and neither now nor then a beat older than `FRESH_PERCENT` of the limit.
"""

from functools import lru_cache

from agents.ages import age_of
from agents.state import (
    FRESH_PERCENT,
    FULL_EVERY_MS,
    FULL_JITTER,
    READ_AGAIN_AFTER_MS,
    REPORT_EVERY_MS,
    REPORT_GAP_MS,
    REPORT_JITTER,
    UNHEARD_MS,
    State,
    Told,
)
from agents.turn import Turn
from sdk.contract.heartbeats import AppEntry, NodeEntry, PoolReport, Report, Unchanged, ageless
from sdk.contract.ids import derive_fraction
from sdk.contract.orders import NodeOrders

#: Longest reason in a report, which carries those of all its apps.
REASON_MAX = 300


def next_report_at(state: State) -> int:
    """When the next report is due: soon after a change, else after the usual time with its jitter."""
    if state.is_changed:
        return state.reported_at_ms + REPORT_GAP_MS
    return state.reported_at_ms + _pause_after(state.identity.reporter, state.number)


@lru_cache(maxsize=64)
def _pause_after(reporter: str, number: int) -> int:
    """The usual time after a report, ms, with its jitter; asked for in each turn until the next report."""
    swing = 2 * derive_fraction(reporter, number) - 1
    return round(REPORT_EVERY_MS * (1 + REPORT_JITTER * swing))


def compose_report(turn: Turn) -> Report | PoolReport | Unchanged:
    """The report of this moment; exits in it count as told. The shell adds wall clock and load."""
    state = turn.state
    state.number += 1
    state.reported_at_ms = turn.now_ms
    state.is_changed = False
    for thing in list(state.things.values()):
        if thing.status == "exited" and not thing.told:
            turn.change(thing.key, told=state.number)
    common = (state.identity.reporter, state.registration, state.as_of, state.number, 0)
    shown = [thing for thing in state.things.values() if not thing.forget]
    if state.identity.kind == "pool":
        nodes = [
            NodeEntry(thing.epoch, thing.name, thing.status, thing.pid, thing.exit_code, thing.reason)
            for thing in shown
        ]
        return PoolReport(*common, nodes)
    apps = [
        AppEntry(
            thing.key,
            thing.epoch,
            thing.status,
            # A parked app neither beats nor ought to: it has no age.
            0 if thing.parked or thing.status == "exited" else age_of(state, thing, turn.now_ms),
            thing.pid,
            thing.exit_code,
            thing.reason[:REASON_MAX],
        )
        for thing in shown
    ]
    told_now = ageless(apps)
    at_rest = _is_at_rest(state, apps)
    if (
        at_rest
        and (told := state.told) is not None
        and told.apps == told_now
        and _means(state, told, turn.now_ms)
    ):
        return Unchanged(state.identity.reporter, state.registration, state.number, 0, told.offset)
    until_ms = turn.now_ms + full_within_ms(derive_fraction(state.identity.reporter, "full", state.number))
    state.told = Told(state.number, until_ms, state.registration, state.as_of, told_now) if at_rest else None
    return Report(*common, apps)


def full_within_ms(fraction: float) -> int:
    """When a full report is told again, ms after it, for a fraction (0 to 1) of the jitter."""
    return round(FULL_EVERY_MS * (1 - FULL_JITTER * fraction))


def note_acknowledged(state: State, now_ms: int, number: int, offset: int) -> None:
    """Kafka has the report of this number at this offset, -1 if it does not say where: we are heard."""
    if now_ms - state.acked_at_ms > UNHEARD_MS:
        state.full_until_ms = now_ms + UNHEARD_MS
    state.acked_at_ms, state.acked_number = now_ms, number
    state.read_again_at_ms = now_ms + READ_AGAIN_AFTER_MS
    told = state.told
    if told is not None and told.number == number and offset >= 0:
        state.told = Told(told.number, told.until_ms, told.registration, told.as_of, told.apps, offset)


def _is_at_rest(state: State, apps: list[AppEntry]) -> bool:
    """Whether "as before" may mean a report of these apps; it would save nothing if there are none."""
    if not isinstance(state.orders, NodeOrders):
        return False
    fresh_ms = state.orders.silence_limit_ms * FRESH_PERCENT // 100
    return bool(apps) and all(
        it.status == "running" and it.age_ms <= fresh_ms and it.exit_code is None and not it.reason
        for it in apps
    )


def _means(state: State, told: Told, now_ms: int) -> bool:
    """Whether "as before" would be understood: Kafka has what it means, and that is not long ago."""
    next_ms = now_ms + round(REPORT_EVERY_MS * (1 + REPORT_JITTER))
    is_unheard = now_ms < state.full_until_ms or now_ms - state.acked_at_ms > UNHEARD_MS
    return (
        told.offset >= 0
        and (told.registration, told.as_of) == (state.registration, state.as_of)
        and next_ms <= told.until_ms
        and not is_unheard
    )
