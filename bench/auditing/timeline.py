"""Every silence over the limit must be found: the recorded heartbeats against the log, by arithmetic of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.auditing.journal import BROKER, MACHINE, Truth
from bench.auditing.recorded import Heard
from sdk.contract import events as e
from sdk.contract.events import Event
from sdk.contract.heartbeats import Tick
from sdk.contract.policy import Policy
from tables.fold import Meta
from tables.state import State
from tests.simulation.log_rules import Finding
from tests.simulation.silence_check import is_beat

#: Over limit and all settling: fetch, yield to the leader, append, and a busy machine.
FOUND_MS: Final = 4_000
#: Workers must have been in peace for so long, or nobody may have been there to find it.
WORKERS_MS: Final = 25_000


class Expected(NamedTuple):
    """A stretch in which a node's registration was in force and it was not called silent."""

    node: str
    registration: int
    partition: int
    from_ms: int
    #: A beat before this place does not count.
    seen: int
    until_ms: int
    #: What the hellos of its registration say.
    claim: str


class Timeline:
    """When each node was expected to speak, as the log says."""

    def __init__(self) -> None:
        self._open: dict[str, Expected] = {}
        self.closed: list[Expected] = []

    def note(self, event: Event, state: State, meta: Meta) -> None:
        """An event counted."""
        node = getattr(event, "node", "") or getattr(event, "source", "")
        row = state.nodes.get(node)
        if row is None or isinstance(event, e.AppPlaced | e.AppStarted | e.AppExited):
            return
        speaks = row.status == "active" and not row.silent
        known = self._open.get(node)
        if known is not None and (not speaks or known.registration != row.registration):
            self.closed.append(self._open.pop(node)._replace(until_ms=meta.append_ms))
        if speaks and node not in self._open:
            self._open[node] = Expected(
                node, row.registration, row.partition, meta.append_ms, row.seen, 0, row.claim
            )

    def all(self) -> list[Expected]:
        """Every stretch; those that last still have no end."""
        return [*self.closed, *(it._replace(until_ms=1 << 60) for it in self._open.values())]


def judge_found(
    timeline: Timeline, heartbeats: Sequence[Sequence[Heard]], truth: Truth, policies: Sequence[Policy]
) -> list[Finding]:
    """Stretches in which a node said nothing for longer than anybody may take to notice."""
    limit_ms = max(it.silence_limit_ms + it.settling_in_all_ms for it in policies) + FOUND_MS
    step_ms = min(it.clock_step_max_ms for it in policies)
    workers = {name for it in truth.troubles for name in it.names if name.startswith("worker")}
    found = []
    for expected in timeline.all():
        at_ms = _over(heartbeats[expected.partition], expected, limit_ms=limit_ms, step_ms=step_ms)
        names = [MACHINE, BROKER, *workers]
        if at_ms and not truth.any_touched(names, from_ms=at_ms - WORKERS_MS, until_ms=at_ms):
            found.append(
                Finding(
                    "silence is found", f"{expected} said nothing for {limit_ms} ms of clock at {at_ms} ms"
                )
            )
    return found


def _over(records: Sequence[Heard], expected: Expected, *, limit_ms: int, step_ms: int) -> int:
    """Append time of the first tick in the stretch at which the node was silent for too long, 0 if none."""
    clock_ms = 0
    before_ms: int | None = None
    for record in records:
        if record.timestamp > expected.until_ms:
            return 0
        if before_ms is not None and record.timestamp >= expected.from_ms:
            clock_ms += min(max(0, record.timestamp - before_ms), step_ms)
        before_ms = record.timestamp
        heard = is_beat(record.value, expected.node, expected.registration, expected.claim)
        if heard and record.offset > expected.seen:
            clock_ms = 0
        elif clock_ms > limit_ms and isinstance(record.value, Tick):
            return record.timestamp
    return 0
