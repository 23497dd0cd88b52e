"""One call of the planner: what it looks at and what it has decided so far. Pure; part of `tables.decide`."""

from typing import TypedDict

from sdk.contract.events import Decision, NodeOrdered, SpareTaken
from sdk.contract.specs import AppSpec
from tables.candidates import Candidates
from tables.questions import granted_room, taken_on
from tables.room import NOTHING, Need, capacity_of, need_of, need_of_grant
from tables.rows import AppRow
from tables.state import State
from tables.witness import Witness


class Basis(TypedDict):
    """What every decision carries."""

    term: int
    based_on: int
    policy: int


class Plan:
    """Decisions of one call, with the room they leave."""

    def __init__(self, state: State, witness: Witness, *, most: int | None = None) -> None:
        self.state = state
        self.witness = witness
        self._most = most
        self.decisions: list[Decision] = []
        self.basis: Basis = {
            "term": state.term.term,
            "based_on": state.offset,
            "policy": state.policy_row.offset,
        }
        #: Nodes that this call declares down or takes away.
        self.leaving: set[str] = set()
        #: Nodes that this call puts into quarantine.
        self.quarantining: set[str] = set()
        #: Nodes whose quarantine this call ends and that stay.
        self.releasing: set[str] = set()
        #: Nodes from which this call lets an app move.
        self.preparing: set[str] = set()
        #: Dead nodes, with their lineages, that this call orders a replacement for.
        self.replacing: set[tuple[str, int]] = set()
        #: Spares that this call takes -> the dead node that each replaces and its lineage, ("", 0) for none.
        self.taking: dict[str, tuple[str, int]] = {}
        #: Pool -> spares that it would take if they had been heard a moment ago.
        self.awaiting: dict[str, int] = {}
        #: Pools that this call withdraws an order from: each gets a strike, so judging them waits for the next call.
        self.struck: set[str] = set()
        #: Room that this call has given away, by node.
        self._given: dict[str, Need] = {}
        #: Room kept for the apps of a dead node, by the node that replaces it.
        self._reserved: dict[str, Need] = {}
        #: The same while the replacement is being created, by its order, or by the dead node and its lineage.
        self.promised: dict[int | tuple[str, int], Need] = {}
        #: What is left of the grants that this call used.
        self._left: dict[int, Need] = {}
        #: Group -> node -> copies, what this call has placed included.
        self._copies: dict[str, dict[str, int]] = {}
        self._candidates: Candidates | None = None

    def add(self, decision: Decision) -> None:
        """Decide."""
        self.decisions.append(decision)
        if isinstance(decision, SpareTaken):
            self.taking[decision.node] = decision.replaces, decision.replaces_lineage
        if isinstance(decision, NodeOrdered | SpareTaken) and decision.replaces:
            self.replacing.add((decision.replaces, decision.replaces_lineage))

    @property
    def is_blind(self) -> bool:
        """Whether there are nodes, and the witness cannot say of any if it heard it."""
        active = [node for node, row in self.state.nodes.items() if row.status == "active"]
        return bool(active) and not any(self.witness.knows(node) for node in active)

    @property
    def is_full(self) -> bool:
        """Whether this call has decided as much as it was to decide at most."""
        return self._most is not None and len(self.decisions) >= self._most

    @property
    def candidates(self) -> Candidates:
        """The nodes that stand; looked at when the first app is placed, after all decisions about nodes."""
        if self._candidates is None:
            self._candidates = Candidates(self)
        return self._candidates

    # --- room ---------------------------------------------------------------------------------------

    def free(self, node: str, *, reserved: bool = True) -> Need:
        """What is free on an active node, without what this call has placed there and has `reserved`."""
        free = capacity_of(self.state.nodes[node]).minus(taken_on(self.state, node))
        given = self._given.get(node)
        if given is not None:
            free = free.minus(given)
        kept = self._reserved.get(node) if reserved else None
        return free if kept is None else free.minus(kept)

    def give(self, node: str, need: Need) -> None:
        """Take room on a node."""
        self._given[node] = self._given.get(node, NOTHING).plus(need)
        self._touch(node)

    def kept_for(self, app: AppRow, node: str) -> Need:
        """Room on a node that a grant keeps for the app and that this call has not used."""
        kept = granted_room(self.state, app, node)
        return kept.at_most(self._left.get(app.grant, kept))

    def place(self, app: AppRow, node: str) -> None:
        """Place the next copy of an app in force; wherever it goes, its grant is used."""
        self.take(node, app.spec, kept=self.kept_for(app, node))
        grant = self.state.grants.get(str(app.grant))
        if grant is not None:
            left = self._left.get(app.grant, need_of_grant(grant))
            self._left[app.grant] = left.minus(need_of(app.spec).at_most(left))

    def take(self, node: str, spec: AppSpec, *, kept: Need = NOTHING) -> None:
        """Place a copy on a node, in the room that was kept for it and then in what is free."""
        self._given[node] = self._given.get(node, NOTHING).plus(need_of(spec)).minus(kept)
        if spec.group:
            copies = self.copies_of(spec.group)
            copies[node] = copies.get(node, 0) + 1
        self._touch(node)

    def reserve(self, node: str, need: Need) -> None:
        """Keep room on a node, which may only be on its way, for an app that is to move there."""
        self._reserved[node] = self._reserved.get(node, NOTHING).plus(need)
        self._touch(node)

    def release(self, node: str, need: Need) -> None:
        """Keep it no longer."""
        self._reserved[node] = self._reserved[node].minus(need)
        self._touch(node)

    def _touch(self, node: str) -> None:
        if self._candidates is not None:
            self._candidates.touch(node)

    def copies_of(self, group: str) -> dict[str, int]:
        """Node -> copies of the group that take room there."""
        copies = self._copies.get(group)
        if copies is None:
            nodes = self.state.nodes
            copies = self._copies[group] = {
                node: count
                for (node, lineage), count in self.state.copies.get(group, {}).items()
                if node in nodes and nodes[node].lineage == lineage
            }
        return copies
