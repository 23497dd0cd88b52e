"""Whether a silence fact is what the recorded heartbeats say: computed again, apart from the live code."""

from collections.abc import Sequence
from typing import Any, Protocol

from sdk.contract import events as e
from sdk.contract.heartbeats import Beat, Hello, PoolReport, Report, Tick, Unchanged, spell_out
from sdk.contract.policy import Policy
from tables.state import State


class Heard(Protocol):
    """A record of a heartbeat partition, simulated or real."""

    @property
    def offset(self) -> int:
        """Where it stands."""

    @property
    def timestamp(self) -> int:
        """Append time, ms."""

    @property
    def value(self) -> Any:
        """The decoded record, or whatever else for garbage."""


def silence_fault(records: Sequence[Heard], event: e.SourceFellSilent, policy: Policy, claim: str) -> str:
    """Why the records do not justify a silence, by arithmetic of the judges' own; empty if they do.

    `claim` is what the hellos of its registration say, empty for what has none.
    """
    if event.kind == "app":
        return _app_silence_fault(records, event, policy)
    if not isinstance(records[event.until_offset].value, Tick):
        return "not decided by a tick"
    elapsed, cut = 0, None
    start = max(event.from_offset, 0)
    back_ms = 0
    # A cut before the last beat may still settle.
    for at in range(start, max(0, start - 2_000), -1):
        step = records[at].timestamp - records[at - 1].timestamp
        if step > policy.clock_step_max_ms:
            cut = -back_ms
            break
        back_ms += max(0, step)
    for at in range(start + 1, event.until_offset + 1):
        step = records[at].timestamp - records[at - 1].timestamp
        elapsed += min(max(step, 0), policy.clock_step_max_ms)
        if step > policy.clock_step_max_ms:
            cut = elapsed
        if is_beat(records[at].value, event.source, event.epoch, claim):
            return f"it beat at {at}"
    # A sensor's limit is not the policy's; the fold takes only the one that stands on the log.
    due = event.limit_ms if event.kind == "sensor" else policy.silence_limit_ms
    if cut is not None:
        due = max(due, min(cut + policy.settling_ms, due + policy.settling_in_all_ms))
    return "" if elapsed > due else f"{elapsed} ms passed, it had {due}"


def meant(records: Sequence[Heard], at: int) -> Report | None:
    """The report that stands at an offset, or that an `Unchanged` there stands for; None if there is none."""
    said = records[at].value
    if not isinstance(said, Unchanged):
        return said if isinstance(said, Report) else None
    full = records[said.full].value if said.full < at else None
    if not isinstance(full, Report) or full.reporter != said.reporter:
        return None
    return spell_out(said, full) if full.registration == said.registration else None


def claim_of_epoch(state: State, source: str, epoch: int) -> str:
    """The claim that won a registration, while that is in force; else empty."""
    row = state.nodes.get(source) or state.pools.get(source)
    return row.claim if row is not None and row.registration == epoch else ""


def is_beat(value: object, source: str, epoch: int, claim: str) -> bool:
    """Whether a record is a beat of this source, of this epoch or a later one, or a hello that won it."""
    match value:
        case Hello():
            return value.reporter == source and value.claim == claim
        case Report() | PoolReport() | Unchanged():
            return value.reporter == source and value.registration >= epoch
        case Beat():
            return value.source == source and value.epoch >= epoch
        case _:
            return False


def _app_silence_fault(records: Sequence[Heard], event: e.SourceFellSilent, policy: Policy) -> str:
    # An app whose first report is late already was never seen beating: the report is all there is.
    last = records[event.until_offset].value
    for at in range(min(event.from_offset + 1, event.until_offset), event.until_offset + 1):
        report = meant(records, at)
        if report is None:
            continue
        if (
            isinstance(last, Report)
            and report.reporter == last.reporter
            and report.registration < last.registration
        ):
            # A ghost of the same node, whom nobody believes any more.
            continue
        for entry in report.apps:
            if entry.app != event.source or entry.generation != event.epoch:
                continue
            late = entry.age_ms >= policy.silence_limit_ms
            if at == event.until_offset:
                # `starting` is what an agent says that found the app when it was started again.
                return (
                    "" if late and entry.status in ("starting", "running") else "the report does not say so"
                )
            if not late and entry.status == "running" and event.from_offset >= 0:
                return f"it beat at {at}"
    return "the report is not there"
