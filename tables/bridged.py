"""How a source is judged whose beats a bridge reads in a topic of its own. Pure.

Nothing of such a source is known while nobody reads its topic, so its silence must not accrue then. Rules:

1. A bridge says in its ticks that it has read the topics to their end (`Tick.bridged`). These ticks have a clock of
   their own: it advances by the log clock between two of them, by one largest step at most.
2. A step that was cut there, or on the log clock, starts settling as it does for everybody else: when a topic can be
   read again its client has to come back too.
3. A session of such a source is closed only by a tick of a bridge that knew of its expectation, once it is over the
   limit on both clocks.
4. What such a tick says may be `BRIDGE_LAG_MS` old, so everybody gets that much on top of the limit.
"""

import msgspec

from sdk.contract.heartbeats import Beat
from sdk.contract.policy import Policy

#: How old the reading may be that a tick speaks of: two ticks.
BRIDGE_LAG_MS = 500
#: Before any step was cut: so long ago that it postpones nothing.
NEVER_MS = -(1 << 60)


class Bridging(msgspec.Struct):
    """What a watch keeps of a source whose topic a bridge reads."""

    #: Offset of the newest `SourceExpected` that is known of.
    expectation: int
    #: Clock of the bridges at its last beat, or where waiting for one began.
    last_ms: int
    #: Nobody expects it any more: it is judged by its own beats, like any other.
    is_over: bool = False
    #: It has not beaten since waiting began: the session's `last_offset` is no beat.
    waits: bool = False
    #: The expectation that its last beat was bridged for, 0 if it wrote that itself.
    beat_for: int = 0
    #: Records that its topic had had at the last bridged beat of this expectation, 0 before the first.
    number: int = 0
    #: Silence after which it is found, ms; 0: the policy's.
    limit_ms: int = 0

    def hear(self, beat: Beat, clock_ms: int) -> None:
        """A beat of the source, its own or bridged."""
        if beat.expectation > self.expectation:
            self.expectation, self.is_over = beat.expectation, False
        if beat.expectation == self.expectation:
            self.number = beat.number
        self.last_ms, self.waits, self.beat_for = clock_ms, False, beat.expectation

    def end(self) -> None:
        """Nobody expects it any more; beats that are still on their way belong to an expectation that is over."""
        if not self.is_over:
            self.is_over = True
            self.expectation += 1


class BridgeClock(msgspec.Struct):
    """The clock of the ticks that speak for bridges, in one partition."""

    clock_ms: int = 0
    #: Clock after the last step that was cut.
    cut_ms: int = NEVER_MS
    #: Log clock at the last such tick.
    seen_ms: int | None = None

    def advance(self, now_ms: int, log_cut_ms: int, policy: Policy) -> None:
        """A bridge has read to the end: `now_ms` and `log_cut_ms` are the log clock and its last cut."""
        if self.seen_ms is not None:
            step_ms = now_ms - self.seen_ms
            self.clock_ms += min(step_ms, policy.clock_step_max_ms)
            if step_ms > policy.clock_step_max_ms or log_cut_ms > self.seen_ms:
                self.cut_ms = self.clock_ms
        self.seen_ms = now_ms

    def left_ms(self, bridging: Bridging, limit_ms: int, policy: Policy) -> int:
        """Time until the source is over the limit on this clock, settling counted in; negative if it is."""
        plain = bridging.last_ms + limit_ms + BRIDGE_LAG_MS
        settled = min(self.cut_ms + policy.settling_ms, plain + policy.settling_in_all_ms)
        return max(plain, settled) - self.clock_ms
