"""Where an app goes: filters (`tables.candidates`), then a score (`tables.score`), then a stable tie-break. Pure.

The answer is the one of a plain look at every node (`tests/tables/plain_placement.py` is that look, and a property test
compares the two), found without one: nodes stand in the order of their cost, and of those that anything but their
cost speaks for or against there are few, which are looked at one by one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sdk.contract.events import NodeScore, Position
from tables.candidates import Field, standing_fault, wish_fault
from tables.plan import Plan
from tables.room import need_of
from tables.rows import AppRow
from tables.score import distance_of, failures_of, rank_of

#: Nodes that a placement names with their scores.
SHOWN = 3


class Choice(NamedTuple):
    """A node for an app, where the witness stood, the scores of the best few, and why how many others fell out."""

    node: str
    fence: Position
    ranking: list[NodeScore]
    fell_out: dict[str, int]


class Refusal(NamedTuple):
    """Why no node can take an app: words that do not change with every copy that comes and goes, and counts."""

    reason: str
    fell_out: dict[str, int]


def choose_node(plan: Plan, app: AppRow, *, only: str = "", away: bool = False) -> Choice | Refusal:
    """The node for `app` (`only` that one, if given; `away` from its own), or the reason why there is none."""
    if only:
        return _take_only(plan, app, only, away=away)
    field = plan.candidates.field_for(app.spec)
    full = field.full_for(need_of(app.spec))
    if full is not None:
        return Refusal(_reason(plan, app, field), full)
    fell_out = field.fell_out_for(need_of(app.spec))
    scores = Search(plan, app, field).best(but=app.node if away else "")
    if not scores:
        return Refusal(_reason(plan, app, field), fell_out)
    node = scores[0].node
    return Choice(node, plan.candidates.heard[node], scores, fell_out)


def _take_only(plan: Plan, app: AppRow, node: str, *, away: bool) -> Choice | Refusal:
    """The node if it can take the app; room that is reserved there is for such as come from a dead node."""
    row = plan.state.nodes[node]
    fence = plan.witness.confirm_heard(node)
    if standing_fault(plan, row) or fence is None or (away and node == app.node):
        return Refusal(f"{node} takes no apps", {})
    if wish_fault(row, app.spec.driver, app.spec.constraints):
        return Refusal(f"{node} is not what it asks for", {})
    if not need_of(app.spec).fits(plan.free(node, reserved=away).plus(plan.kept_for(app, node))):
        return Refusal(f"{node} has no room", {})
    return Choice(node, fence, [], {})


def _reason(plan: Plan, app: AppRow, field: Field) -> str:
    """Which filter the last nodes fell out at."""
    if not plan.candidates.heard:
        return "no node is active"
    if field.index.free:
        return f"no active node has {need_of(app.spec).words()} free"
    wishes = [str(each) for each in app.spec.constraints]
    return f"no active node has driver={app.spec.driver}" + "".join(f" and {wish}" for wish in wishes)


class Search:
    """The best nodes for one app, and what each is worth to it."""

    def __init__(self, plan: Plan, app: AppRow, field: Field) -> None:
        self._plan = plan
        self._spec = app.spec
        self._need = need_of(app.spec)
        self._field = field
        self._failed = failures_of(plan.state, app)
        self._copies: Mapping[str, int] = (
            plan.copies_of(app.spec.group) if app.spec.group and app.spec.spread else {}
        )
        self._near: Mapping[str, int] | None = (
            plan.copies_of(app.spec.affinity) if app.spec.affinity else None
        )
        self._pools = {plan.state.nodes[node].pool for node in self._near or ()}

    def best(self, *, but: str = "") -> list[NodeScore]:
        """The scores of the best few nodes that have room, the best first, without `but`."""
        index = self._field.index
        #: Nodes that something speaks for or against, but for copies of the app's group.
        odd = {*self._failed, *(self._near or ())}
        nodes = [node for node in odd if node != but and index.has_room(node, self._need)]
        odd.add(but)
        nodes += index.first(self._need, SHOWN, but=odd, nor=self._copies)
        for pool in sorted(self._pools):
            there = self._plan.candidates.field_for(self._spec, pool=pool).index
            nodes += there.first(self._need, SHOWN, but=odd, nor=self._copies)
        scores = self._sorted(nodes)
        # Any node without a copy of the group, where the app did not fail, is better than any with one.
        if len(scores) < SHOWN or rank_of(scores[SHOWN - 1])[:2] >= (0, 1):
            beside = (node for node in self._copies if node not in odd and index.has_room(node, self._need))
            scores = self._sorted([*nodes, *beside])
        return scores[:SHOWN]

    def _sorted(self, nodes: Iterable[str]) -> list[NodeScore]:
        return sorted(map(self.score, dict.fromkeys(nodes)), key=rank_of)

    def score(self, node: str) -> NodeScore:
        """What a node that meets the app's wishes is worth to it."""
        load = self._plan.candidates.loads[node]
        row = self._plan.state.nodes[node]
        return NodeScore(
            node,
            self._failed.get(node, 0),
            self._copies.get(node, 0),
            distance_of(node, row.pool, self._near, self._pools),
            self._field.index.cost[node],
            *(load if load is not None else ()),
        )
