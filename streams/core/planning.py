"""The planner's shell: leadership and terms, decisions in flight, timers. Shell.

Rules (DESIGN 5):
1. A worker leads while the last `PlannerStarted` in its fold carries its writer id and it owns the requests
   partition; while it owns and does not lead, it appends again after 1 to 1.5 s.
2. A batch of decisions is appended, read back whole, and only then is decided again.
3. An append with an unknown outcome starts a new term: what may still arrive of the old one does not count.
"""

import logging
import random
import time

from aiokafka.errors import KafkaError

from sdk.contract.events import PlannerStarted
from sdk.contract.ids import derive_id
from streams.core.appender import Appender, decision_id
from tables.decide import decide
from tables.fold import FOLD_VERSION
from tables.state import State
from tables.timers import Timers
from tables.watcher import Watcher

_log = logging.getLogger(__name__)

#: Pause before another try to lead, s: the lower bound and how much chance adds. Source: DESIGN 5.
CLAIM_AGAIN_S = (1.0, 0.5)
#: A decision may race with a fact or a request and be dropped. After this many batches in a row with one, the core
#: disagrees with itself, and a loop would fill the log: then it pauses this long, s.
REFUSED_MAX = 3
REFUSED_PAUSE_S = 1.0


#: Decisions of one batch; what is left is decided from what was read back, as after a crash between two of them. So
#: many are written and acknowledged in a fraction of a second, on a busy machine too: with thousands at once the last
#: were not acknowledged within the 3 s that a request may take, which is an unknown outcome and a new term.
BATCH_MAX = 500


class Planning:
    """Whether this worker leads, and what it has decided."""

    def __init__(self, state: State, watcher: Watcher, appender: Appender) -> None:
        self._state = state
        self._watcher = watcher
        self._appender = appender
        self._timers = Timers(state)
        #: Set by the Faust side: whether this worker owns the requests partition, and whether it may claim a
        #: term. During a rebalance a leader goes on leading, but nobody claims.
        self.owns = False
        self.may_claim = False
        self._claims = 0
        self._claim_at_s = 0.0
        self._claiming = False
        self._flight: set[str] = set()
        self._appending = False
        self._doubt = False
        self._paused_until_s = 0.0
        #: Batches in a row in which a decision was dropped, and whether the one in flight has one.
        self._refusals = 0
        self._refused = False
        #: Term that this worker has begun to act in.
        self._acting_in = -1
        #: Id of the last record folded: the cause of what is decided from it.
        self.last_id = ""

    @property
    def leads(self) -> bool:
        """Whether decisions of this worker count, as far as it has read."""
        return self.owns and not self._doubt and self._state.term.writer == self._appender.writer

    @property
    def is_deciding(self) -> bool:
        """Whether a batch of decisions is on its way to the log or back."""
        return self._appending or bool(self._flight)

    def read_back(self, event_id: str, *, accepted: bool, reason: str) -> None:
        """One record was folded."""
        self.last_id = event_id
        if event_id in self._flight:
            self._flight.discard(event_id)
            self._refused |= not accepted
            if not accepted and self.leads:
                _log.info("the fold dropped a decision of the term in force: %s", reason)
            if not self._flight:
                self._batch_read()

    def _batch_read(self) -> None:
        """The whole batch was folded."""
        self._refusals = self._refusals + 1 if self._refused else 0
        self._refused = False
        if self._refusals >= REFUSED_MAX and self.leads:
            _log.warning("decisions were dropped %d times in a row; pausing", self._refusals)
            self._paused_until_s = time.monotonic() + REFUSED_PAUSE_S

    def term_read(self, event: PlannerStarted) -> bool:
        """A `PlannerStarted` counted; whether this worker begins to lead."""
        self._flight.clear()
        if event.writer != self._appender.writer:
            return False
        self._doubt = False
        self._timers.restart()
        return self.owns

    def turn(self, elapsed_ms: int) -> None:
        """One turn of the core's loop: claim, or decide, as far as nothing is under way."""
        self._timers.advance(elapsed_ms)
        now_s = time.monotonic()
        if self.owns and self.may_claim and not self.leads:
            self._claim(now_s)
        if not self.leads or self.is_deciding or now_s < self._paused_until_s:
            return
        fired = self._timers.fire()[:BATCH_MAX]
        events = [*fired, *decide(self._state, self._watcher, most=BATCH_MAX - len(fired))]
        if not events:
            return
        based_on = self._state.offset
        batch = [
            (decision_id(event, based_on=based_on, place=place), event, self.last_id)
            for place, event in enumerate(events)
        ]
        self._flight = {event_id for event_id, _, _ in batch}
        self._appending = True
        self._appender.later(self._append(batch))

    async def _append(self, batch: list) -> None:  # type: ignore[type-arg]
        try:
            await self._appender.append(batch)
        except KafkaError as error:
            _log.warning("a decision was not acknowledged (%r): starting a new term", error)
            self._doubt = True
        finally:
            self._appending = False

    def _claim(self, now_s: float) -> None:
        if now_s < self._claim_at_s or self._claiming:
            return
        self._claims += 1
        self._claiming = True
        low, chance = CLAIM_AGAIN_S
        self._claim_at_s = now_s + low + random.random() * chance  # noqa: S311  # spreads two claimants
        event = PlannerStarted(self._appender.writer, FOLD_VERSION)
        event_id = derive_id("planner-started", self._appender.writer, self._claims)
        self._appender.later(self._append_claim(event_id, event))

    async def _append_claim(self, event_id: str, event: PlannerStarted) -> None:
        try:
            await self._appender.append([(event_id, event, "")])
        finally:
            self._claiming = False
