"""How much of what an audit planned was really offered: `load_offered_ratio`. Pure.

The smallest of three shares, so that none hides another:
requests  acknowledged by Kafka at most 5 s after their time, the time in which the audit kept the broker away apart;
faults    that struck somebody at most 5 s after their time;
reports   of stretches of 5 s in which a node was in peace, and so was the broker, those with a report of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.auditing.journal import BROKER, Truth
from bench.auditing.recorded import Heard
from bench.auditing.timeline import Expected
from sdk.contract.heartbeats import Report, Unchanged

LATE_MAX_MS: Final = 5_000
#: Two reports fall into it.
STRETCH_MS: Final = 5_000
#: Reports are expected this long after the end of a fault: clients reconnect, agents register again.
PEACE_MS: Final = 15_000


class Offered(NamedTuple):
    """The three shares, 1 where nothing was planned."""

    requests: float
    faults: float
    reports: float

    @property
    def ratio(self) -> float:
        """The smallest."""
        return min(self)


def share_of_requests(truth: Truth, planned: int) -> float:
    """Share of the planned requests that were acknowledged in time."""
    if not planned:
        return 1.0
    return (
        sum(_late_ms(truth, it.planned_ms, it.acknowledged_ms) <= LATE_MAX_MS for it in truth.sent) / planned
    )


def _late_ms(truth: Truth, planned_ms: int, done_ms: int) -> int:
    """Lateness without the time in which the broker was kept away."""
    away_ms = sum(
        max(0, min(done_ms, it.end_ms or done_ms) - max(planned_ms, it.begin_ms))
        for it in truth.troubles
        if BROKER in it.names
    )
    return done_ms - planned_ms - away_ms


def share_of_reports(
    stretches: Sequence[Expected],
    heartbeats: Sequence[Sequence[Heard]],
    truth: Truth,
    *,
    from_ms: int,
    until_ms: int,
) -> float:
    """Share of the stretches of peace in which a node reported."""
    said: dict[str, set[int]] = {}
    for records in heartbeats:
        for record in records:
            if isinstance(record.value, Report | Unchanged):
                said.setdefault(record.value.reporter, set()).add(record.timestamp // STRETCH_MS)
    heard = expected = 0
    for it in stretches:
        first = -(-max(it.from_ms, from_ms) // STRETCH_MS)
        for number in range(first, min(it.until_ms, until_ms) // STRETCH_MS):
            begin_ms = number * STRETCH_MS
            names = (it.node, BROKER)
            if truth.any_touched(names, from_ms=begin_ms - PEACE_MS, until_ms=begin_ms + STRETCH_MS):
                continue
            expected += 1
            heard += number in said.get(it.node, ())
    return heard / expected if expected else 1.0
