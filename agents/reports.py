"""What a report says and when it is due. Pure core of the agents."""

from functools import lru_cache

from agents.ages import age_of
from agents.state import REPORT_EVERY_MS, REPORT_GAP_MS, REPORT_JITTER, State
from agents.turn import Turn
from sdk.contract.heartbeats import AppEntry, NodeEntry, PoolReport, Report
from sdk.contract.ids import derive_fraction

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


def compose_report(turn: Turn) -> Report | PoolReport:
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
    return Report(*common, apps)
