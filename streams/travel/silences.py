"""Silences that were found in recorded heartbeats, and what each turned out to be. Pure.

Rules:
1. `false`: the source beat again, of the same epoch (registration, generation), after its silence was found.
2. `true`: it did not, and nobody of ours had kept it from it: its agent or provider said that it was gone, it began
   a new epoch by itself, or the recording goes on for another limit without a beat of it.
3. `unknowable`: the platform that was recorded had ended its epoch (declared it down, destroyed or killed it) before
   it could, or the recording ends too soon after.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from sdk.contract.events import SourceKind

#: What became of a silence; open while it is read.
Outcome = Literal["open", "false", "true", "unknowable"]
#: Who ended an epoch: it had gone by itself, or the platform took it away.
End = Literal["gone", "ours"]

#: Two silences of one app begin further apart: no limit is shorter. Source: the range of `silence_limit_ms`.
_ONE_APART_MS = 2_000


class Silence(msgspec.Struct):
    """A silence, as the recording has it or as other rules find it."""

    source: str
    kind: SourceKind
    epoch: int
    partition: int
    #: Heartbeats between which there is no beat of it.
    from_offset: int
    until_offset: int
    #: Append time of the record that decided, ms UTC.
    found_ms: int
    silent_ms: int
    limit_ms: int
    outcome: Outcome = "open"
    #: Append time of the beat that showed it to be false, ms UTC; 0 if there was none.
    returned_ms: int = 0
    #: Apps that are started again because of it.
    restarts: int = 0
    #: Of these, how many go to nodes that are there; the others wait for a new node.
    at_once: int = 0
    #: How long an app is down after the silence is found, ms.
    recovery_ms: int = 0
    #: The rules would wait: the brake, a pause, or the apps had been dealt with.
    held: bool = False

    @property
    def false_restarts(self) -> int:
        """Apps that were started again although their source lived."""
        return self.restarts if self.outcome == "false" else 0

    @property
    def downtime_ms(self) -> int:
        """Time that its apps are down for: until it is found if it was gone, and until they run again."""
        silent_ms = 0 if self.outcome == "false" else self.silent_ms
        return self.restarts * (silent_ms + self.recovery_ms)

    def is_same(self, other: Silence) -> bool:
        """Whether both are one: of one epoch, in stretches that overlap, so that no beat lies between.

        What is known of an app are ages in reports: its silences are also one if they began at the same time.
        """
        if (self.source, self.epoch) != (other.source, other.epoch):
            return False
        begins = [each.found_ms - each.silent_ms for each in (self, other)]
        if self.kind == "app" and abs(begins[0] - begins[1]) < _ONE_APART_MS:
            return True
        return self.from_offset <= other.until_offset and other.from_offset <= self.until_offset


class Judge:
    """The silences that one set of rules finds, followed until it is known what they were."""

    def __init__(self) -> None:
        self.silences: list[Silence] = []
        #: Source -> its newest silence, while a beat may still show it to be false.
        self.open: dict[str, Silence] = {}
        self._ends: dict[str, End] = {}

    def find(self, silence: Silence) -> None:
        """A silence was found."""
        self._close(silence.source)
        self.silences.append(silence)
        self.open[silence.source] = silence

    def hear(self, source: str, epoch: int, at_ms: int) -> None:
        """A source beat; only those in `open` matter."""
        silence = self.open.get(source)
        if silence is None or epoch < silence.epoch:
            return
        if epoch == silence.epoch:
            silence.outcome, silence.returned_ms = "false", at_ms
        self._close(source)

    def end(self, source: str, epoch: int, how: End) -> None:
        """An epoch is over; who ended it first counts."""
        silence = self.open.get(source)
        if silence is not None and silence.epoch == epoch:
            self._ends.setdefault(source, how)

    def finish(self, end_ms: int) -> None:
        """The recording ends."""
        for source, silence in list(self.open.items()):
            if source not in self._ends and end_ms - silence.found_ms < silence.limit_ms:
                silence.outcome = "unknowable"
            self._close(source)

    def _close(self, source: str) -> None:
        silence, how = self.open.pop(source, None), self._ends.pop(source, "gone")
        if silence is not None and silence.outcome == "open":
            silence.outcome = "true" if how == "gone" else "unknowable"


class Totals(msgspec.Struct):
    """One column of what is printed."""

    silences: int = 0
    false: int = 0
    true: int = 0
    unknowable: int = 0
    restarts: int = 0
    false_restarts: int = 0
    #: Restarts that wait for a new node.
    waiting: int = 0
    downtime_ms: int = 0


def totals_of(silences: list[Silence]) -> Totals:
    """The sums over some silences."""
    sums = Totals(silences=len(silences))
    for silence in silences:
        if silence.outcome != "open":
            setattr(sums, silence.outcome, getattr(sums, silence.outcome) + 1)
        sums.restarts += silence.restarts
        sums.false_restarts += silence.false_restarts
        sums.waiting += silence.restarts - silence.at_once
        sums.downtime_ms += silence.downtime_ms
    return sums
