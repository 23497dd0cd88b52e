"""One call of the planner: what it looks at and what it has decided so far. Pure; part of `tables.decide`."""

from typing import TypedDict

from sdk.contract.events import Decision, NodeOrdered
from tables.rows import AppRow
from tables.state import State, granted_slots, used_slots
from tables.witness import Witness


class Basis(TypedDict):
    """What every decision carries."""

    term: int
    based_on: int
    policy: int


class Plan:
    """Decisions of one call, with the room they leave."""

    def __init__(self, state: State, witness: Witness) -> None:
        self.state = state
        self.witness = witness
        self.decisions: list[Decision] = []
        self.basis: Basis = {
            "term": state.term.term,
            "based_on": state.offset,
            "policy": state.policy_row.offset,
        }
        #: Nodes that this call declares down or takes away.
        self.leaving: set[str] = set()
        #: Dead nodes, with their lineages, that this call orders a replacement for.
        self.replacing: set[tuple[str, int]] = set()
        #: Pools that this call withdraws an order from: each gets a strike, so judging them waits for the next call.
        self.struck: set[str] = set()
        #: Free slots of nodes looked at, less what this call has placed there.
        self._free: dict[str, int] = {}
        #: What is left of the grants that this call used.
        self._left: dict[int, int] = {}
        #: Slots kept for the apps of a dead node, by the node that replaces it.
        self.reserved: dict[str, int] = {}
        #: The same while the replacement is being created, by its order, or by the dead node and its lineage.
        self.promised: dict[int | tuple[str, int], int] = {}

    def add(self, decision: Decision) -> None:
        """Decide."""
        self.decisions.append(decision)
        if isinstance(decision, NodeOrdered) and decision.replaces:
            self.replacing.add((decision.replaces, decision.replaces_lineage))

    def free_slots(self, node: str) -> int:
        """Free slots of an active node, this call's placements taken off."""
        if node not in self._free:
            self._free[node] = self.state.nodes[node].slots - used_slots(self.state, node)
        return self._free[node]

    def kept_slots(self, app: AppRow, node: str) -> int:
        """Slots of a node that a grant keeps for the app and that this call has not used."""
        kept = granted_slots(self.state, app, node)
        return min(kept, self._left.get(app.grant, kept))

    def place(self, app: AppRow, node: str) -> None:
        """Take room for an app, first what a grant keeps for it; wherever it goes, the grant is used."""
        self.take(node, app.spec.slots - self.kept_slots(app, node))
        grant = self.state.grants.get(str(app.grant))
        if grant is not None:
            self._left[app.grant] = max(0, self._left.get(app.grant, grant.slots) - app.spec.slots)

    def take(self, node: str, slots: int) -> None:
        """Take room on a node."""
        self._free[node] = self.free_slots(node) - slots
