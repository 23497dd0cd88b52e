"""Reads a whole log back and says whether two copies of an app were ever accepted at one offset. Pure.

Beside the simulator's rules of the log (`tests.simulation.log_rules`):

1. An event about a copy counts only if that copy is the one in force at its offset; about a node, its registration.
2. The next copy is placed only over the one in force.
3. At no offset do the orders of two nodes, as the fold gives them, name one app.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from bench.auditing.recorded import Topics
from sdk.contract import events as e
from sdk.contract.codec import Recorded
from sdk.contract.events import Event
from sdk.contract.heartbeats import Report
from sdk.contract.orders import NodeOrders
from tables.fold import Meta, Outcome
from tables.orders import orders_for
from tests.simulation.log_rules import Finding, LogRules

_RULE: Final = "one copy is accepted"


class Acceptance(LogRules):
    """Folds a log and notes who was accepted beside whom."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(lambda partition: topics.heartbeats[partition])
        self._topics = topics
        #: App -> generation -> append time of its placing, oldest first.
        self._placed: dict[str, dict[int, int]] = {}
        self.findings: list[Finding] = []

    def judge(self) -> list[Finding]:
        """Everything that does not hold."""
        for record in self._topics.events:
            self.findings += self.judge_record(record.said, record.meta)
        return self.findings

    def judge_before(self, event: Event) -> Finding | None:
        """What it would mean if the fold accepts an event."""
        return super().judge_before(event) or self._judge_epoch(event)

    def folded(self, said: Recorded, meta: Meta, outcome: Outcome) -> None:
        """An accepted event may have changed who is ordered where."""
        if not outcome.accepted:
            return
        if isinstance(said.event, e.AppPlaced):
            self._placed.setdefault(said.event.app, {})[meta.offset] = meta.append_ms
        self.findings += self._judge_orders(meta.offset)

    def _judge_epoch(self, event: Event) -> Finding | None:
        app, epoch = _copy_of(event)
        row, node = self.state.apps.get(app), self.state.nodes.get(app)
        in_force = row.generation if row else node.registration if node else None
        if epoch is None or in_force is None or epoch == in_force:
            return None
        return Finding(_RULE, f"{event} while {in_force} is in force")

    def _judge_orders(self, offset: int) -> list[Finding]:
        named: dict[str, list[str]] = {}
        for node in self.state.nodes:
            orders = orders_for(self.state, node, topic_id="")
            if isinstance(orders, NodeOrders):
                for order in orders.apps:
                    named.setdefault(order.app, []).append(f"generation {order.generation} on {node}")
        return [
            Finding(_RULE, f"offset {offset}: {app} is ordered as {' and as '.join(copies)}")
            for app, copies in named.items()
            if len(copies) > 1
        ]

    def count_refused(self) -> Counter[tuple[str, int]]:
        """Copy -> reports on the topic that called it running after the next one had been placed."""
        found: Counter[tuple[str, int]] = Counter()
        for heard in (heard for records in self._topics.heartbeats for heard in records):
            if isinstance(heard.value, Report):
                for entry in heard.value.apps:
                    later = [
                        at_ms
                        for it, at_ms in self._placed.get(entry.app, {}).items()
                        if it > entry.generation
                    ]
                    is_stale = bool(later) and min(later) < heard.timestamp
                    found[entry.app, entry.generation] += entry.status == "running" and is_stale
        return found


def _copy_of(event: Event) -> tuple[str, int | None]:
    """The copy of an app, or the registration of a node, that an event rests on; None if on none."""
    match event:
        case e.AppPlaced():
            return event.app, event.replaces
        case e.SourceFellSilent() | e.SourceReturned():
            return event.source, event.epoch
        case e.NodeDeclaredDown():
            return event.node, event.registration
        case _:
            return getattr(event, "app", ""), getattr(event, "generation", None)
