"""Recorded heartbeats and events decided again, with the live watcher, fold and planner under other rules. Pure.

Rules:
1. One fold of the recorded log for all; one live watcher (`tables.watcher`) per set of rules. They read what was
   recorded once, in the order of append times.
2. The recording belongs to the old decisions: what they destroyed says nothing more. So a node that they declared down
   for its silence is waited for until the other rules would have found it too.
3. Every silence is judged on its own, against the beats that were recorded after it (`streams.travel.silences`).
4. Partitions are independent: a replay of some of them finds what a replay of all finds there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Protocol

import msgspec

from sdk.contract.events import Position, SourceKind
from sdk.contract.heartbeats import AppEntry, Report
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from streams.travel.replanning import replan
from streams.travel.silences import Judge, Silence
from tables.silence import PartitionWatch
from tables.state import State, is_hosted
from tables.watcher import Watcher, is_late

#: Changes of a policy, by key.
Changes = Mapping[str, int | bool | str]


class Begun(Protocol):
    """The replay that a watcher is part of."""

    def was_silent(self, source: str, epoch: int) -> bool:
        """Whether it was silent before the stretch begins, and has not beaten since."""

    def await_beat(self, source: str) -> None:
        """Look out for beats of a source."""


class Again(Watcher):
    """The live watcher under other rules, with the verdicts that it comes to."""

    def __init__(self, state: State, changes: Changes, partitions: Iterable[int]) -> None:
        super().__init__(state)
        self.changes = dict(changes)
        self.mine = frozenset(partitions)
        self.judge = Judge()
        #: The policy that was in force, with the changes.
        self.now = state.policy
        #: Nodes that the recorded decisions declared down before these rules found them -> registration, apps then.
        self.cut_off: dict[str, tuple[int, int]] = {}
        self.adopt_policy()
        for partition in range(WIDE_PARTITIONS):
            self.begin(PartitionWatch(partition, begin=0))
            # What was recorded is read in order, so nobody is ever behind.
            self.fresh_at_ms[partition] = 0

    def adopt_policy(self) -> None:
        """Lay the changes over the policy that is in force now."""
        self.now = msgspec.structs.replace(self.state.policy, **self.changes)

    @property
    def policy(self) -> Policy:
        """The policy that was in force, with the changes."""
        return self.now

    def confirm_heard(self, node: str) -> Position | None:
        """As live; nodes of other partitions are taken for heard, somebody else replays them."""
        partition = partition_of(node)
        return super().confirm_heard(node) if partition in self.mine else Position(partition, 0)

    def knows(self, node: str) -> bool:
        """As live; the same."""
        return partition_of(node) not in self.mine or super().knows(node)

    def _node_changed(self, key: str) -> None:
        row = self.state.nodes[key]
        watch = self.watches[row.partition]
        session = watch.sessions.get(key)
        waits = session is not None and session.epoch == row.registration and key not in watch.silent
        if row.status == "down" and row.down_reason == "silent" and waits and key not in self.judge.open:
            self.cut_off.setdefault(key, (row.registration, 0))
            return
        if row.status == "active":
            self.cut_off.pop(key, None)
        super()._node_changed(key)

    # --- verdicts -----------------------------------------------------------------------------------

    def closed(self, watch: PartitionWatch, count: int, append_ms: int, begun: Begun) -> None:
        """The newest `count` sessions that a tick closed."""
        for source in list(islice(reversed(watch.silent), count)):
            verdict = watch.silent[source]
            kind = self._kind_in_force(source, verdict.epoch)
            if kind is None or begun.was_silent(source, verdict.epoch):
                continue
            silence = Silence(
                source,
                kind,
                verdict.epoch,
                watch.partition,
                verdict.from_offset,
                verdict.until_offset,
                append_ms,
                verdict.silent_ms,
                verdict.limit_ms or self.policy.silence_limit_ms,
            )
            row = self.state.nodes.get(source)
            cut = self.cut_off.pop(source, None)
            if cut is None:
                replan(self, silence)
            self._count(silence, begun)
            if cut is not None and row is not None:
                silence.restarts = cut[1]
                self.judge.end(source, verdict.epoch, "ours")
                watch.forget(source, claim=row.claim)

    def cut_off_app(self, app: str, silence: Silence, begun: Begun) -> None:
        """The recorded decisions condemned an app that these rules had not found yet."""
        if app not in self.judge.open:
            self._count(silence, begun)
            self.judge.end(app, silence.epoch, "ours")

    def late(
        self, watch: PartitionWatch, report: Report, entry: AppEntry, append_ms: int, begun: Begun
    ) -> None:
        """An app whose age in a report that was just read may be over the limit."""
        policy, row = self.policy, self.state.apps.get(entry.app)
        known = self.judge.open.get(entry.app)
        if row is None or row.generation != entry.generation or row.phase == "placed":
            return
        if (known is not None and known.epoch == entry.generation) or not is_late(entry, policy):
            return
        if begun.was_silent(entry.app, entry.generation):
            return
        node = self.state.nodes.get(report.reporter)
        if node is None or node.registration != report.registration or not is_hosted(self.state, row):
            return
        offset = watch.next_offset - 1
        beat = watch.app_beats.get((entry.app, entry.generation), offset)
        silence = Silence(
            entry.app,
            "app",
            entry.generation,
            watch.partition,
            beat,
            offset,
            append_ms,
            entry.age_ms,
            policy.silence_limit_ms,
        )
        replan(self, silence)
        self._count(silence, begun)

    def _count(self, silence: Silence, begun: Begun) -> None:
        self.judge.find(silence)
        begun.await_beat(silence.source)

    def _kind_in_force(self, source: str, epoch: int) -> SourceKind | None:
        """What a source is, if the log expects beats of this epoch; None if it does not."""
        node = self.state.nodes.get(source)
        if node is not None and node.registration == epoch:
            return "node" if node.status == "active" or source in self.cut_off else None
        pool = self.state.pools.get(source)
        if pool is not None and pool.registration == epoch:
            return "pool"
        if epoch == 0 and source in self.state.sources:
            return "lone"
        device = self.state.devices.get(source)
        return "sensor" if epoch == 0 and device is not None and device.expectation else None
