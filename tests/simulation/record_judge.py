"""Judges of what the log claims about the heartbeats: each claim is looked up in the records. Part of the simulator.

They keep every heartbeat with the true time of its append, whatever the broker has deleted since, and know when
each event was made. What a worker may not know yet is appended less than `FRESH_MS` before.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from sdk.contract import events as e
from sdk.contract.codec import Recorded
from sdk.contract.heartbeats import Beat, PoolReport, Report, Unchanged
from sdk.contract.policy import Policy
from tables.state import State
from tests.simulation.kafka import Record
from tests.simulation.silence_check import claim_of_epoch, is_beat, meant

if TYPE_CHECKING:
    from tests.simulation.world import World

Fault = tuple[str, str]

#: Who judges has read what was appended this long ago, ms: `FRESH_MS` of the watcher and its clock's drift.
FRESH_MS = 1_010


class RecordJudge:
    """All heartbeats that were ever appended, and what is claimed about them."""

    def __init__(self, world: "World", state: State, policies: list[Policy]) -> None:
        self._world = world
        self._state = state
        self._policies = policies
        self._records: dict[int, list[Record]] = defaultdict(list)
        #: True time of each append, by partition and offset.
        self._arrived: dict[int, list[int]] = defaultdict(list)
        #: (source, epoch) -> true time at which it was heard last.
        self.heard_ms: dict[tuple[str, int], int] = {}
        #: (event id, writer) -> true time at which it was made first.
        self._made_ms: dict[tuple[str, str], int] = {}

    def take(self, record: Record) -> None:
        """A heartbeat was appended."""
        now_ms = self._world.loop.now_ms
        self._records[record.partition].append(record)
        self._arrived[record.partition].append(now_ms)
        match record.value:
            case Report() | PoolReport() | Unchanged() as report:
                self.heard_ms[report.reporter, report.registration] = now_ms
            case Beat() as beat:
                self.heard_ms[beat.source, beat.epoch] = now_ms
            case _:
                pass

    def arrived_ms(self, partition: int, offset: int) -> int:
        """True time at which a record was appended."""
        return self._arrived[partition][offset]

    def made(self, event_id: str, writer: str) -> None:
        """A worker is about to append an event."""
        self._made_ms.setdefault((event_id, writer), self._world.loop.now_ms)

    def records(self, partition: int) -> list[Record]:
        """Every record of a partition, by offset."""
        return self._records.setdefault(partition, [])

    def _known(self, partition: int, offset: int, recorded: Recorded) -> bool:
        """Whether whoever made an event had to know of this record."""
        made_ms = self._made_ms.get((recorded.id, recorded.writer))
        return made_ms is not None and self._arrived[partition][offset] < made_ms - FRESH_MS

    # --- verdicts -----------------------------------------------------------------------------------

    def fault(self, recorded: Recorded) -> Fault | None:
        """What is wrong with an event that the fold is about to accept."""
        event = recorded.event
        match event:
            case e.SourceFellSilent(kind="app"):
                return self._stale_report(recorded, event)
            case e.SourceFellSilent():
                return self._stale_silence(recorded, event)
            case e.NodeDeclaredDown(fence=e.Position() as fence):
                return self._unread(recorded, fence) or self._over(event, fence)
            case e.AppDeclaredDown(fence=e.Position() as fence):
                return self._unread(recorded, fence) or self._not_late(event, fence)
            case e.AppDeclaredDown(reason="never-beat"):
                return self._has_beaten(recorded, event)
            case e.AppPlaced(fence=e.Position() as fence):
                return self._unread(recorded, fence)
            case e.NodeDeclaredDown(reason="silent" | "confirmed"):
                return "a verdict cites its fence", str(event)
            case _:
                return None

    def _unread(self, recorded: Recorded, fence: e.Position) -> Fault | None:
        """The fence is the end of the partition as of less than a second ago."""
        after = fence.offset + 1
        if after < len(self.records(fence.partition)) and self._known(fence.partition, after, recorded):
            return "who decides has read to the end", f"{recorded.event}: record {after} was there"
        return None

    def _over(self, event: e.NodeDeclaredDown, fence: e.Position) -> Fault | None:
        """At the fence the silence still held: no beat since it was seen, or one that is over the limit too."""
        seen = self._state.nodes[event.node].seen
        claim = claim_of_epoch(self._state, event.node, event.registration)
        records = self.records(fence.partition)
        for at in range(min(fence.offset, len(records) - 1), max(seen, 0), -1):
            if is_beat(records[at].value, event.node, event.registration, claim):
                passed = self._clock_between(fence.partition, at, fence.offset)
                if all(passed[number] <= each.silence_limit_ms for number, each in enumerate(self._policies)):
                    return "no act on a silence that is over", f"{event}: it beat at {at}"
                return None
        return None

    def _clock_between(self, partition: int, begin: int, end: int) -> list[int]:
        """Log clock between two offsets, under each policy there was."""
        records = self.records(partition)
        steps = [records[at].timestamp - records[at - 1].timestamp for at in range(begin + 1, end + 1)]
        return [
            sum(min(max(step, 0), policy.clock_step_max_ms) for step in steps) for policy in self._policies
        ]

    def _not_late(self, event: e.AppDeclaredDown, fence: e.Position) -> Fault | None:
        """The newest report up to the fence says that the app is late."""
        row = self._state.nodes[self._state.apps[event.app].node]
        records = self.records(fence.partition)
        # It may have registered anew, without a break, while the verdict was on its way; a ghost of what it was
        # before that may speak after it, and nobody believes that any more.
        reports = [
            (report.registration, at, report)
            for at in range(min(fence.offset, len(records) - 1) + 1)
            if (report := meant(records, at)) is not None
            and report.reporter == row.node
            and row.lineage <= report.registration <= row.registration
        ]
        if not reports:
            return "no act on a silence that is over", f"{event}: no report says so"
        _, at, report = max(reports, key=lambda each: each[:2])
        ages = [
            entry.age_ms
            for entry in report.apps
            if (entry.app, entry.generation) == (event.app, event.generation)
            and entry.status in ("starting", "running")
        ]
        late = [age for age in ages if any(age >= each.silence_limit_ms for each in self._policies)]
        return None if late else ("no act on a silence that is over", f"{event}: not by record {at}")

    def _stale_silence(self, recorded: Recorded, event: e.SourceFellSilent) -> Fault | None:
        """A silence that a beat ended is no fact any more to who has read it."""
        records = self.records(event.partition)
        claim = claim_of_epoch(self._state, event.source, event.epoch)
        for at in range(event.until_offset + 1, len(records)):
            if not self._known(event.partition, at, recorded):
                break
            if is_beat(records[at].value, event.source, event.epoch, claim):
                return "no silence that is known to be over", f"{event}: it beat at {at}"
        return None

    def _stale_report(self, recorded: Recorded, event: e.SourceFellSilent) -> Fault | None:
        """What a report says is no fact any more to who has read a newer one."""
        records = self.records(event.partition)
        node = getattr(records[event.until_offset].value, "reporter", "")
        for at in range(event.until_offset + 1, len(records)):
            if not self._known(event.partition, at, recorded):
                break
            report = meant(records, at)
            if report is None or report.reporter != node:
                continue
            if report.registration >= self._state.nodes[node].registration and any(
                (entry.app, entry.generation) == (event.source, event.epoch)
                and entry.age_ms < min(each.silence_limit_ms for each in self._policies)
                for entry in report.apps
            ):
                return "no silence that is known to be over", f"{event}: it beat by record {at}"
        return None

    def _has_beaten(self, recorded: Recorded, event: e.AppDeclaredDown) -> Fault | None:
        """An app whose newest reports all say that it runs has beaten."""
        row = self._state.nodes.get(self._state.apps[event.app].node)
        if row is None:
            return None
        records = self.records(row.partition)
        for at in range(len(records) - 1, max(-1, len(records) - 400), -1):
            report = meant(records, at)
            if report is not None and (report.reporter, report.registration) == (
                row.node,
                row.registration,
            ):
                runs = any(
                    (entry.app, entry.generation, entry.status) == (event.app, event.generation, "running")
                    for entry in report.apps
                )
                if not runs:
                    return None
                if self._known(row.partition, at, recorded):
                    return "no act on a silence that is over", f"{event}: it runs by record {at}"
        return None
