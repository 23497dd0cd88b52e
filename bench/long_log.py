"""A long log for benches: a platform with nodes and apps on which something always goes wrong, event by event.

Every record is one that a platform would write, in an order that the fold accepts: apps exit and are placed anew,
fall silent and return, nodes die and are ordered and registered again. The fold itself says what may come next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from sdk.contract import events as e
from sdk.contract.codec import encode_event
from sdk.contract.ids import derive_id, node_id
from sdk.contract.specs import AppSpec
from streams.log_source import Entry, entry_of, fold_entry
from tables.fold import FOLD_VERSION
from tables.state import State

START_MS = 1_700_000_000_000
POOL = "pool-local"
_SLOTS = 4
#: Nodes die this often among what happens; the rest are failures of apps. Each brings about 16 events.
_DEATHS = 0.02


class LongLog:
    """Entries of a log that goes on as long as somebody asks."""

    def __init__(self, *, nodes: int, apps: int, seed: int = 1, step_ms: int = 100) -> None:
        self._chance = random.Random(seed)
        self.state = State()
        self._now_ms = START_MS
        self._step_ms = step_ms
        self._nodes, self._apps = nodes, apps
        self._term = -1
        self._port = 8_081
        self._heard = 0

    def entries(self, count: int) -> Iterator[Entry]:
        """The first `count` entries."""
        for made, entry in enumerate(self._all()):
            if made == count:
                return
            yield entry

    def _all(self) -> Iterator[Entry]:
        yield from self._begin()
        apps = list(self.state.apps)
        while True:
            if self._chance.random() < _DEATHS:
                yield from self._lose_node()
            elif self._chance.random() < 0.5:
                yield from self._disturb(self._chance.choice(apps))
            else:
                yield from self._restart(self._chance.choice(apps))

    def _begin(self) -> Iterator[Entry]:
        self._term = self._offset
        yield self._add(e.PlannerStarted("writer-1", FOLD_VERSION))
        yield self._add(e.PoolConfigured("request-pool", POOL, self._nodes, _SLOTS, nodes_max=50_000))
        yield self._add(e.ProvisionerRegistered(POOL, "claim-pool", 0, "boot", self._place()))
        for _ in range(self._nodes):
            yield from self._order_node("", 0)
        nodes = list(self.state.nodes)
        for number in range(self._apps):
            app = f"application-{number}"
            yield self._add(
                e.AppSubmitted(f"request-{app}", AppSpec(app, ["python3", "app.py", str(number)]))
            )
            yield from self._put(app, nodes[number % len(nodes)], "new")

    def _order_node(self, replaces: str, lineage: int) -> Iterator[Entry]:
        self._port += 1
        order, port = self._offset, self._port % 60_000 + 1_024
        node = node_id(f"10.{self._port // 60_000}.0.1", port)
        words: dict[str, Any] = {"replaces": replaces, "replaces_lineage": lineage}
        yield self._add(e.NodeOrdered(**self._made(), pool=POOL, slots=_SLOTS, port_floor=0, **words))
        ip = node.removeprefix("node-").partition("_")[0]
        claim, place = f"claim-{self._port}", self._place()
        yield self._add(
            e.NodeRegistered(node, claim, order, 0, ip, port, POOL, _SLOTS, ["process"], "boot", place)
        )

    def _put(self, app: str, node: str, reason: str) -> Iterator[Entry]:
        row, generation = self.state.apps[app], self._offset
        registration = self.state.nodes[node].registration
        ranking = [e.NodeScore(node, cost=250, cpu_permille=120, memory_permille=300, measured=self._place())]
        yield self._add(
            e.AppPlaced(
                **self._made(wake_ms=30_000),
                app=app,
                node=node,
                registration=registration,
                replaces=row.generation,
                reason=reason,  # type: ignore[arg-type]
                ranking=ranking,
            )
        )
        yield self._add(e.AppStarted(app, generation, node, self._place()))

    def _restart(self, app: str) -> Iterator[Entry]:
        row = self.state.apps[app]
        yield self._add(
            e.AppExited(app, row.generation, row.node, "exited", self._place(), 1, "exited with 1")
        )
        yield from self._put(app, row.node, "failure")

    def _disturb(self, app: str) -> Iterator[Entry]:
        row, at = self.state.apps[app], self._place()
        silence = e.SourceFellSilent(
            app, "app", row.generation, "topic", at.partition, at.offset, at.offset + 9, 10_012, 10_000
        )
        yield self._add(silence)
        yield self._add(
            e.SourceReturned(app, "app", row.generation, "topic", at.partition, self._place().offset + 9)
        )

    def _lose_node(self) -> Iterator[Entry]:
        node = self._chance.choice(sorted(self.state.live_nodes[POOL]))
        row, at = self.state.nodes[node], self._place()
        apps = sorted(self.state.apps_of_node.get(node, ()))
        silence = e.SourceFellSilent(
            node, "node", row.registration, "topic", at.partition, at.offset, at.offset + 9, 10_012, 10_000
        )
        yield self._add(silence)
        yield self._add(
            e.NodeDeclaredDown(
                **self._made(), node=node, registration=row.registration, reason="silent", destroy=False
            )
        )
        yield from self._order_node(node, row.lineage)
        new = next(reversed(self.state.nodes))
        for app in apps:
            yield from self._put(app, new, "node-down")

    @property
    def _offset(self) -> int:
        return self.state.offset + 1

    def _place(self) -> e.Position:
        self._heard += 10
        return e.Position(self._heard // 10 % 8, self._heard)

    def _made(self, wake_ms: int = 0) -> dict[str, Any]:
        return {"term": self._term, "based_on": self.state.offset, "policy": -1, "wake_ms": wake_ms}

    def _add(self, event: e.Event) -> Entry:
        self._now_ms += self._step_ms
        raw = encode_event(
            event,
            event_id=derive_id("long", self._offset),
            cause=derive_id("long", self._offset - 1),
            writer="worker/one/0123456789ab",
            at_ms=self._now_ms - 2,
        )
        entry = entry_of(self._offset, self._now_ms, raw)
        outcome = fold_entry(self.state, entry)
        assert outcome.accepted, outcome.dropped
        return entry
