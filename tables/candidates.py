"""The nodes that may take apps in one call of the planner, ready for many questions. Pure; part of `tables.plan`.

Filters, each with the word under which a node that falls out is counted:

1. Of every app alike: `leaving` (this call takes it away), `draining`, `silent`, `quarantined`, `spare` (it stands by),
   `cordoned`, `unheard` (the witness has not heard it within the overdue limit, or does not know). Nodes that are
   down or have left are no nodes any more.
2. Of the app's own wishes: `driver`, `constraints`.
3. Room: `slots`, `cpu`, `memory`; a node that lacks several is counted under each.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sdk.contract.events import Position
from sdk.contract.specs import AppSpec, Constraint
from tables.node_index import NodeIndex
from tables.room import Need, capacity_of
from tables.rows import NodeRow
from tables.score import cost_of
from tables.witness import Load

if TYPE_CHECKING:
    from tables.plan import Plan

#: What a node runs that names no driver.
_DRIVERS_UNSAID = ("process",)

#: What the apps have in common that look at the same nodes: driver and constraints.
Wishes = tuple[str, tuple[tuple[str, str, tuple[str, ...]], ...]]


class Field:
    """The nodes that meet the wishes of some apps, in order, and why the others do not."""

    def __init__(self, index: NodeIndex, fell_out: Counter[str]) -> None:
        self.index = index
        self.fell_out = fell_out
        #: How much of the journal the index knows.
        self.read = 0
        #: Need -> why no node has room for it, while nothing changes: in a crowd that waits most need the same.
        self._full: dict[Need, dict[str, int]] = {}

    def fell_out_for(self, need: Need) -> dict[str, int]:
        """Why nodes cannot take an app with this need -> how many."""
        slots, cpu, memory = self.index.lacking(need)
        counts = {**self.fell_out, "slots": slots, "cpu": cpu, "memory": memory}
        return {word: count for word, count in counts.items() if count}

    def full_for(self, need: Need) -> dict[str, int] | None:
        """Why nodes cannot take an app with this need, if none of them can."""
        full = self._full.get(need)
        if full is None and not self.index.first(need, 1, but=(), nor=()):
            full = self._full[need] = self.fell_out_for(need)
        return full

    def changed(self, entries: Iterable[tuple[str, int, Need]]) -> None:
        """Room on some of the nodes has changed: node, cost, what is free."""
        for entry in entries:
            self.index.update(*entry)
        self._full.clear()


class Candidates:
    """The nodes of one call that stand, and what is free on each."""

    def __init__(self, plan: "Plan") -> None:
        self._plan = plan
        self._fields: dict[Wishes, Field] = {}
        #: Nodes whose room has changed since this began, in order.
        self._journal: list[str] = []
        self.fell_out: Counter[str] = Counter()
        #: Node -> where the witness stood when it had heard it.
        self.heard: dict[str, Position] = {}
        self.loads: dict[str, Load | None] = {}
        #: Whether the witness cannot say of some node if it heard it: that there is no room is not concluded then.
        self.has_unknown = False
        for node, row in sorted(plan.state.nodes.items()):
            word = standing_fault(plan, row)
            fence = None if word else plan.witness.confirm_heard(node)
            if fence is not None:
                self.heard[node] = fence
                self.loads[node] = plan.witness.measured_load(node)
            elif row.status == "active":
                self.fell_out[word or "unheard"] += 1
                self.has_unknown |= not word and not plan.witness.knows(node)

    def touch(self, node: str) -> None:
        """Note that room on a node has changed."""
        self._journal.append(node)

    def field_for(self, spec: AppSpec, *, pool: str = "") -> Field:
        """The nodes that meet the wishes of a spec (of one pool, if given), up to date."""
        constraints = [*spec.constraints, Constraint("pool", [pool])] if pool else spec.constraints
        wishes = spec.driver, tuple((each.key, each.op, tuple(each.values)) for each in constraints)
        field = self._fields.get(wishes)
        if field is None:
            field = self._fields[wishes] = self._make(spec, constraints)
        elif field.read < len(self._journal):
            changed = dict.fromkeys(self._journal[field.read :])
            field.changed(self._entry(node) for node in changed if node in field.index)
        field.read = len(self._journal)
        return field

    def _make(self, spec: AppSpec, constraints: Iterable[Constraint]) -> Field:
        fell_out, fitting = Counter(self.fell_out), []
        for node in self.heard:
            word = wish_fault(self._plan.state.nodes[node], spec.driver, constraints)
            if word:
                fell_out[word] += 1
            else:
                fitting.append(self._entry(node))
        return Field(NodeIndex(fitting), fell_out)

    def _entry(self, node: str) -> tuple[str, int, Need]:
        plan = self._plan
        free = plan.free(node)
        cost = cost_of(
            plan.state.policy.strategy, capacity_of(plan.state.nodes[node]), free, self.loads[node]
        )
        return node, cost, free


def standing_fault(plan: "Plan", row: NodeRow) -> str:
    """Why the node takes no app at all, whatever it needs; empty if it does."""
    if row.status != "active":
        return row.status
    if row.node in plan.leaving:
        return "leaving"
    if row.draining:
        return "draining"
    if row.silent:
        return "silent"
    if row.quarantined or row.node in plan.quarantining:
        return "quarantined"
    if row.spare:
        return "spare"
    return "cordoned" if row.cordoned else ""


def wish_fault(row: NodeRow, driver: str, constraints: Iterable[Constraint]) -> str:
    """Which wish of an app the node does not meet; empty if it meets all."""
    drivers = row.drivers or _DRIVERS_UNSAID
    if driver not in drivers:
        return "driver"
    for constraint in constraints:
        has = drivers if constraint.key == "driver" else (getattr(row, constraint.key),)
        met = any(value in has for value in constraint.values)
        if met != (constraint.op == "="):
            return "constraints"
    return ""
