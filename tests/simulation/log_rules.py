"""Rules that the log must meet whoever wrote it and wherever it comes from: the simulator's, or a real Kafka's.

They get decoded records and a fold of their own, and know nothing of worlds, processes or topics. What holds only
because of what really happened (`no death of what lives`) is judged elsewhere, by those who know that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded
from sdk.contract.events import Event
from sdk.contract.orders import Orders
from sdk.contract.policy import Policy
from tables.fold import Meta, Outcome, fold, fold_garbage
from tables.invariants import check_invariants
from tables.orders import orders_for
from tables.pools import nodes_in_pool, nodes_max
from tables.rows import Row, decode_row, encode_row
from tables.state import State
from tests.simulation.silence_check import Heard, claim_of_epoch, silence_fault
from tests.simulation.wish_rules import WishRules

#: Records that the fold may drop, in all and for each fault.
DROPPED_MAX, DROPPED_PER_FAULT_MAX = 60, 5
#: Decisions that may race with a fact or a request, and be dropped.
REFUSED_MAX = 8


class Finding(NamedTuple):
    """A rule that does not hold."""

    rule: str
    text: str


class LogRules:
    """Folds a log record by record and judges each; `state` is always at its head."""

    def __init__(self, heard: Callable[[int], Sequence[Heard]]) -> None:
        """`heard` gives the records of a heartbeat partition, decoded, the one of offset n at n."""
        self._heard = heard
        self.state = State()
        #: Rows that changed since their invariants were checked, and the offset up to which all rows were.
        self._touched = self.state.listen()
        self._whole_at = -1
        self.policies = [Policy()]
        self.events = 0
        self.dropped = 0
        #: Decisions of the term in force that the fold dropped, repeats of a record not counted.
        self.refused = 0
        self._wishes = WishRules()
        self._ids: set[str] = set()
        self._requests: set[str] = set()
        self._term = -1
        #: Silences seen, to see that one is counted once.
        self._silences: set[tuple[str, int, int]] = set()

    def judge_record(self, said: Recorded | DecodeError, meta: Meta) -> list[Finding]:
        """Fold a record of the log and say what does not hold."""
        self.events += 1
        if isinstance(said, DecodeError):
            fold_garbage(self.state, meta, str(said))
            return []
        before = self.judge_before(said.event) or self._judge_wishes(said.event)
        outcome = fold(self.state, said, meta)
        found = []
        if outcome.raised:
            found.append(Finding("rules answer", outcome.dropped))
        if broken := check_invariants(self.state, self._touched):
            found.append(Finding("invariants", f"{broken[0]} after {said.event}"))
        self._touched.clear()
        if outcome.accepted:
            found += self._judge_accepted(said, meta)
            found += [before] if before else []
            self._wishes.accepted(said.event, meta.offset)
        else:
            self.dropped += 1
            self.refused += getattr(said.event, "term", -1) == self._term and said.id not in self._ids
        self._ids.add(said.id)
        self.folded(said, meta, outcome)
        return found

    def _judge_wishes(self, event: Event) -> Finding | None:
        fault = self._wishes.fault(event, self.state)
        return Finding(*fault) if fault else None

    def broken(self) -> str:
        """The first invariant that does not hold, whatever changed; empty if all do, or nothing is new."""
        if self._whole_at == self.state.offset:
            return ""
        self._whole_at = self.state.offset
        return next(iter(check_invariants(self.state)), "")

    def judge_before(self, event: Event) -> Finding | None:
        """What would be wrong with an event if the fold accepts it; the state is the one before it."""
        return self._judge_silence(event) if isinstance(event, e.SourceFellSilent) else None

    def folded(self, said: Recorded, meta: Meta, outcome: Outcome) -> None:
        """For those who judge more: an event was folded."""

    def judge_flood(self, faults: int) -> Finding | None:
        """Whether far more was written than counted, for a run with so many faults."""
        if self.dropped > DROPPED_MAX + DROPPED_PER_FAULT_MAX * faults:
            return Finding("the log is not flooded", f"{self.dropped} of {self.events} records were dropped")
        if self.refused > REFUSED_MAX + faults // 2:
            return Finding("decisions are rarely refused", f"{self.refused} were")
        return None

    def _judge_accepted(self, said: Recorded, meta: Meta) -> list[Finding]:
        found = []
        event = said.event
        if isinstance(event, e.PlannerStarted):
            self._term = meta.offset
        if getattr(event, "term", self._term) != self._term:
            found.append(Finding("decisions count in their term", f"{event} in term {self._term}"))
        if isinstance(event, e.NodeOrdered):
            pool = self.state.pools[event.pool]
            count, most = nodes_in_pool(self.state, event.pool), nodes_max(self.state, pool)
            if count > most:
                found.append(Finding("a pool keeps to its maximum", f"{count} of {most} after {event}"))
        request = getattr(event, "request", "")
        if request and request in self._requests:
            found.append(Finding("a request counts once", f"{event}"))
        self._requests.add(request)
        if isinstance(event, e.PolicyChanged):
            self.policies.append(event.policy)
        return found

    def _judge_silence(self, event: e.SourceFellSilent) -> Finding | None:
        key = (event.source, event.epoch, event.from_offset)
        row = self.state.nodes.get(event.source)
        if key in self._silences and row is not None and not row.silent and row.seen > event.from_offset:
            return Finding("one verdict per silence", str(event))
        self._silences.add(key)
        records = self._heard(event.partition)
        # One policy that justifies it is enough; most often it is the latest.
        claim = claim_of_epoch(self.state, event.source, event.epoch)
        if not all(silence_fault(records, event, policy, claim) for policy in reversed(self.policies)):
            return None
        fault = silence_fault(records, event, self.policies[-1], claim)
        return Finding("silence is justified", f"{fault}: {event}")


class Said(NamedTuple):
    """A record of the log and its place."""

    said: Recorded | DecodeError
    meta: Meta


def fold_said(state: State, record: Said) -> Outcome:
    """Fold a record, garbage included."""
    if isinstance(record.said, DecodeError):
        return fold_garbage(state, record.meta, str(record.said))
    return fold(state, record.said, record.meta)


def judge_split(records: Sequence[Said], whole: State, split: int) -> list[Finding]:
    """A fold that was saved and loaded in between, and reads a few records twice, must end as one in a single go."""
    first = State()
    for record in records[:split]:
        fold_said(first, record)
    second = State()
    saved = [(table, key, encode_row(row)) for table, key, row in first.all_rows()]
    rows = [(table, key, decode_row(table, value)) for table, key, value in saved]
    second.load(rows, offset=first.offset, now_ms=first.now_ms)
    for record in records[max(0, split - 5) :]:
        fold_said(second, record)
    found = []
    if difference := difference_of(second, whole):
        found.append(Finding("one fold", f"split at {split}: {difference}"))
    if broken := check_invariants(second):
        found.append(Finding("invariants", broken[0]))
    return found


def difference_of(one: State, other: State) -> str:
    """The first row in which two states differ, for people; empty if they are equal."""
    left, right = _rows_of(one), _rows_of(other)
    for key in sorted(left.keys() | right.keys()):
        if left.get(key) != right.get(key):
            return f"{key}: {left.get(key)} is not {right.get(key)}"
    return ""


def _rows_of(state: State) -> dict[tuple[str, str], Row]:
    return {(table, key): row for table, key, row in state.all_rows()}


def judge_orders(state: State, standing: dict[str, Orders], *, topic_id: str) -> list[Finding]:
    """The orders that stand must be those that the state asks for, apart from the offset they were computed at."""
    from msgspec.structs import replace

    found = []
    for reporter in [*state.nodes, *state.pools]:
        wanted = orders_for(state, reporter, topic_id=topic_id)
        there = standing.get(reporter)
        if wanted is not None and (there is None or replace(there, as_of=0) != replace(wanted, as_of=0)):
            found.append(Finding("no stale orders", f"orders of {reporter} stand as {there}, not {wanted}"))
    return found
