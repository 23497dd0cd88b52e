"""A recording read once: the fold of its events, its silences as recorded, and those that other rules find. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sdk.contract import events as e
from sdk.contract.codec import DecodeError
from sdk.contract.heartbeats import Beat, Heartbeat, Hello, PoolReport, Report, Unchanged
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS
from streams.log_source import Entry, fold_entry
from streams.travel.again import Again, Changes
from streams.travel.recoveries import Recoveries
from streams.travel.silences import End, Judge, Silence
from tables.state import State

#: Tables whose rows say what a watcher has to wait for.
_FOLLOWED = frozenset(["nodes", "pools", "sources", "devices"])

#: A record this much older than one before it shows that the broker's clock was set back; less is two partitions.
STEP_BACK_MS = 1_000


class Found(msgspec.Struct):
    """What a replay of some partitions found."""

    recorded: list[Silence]
    #: By set of rules, in the order given.
    again: list[list[Silence]]
    #: Way -> step of `Recoveries` -> how often.
    recoveries: dict[str, dict[int, int]]
    events: int
    beats: int
    begin_ms: int
    end_ms: int
    #: The policy in force at the end.
    policy: Policy
    #: The broker's clock was set back meanwhile: what was recorded in different partitions is out of order there.
    set_back: bool = False


class Replay:
    """Reads what was recorded, in order."""

    def __init__(
        self, rules: Iterable[Changes], *, state: State | None = None, partitions: Iterable[int] | None = None
    ) -> None:
        self.state = state or State()
        self._changed = self.state.listen()
        self.mine = frozenset(range(WIDE_PARTITIONS) if partitions is None else partitions)
        self.recorded = Judge()
        self.runs = [Again(self.state, changes, self.mine) for changes in rules]
        #: By partition, what reads its heartbeats.
        self._pairs = [[(run, run.watches[number]) for run in self.runs] for number in range(WIDE_PARTITIONS)]
        self.recoveries = Recoveries()
        self._judges = [self.recorded, *(run.judge for run in self.runs)]
        #: Sources whose beats matter to somebody.
        self._awaited: set[str] = set()
        self._silent_before: set[tuple[str, int]] = set()
        #: Whether what is found counts: the stretch has begun.
        self._counts = False
        self.events = self.beats = 0
        self.begin_ms = self.end_ms = 0
        self.set_back = False
        self._shortest_ms = 0
        self._adopt_policies()
        for run in self.runs:
            for partition in self.mine:
                run.caught_up(partition)

    def begin(self, at_ms: int) -> None:
        """The stretch begins: what is silent already is not found again."""
        self._counts, self.begin_ms = True, at_ms
        for source, epoch in _silent_rows(self.state):
            self._silent_before.add((source, epoch))
            self._awaited.add(source)

    def finish(self) -> Found:
        """The stretch ends."""
        for judge in self._judges:
            judge.finish(self.end_ms)
        return Found(
            self.recorded.silences,
            [run.judge.silences for run in self.runs],
            {way: dict(counts) for way, counts in self.recoveries.counts.items()},
            self.events,
            self.beats,
            self.begin_ms,
            self.end_ms,
            self.state.policy,
            self.set_back,
        )

    # --- what watchers ask --------------------------------------------------------------------------

    def was_silent(self, source: str, epoch: int) -> bool:
        """Whether it was silent before the stretch begins, and has not beaten since."""
        return not self._counts or (source, epoch) in self._silent_before

    def await_beat(self, source: str) -> None:
        """Look out for beats of a source."""
        self._awaited.add(source)

    # --- heartbeats ---------------------------------------------------------------------------------

    def beat(self, partition: int, offset: int, append_ms: int, record: Heartbeat | None) -> None:
        """One heartbeat of a partition; None for what could not be decoded."""
        if append_ms > self.end_ms:
            self.end_ms = append_ms
        elif append_ms < self.end_ms - STEP_BACK_MS:
            self.set_back = True
        if self._counts:
            self.beats += 1
        pairs = self._pairs[partition]
        for run, watch in pairs:
            before = len(watch.silent)
            watch.apply(offset, append_ms, record, run.now)
            # Only a tick closes sessions, and what it closes stands last.
            if len(watch.silent) > before:
                run.closed(watch, len(watch.silent) - before, append_ms, self)
        if type(record) is Report:
            self._read_apps(partition, record, append_ms)
        if self._awaited:
            self._hear(record, append_ms)

    def _read_apps(self, partition: int, report: Report, append_ms: int) -> None:
        shortest_ms = self._shortest_ms
        for entry in report.apps:
            if entry.age_ms >= shortest_ms:
                for run, watch in self._pairs[partition]:
                    run.late(watch, report, entry, append_ms, self)

    def _hear(self, record: Heartbeat | None, at_ms: int) -> None:
        match record:
            case Report() | PoolReport() | Unchanged():
                self._heard(record.reporter, record.registration, at_ms)
                for entry in record.apps if isinstance(record, Report) else ():
                    if entry.app in self._awaited and entry.status == "running":
                        for judge in self._judges:
                            silence = judge.open.get(entry.app)
                            if silence is not None and entry.age_ms < silence.limit_ms:
                                judge.hear(entry.app, entry.generation, at_ms)
                        if entry.age_ms < self._shortest_ms:
                            self._silent_before.discard((entry.app, entry.generation))
            case Beat():
                self._heard(record.source, record.epoch, at_ms)
            case Hello():
                row = self.state.nodes.get(record.reporter) or self.state.pools.get(record.reporter)
                if row is not None and row.claim == record.claim:
                    self._heard(record.reporter, row.registration, at_ms)
            case _:
                pass

    def _heard(self, source: str, epoch: int, at_ms: int) -> None:
        if source in self._awaited:
            for judge in self._judges:
                judge.hear(source, epoch, at_ms)
            self._silent_before.discard((source, epoch))
            if not any(source in judge.open for judge in self._judges):
                self._awaited.discard(source)

    # --- events -------------------------------------------------------------------------------------

    def event(self, entry: Entry) -> None:
        """One record of the log."""
        self.events += self._counts
        self.set_back |= entry.append_ms < self.end_ms - STEP_BACK_MS
        self.end_ms = max(self.end_ms, entry.append_ms)
        said: Any = None if isinstance(entry.said, DecodeError) else entry.said.event
        apps = (
            set(self.state.apps_of_node.get(said.node, ())) if isinstance(said, e.NodeDeclaredDown) else set()
        )
        accepted = fold_entry(self.state, entry).accepted
        for table, key in self._changed:
            if table in _FOLLOWED:
                for run in self.runs:
                    run.row_changed(table, key)
        self._changed.clear()
        if isinstance(said, e.PolicyChanged):
            self._adopt_policies()
        if not accepted:
            return
        self.recoveries.see(said, entry.append_ms, apps, self.state)
        self._note_end(said, apps)
        if isinstance(said, e.SourceFellSilent):
            self._note_silence(said, entry.append_ms)

    def _note_silence(self, said: e.SourceFellSilent, at_ms: int) -> None:
        if not self._counts or said.partition not in self.mine:
            return
        silence = Silence(
            said.source,
            said.kind,
            said.epoch,
            said.partition,
            said.from_offset,
            said.until_offset,
            at_ms,
            said.silent_ms,
            said.limit_ms,
        )
        self.recorded.find(silence)
        self.await_beat(said.source)
        # A beat that came while the fact was on its way.
        for _, watch in self._pairs[said.partition][:1]:
            session = watch.sessions.get(said.source)
            if session is not None and session.last_offset > said.until_offset:
                self.recorded.hear(said.source, session.epoch, at_ms)

    def _note_end(self, said: Any, apps: set[str]) -> None:
        """An epoch is over: who ended it, and what the recorded decisions made of its silence."""
        match said:
            case e.NodeDeclaredDown():
                self._note_down(said, apps)
            case e.NodeLeft():
                self._end(said.node, said.registration, "ours")
            case e.NodeExited() if said.node in self.state.nodes:
                self._end(said.node, self.state.nodes[said.node].registration, "gone")
            case e.AppDeclaredDown():
                self._cut_off(said)
                self._end(said.app, said.generation, "ours")
                self._acted(said.app, said.generation, 1)
            case e.AppExited():
                self._end(said.app, said.generation, "gone")
            case e.AppPlaced():
                self._end(said.app, said.replaces, "ours")
            case _:
                pass

    def _note_down(self, said: e.NodeDeclaredDown, apps: set[str]) -> None:
        self._end(said.node, said.registration, "ours" if said.reason == "silent" else "gone")
        self._acted(said.node, said.registration, len(apps))
        for run in self.runs:
            if said.node in run.cut_off:
                run.cut_off[said.node] = said.registration, len(apps)
        for app in apps:
            self._end(app, self.state.apps[app].generation, "ours")

    def _end(self, source: str, epoch: int, how: End) -> None:
        for judge in self._judges:
            judge.end(source, epoch, how)

    def _acted(self, source: str, epoch: int, restarts: int) -> None:
        silence = self.recorded.open.get(source)
        if silence is not None and silence.epoch == epoch:
            silence.restarts = restarts
            at_once = silence.kind == "app" or self.state.policy.on_node_failure == "spread"
            silence.at_once = restarts if at_once else 0

    def _cut_off(self, said: e.AppDeclaredDown) -> None:
        """An app was condemned for its silence: who would have waited longer cannot know what came of it."""
        known = self.recorded.open.get(said.app)
        if said.reason != "silent" or known is None or known.epoch != said.generation:
            return
        for run in self.runs:
            limit_ms = run.policy.silence_limit_ms
            more_ms = max(0, limit_ms - known.silent_ms)
            silence = msgspec.structs.replace(
                known,
                found_ms=known.found_ms + more_ms,
                silent_ms=known.silent_ms + more_ms,
                limit_ms=limit_ms,
                restarts=1,
                at_once=1,
            )
            run.cut_off_app(said.app, silence, self)

    def _adopt_policies(self) -> None:
        for run in self.runs:
            run.adopt_policy()
        self._shortest_ms = min((run.policy.silence_limit_ms for run in self.runs), default=1 << 60)


def _silent_rows(state: State) -> list[tuple[str, int]]:
    """Everything that the log calls silent, with its epoch."""
    nodes = [(row.node, row.registration) for row in state.nodes.values() if row.silent]
    pools = [(pool, row.registration) for pool, row in state.pools.items() if row.silent]
    apps = [(app, row.generation) for app, row in state.apps.items() if row.silent]
    lone = [(source, 0) for source, row in state.sources.items() if row.silent]
    return nodes + pools + apps + lone + [(device, 0) for device, row in state.devices.items() if row.silent]
