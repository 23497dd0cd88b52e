"""One turn of a worker: what the log lacks, what is due, what is to be published, in this order. Shell.

The core thread and the simulated worker both turn here, so that what is simulated is what runs. It waits for nothing
and reads nothing itself: readers hand it records, and it hands its writes to the appender.
"""

import logging
from typing import Any, Protocol

from sdk.contract.codec import DecodeError, decode_event
from sdk.contract.events import FoldHashed, PlannerStarted
from sdk.contract.heartbeats import Tick
from streams.core import monotonic
from streams.core.admission import Admission
from streams.core.appender import Appender
from streams.core.controls import Controls
from streams.core.hashing import HASH_EVERY, Hashing
from streams.core.letters import Letters
from streams.core.planning import Planning
from streams.core.publisher import Publisher
from tables.facts import Fact, FactOutbox, find_facts
from tables.fold import Meta, fold, fold_garbage
from tables.state import State
from tables.watcher import Watcher

_log = logging.getLogger(__name__)

#: A leader whose ticks are acknowledged but not read back for this long ends its process, ms. Source: DESIGN 5.
BLIND_MS = 5_000
#: Orders wait at most so long for decisions that are on their way, ms, and longer while looking through them takes
#: more than a tenth of the time. In a flood of requests there are some decisions in every turn; apps whose orders
#: nobody wrote were declared down as never heard, and placed again, without end.
PUBLISH_WITHIN_MS = (250, 1_000)
PUBLISH_SHARE = 0.1


class Clockwork(Protocol):
    """What the round asks of the ticker."""

    #: Per partition: when the broker acknowledged a tick last, and when it began to again after a pause.
    acknowledged_ms: list[int]
    resumed_ms: list[int]

    def read(self, partition: int, tick: Tick) -> int | None:
        """A tick was read: when it was sent if it is ours."""
        ...


class BlindError(RuntimeError):
    """A leader can write to a partition but has not read to its end for too long."""


class Round:
    """The turns of one worker and the records that come in between."""

    def __init__(
        self,
        *,
        state: State,
        watcher: Watcher,
        planning: Planning,
        publisher: Publisher,
        controls: Controls,
        letters: Letters,
        admission: Admission,
        ticker: Clockwork,
        appender: Appender,
        heartbeats_id: str,
        hash_every: int = HASH_EVERY,
    ) -> None:
        self._state = state
        self._watcher = watcher
        self._planning = planning
        self._publisher = publisher
        self._controls = controls
        self._letters = letters
        self._admission = admission
        self._ticker = ticker
        self._appender = appender
        self._heartbeats_id = heartbeats_id
        self._rows_changed = state.listen()
        self._hashing = Hashing(state, appender, every=hash_every)
        self.outbox = FactOutbox()
        #: When orders were looked through last, on the shell's clock.
        self._published_ms = 0
        self._publish_within_ms = PUBLISH_WITHIN_MS[0]
        #: What the log lacked in the last turn.
        self.facts: list[Fact] = []

    # --- records ------------------------------------------------------------------------------------

    def fold(self, record: Any) -> None:
        """Fold one record of the log."""
        meta = Meta(record.offset, record.timestamp)
        try:
            recorded = decode_event(record.value)
        except DecodeError as error:
            fold_garbage(self._state, meta, str(error))
            self._letters.meet(record, str(error))
            return
        outcome = fold(self._state, recorded, meta)
        if outcome.raised:
            self._letters.meet(record, outcome.dropped)
        self.outbox.read_back(recorded.id, accepted=outcome.accepted)
        if (
            outcome.accepted
            and isinstance(recorded.event, PlannerStarted)
            and self._planning.term_read(recorded.event)
        ):
            _log.info("leading from term %d on", meta.offset)
            self._publisher.begin_term()
            self._controls.begin_term()
        if isinstance(recorded.event, FoldHashed):
            self._hashing.read(recorded.event)
        self._planning.read_back(recorded.id, accepted=outcome.accepted, reason=outcome.dropped)

    def follow_rows(self) -> None:
        """Let the watcher follow what was folded."""
        for table, key in self._rows_changed:
            self._watcher.row_changed(table, key)
        self._rows_changed.clear()

    def hear_tick(self, partition: int, tick: Tick) -> None:
        """A tick was read: if it is ours, the partition was read up to the moment at which it was sent."""
        sent_ms = self._ticker.read(partition, tick)
        if sent_ms is not None:
            first = partition not in self._watcher.fresh_at_ms
            self._watcher.fresh_at_ms[partition] = sent_ms
            if first:
                self._watcher.caught_up(partition)

    # --- the turn -----------------------------------------------------------------------------------

    def turn(self, now_ms: int, elapsed_ms: int, *, back_at_end: bool) -> None:
        """Write the facts that the log lacks, decide, and publish what follows.

        Args:
            now_ms: The shell's clock; `elapsed_ms` since the last turn.
            elapsed_ms: See there.
            back_at_end: Whether what was published before has been read to its end.

        Raises:
            BlindError: this worker leads and must not go on.
        """
        self._watcher.now_ms = now_ms
        leads = self._planning.leads
        self.facts = find_facts(self._watcher, topic_id=self._heartbeats_id, leads=leads)
        if leads:
            self.facts += self._controls.facts()
        is_part = self._watcher.slices.is_over
        self._write_facts(self.outbox.due(self.facts, now_ms=now_ms, leads=leads, is_part=is_part))
        self._planning.turn(elapsed_ms)
        self._hashing.turn(leads=leads, cause=self._planning.last_id)
        if leads and back_at_end:
            # What is being decided changes the same orders; half of it would only be written twice.
            if not self._planning.is_deciding or now_ms - self._published_ms >= self._publish_within_ms:
                self._publish(now_ms)
            self._letters.write()
            self._admission.rescue(now_ms)
            self._check_sight(now_ms)
        else:
            self._publisher.follow()
            self._controls.follow()

    def _publish(self, now_ms: int) -> None:
        self._published_ms = now_ms
        began_ms = monotonic.now_ms()
        self._publisher.publish()
        self._controls.publish()
        low, high = PUBLISH_WITHIN_MS
        self._publish_within_ms = min(max(low, int((monotonic.now_ms() - began_ms) / PUBLISH_SHARE)), high)

    def _write_facts(self, facts: list[Fact]) -> None:
        if not facts:
            return
        cause = self._planning.last_id
        batch = [(fact.event_id, fact.event, cause) for fact in facts]
        self._appender.later(self._appender.append(batch))  # type: ignore[arg-type]

    def _check_sight(self, now_ms: int) -> None:
        """End a leader that can write to a partition but has not read to its end for too long."""
        for partition, acked_ms in enumerate(self._ticker.acknowledged_ms):
            # After an outage the reader may come back later than the writer: that time counts from there.
            resumed_ms = self._ticker.resumed_ms[partition]
            fresh_ms = max(self._watcher.fresh_at_ms.get(partition, now_ms), resumed_ms)
            if acked_ms - fresh_ms > BLIND_MS and now_ms - acked_ms < BLIND_MS:
                raise BlindError(f"heartbeat partition {partition} was not read to its end for {BLIND_MS} ms")
