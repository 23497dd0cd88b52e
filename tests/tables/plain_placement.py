"""Placement as one would write it first: a look at every node, room counted from the apps. A test helper.

`tables.placement` must give the same answer.
"""

from sdk.contract.events import NodeScore
from tables.candidates import standing_fault, wish_fault
from tables.placement import SHOWN, Choice, Refusal
from tables.plan import Plan
from tables.room import Need, capacity_of, need_of, placed_spec_of
from tables.rows import AppRow, NodeRow
from tables.score import cost_of, failures_of, rank_of
from tables.state import holds_slot

#: Apps that this call has placed: node and spec of each.
Placed = list[tuple[str, AppRow]]


def choose_plainly(plan: Plan, app: AppRow, placed: Placed) -> Choice | Refusal:
    """What `tables.placement.choose_node` answers after this call has placed so many."""
    counts: dict[str, int] = {}
    need, scores, heard, wished = need_of(app.spec), [], 0, 0
    for node, row in plan.state.nodes.items():
        if row.status != "active":
            continue
        word = standing_fault(plan, row) or ("" if plan.witness.confirm_heard(node) else "unheard")
        heard += not word
        word = word or wish_fault(row, app.spec.driver, app.spec.constraints)
        free = _free(plan, row, placed)
        if word:
            words = [word]
        else:
            wished += 1
            words = [
                name
                for name, wanted, left in zip(("slots", "cpu", "memory"), need, free, strict=True)
                if wanted > left
            ]
        for word in words:
            counts[word] = counts.get(word, 0) + 1
        if not words:
            scores.append(_score(plan, app, row, free, placed))
    if not scores:
        reason = f"no active node has {need.words()} free"
        if not wished:
            wishes = [f"driver={app.spec.driver}", *map(str, app.spec.constraints)]
            reason = f"no active node has {' and '.join(wishes)}"
        return Refusal(reason if heard else "no node is active", counts)
    scores.sort(key=rank_of)
    fence = plan.witness.confirm_heard(scores[0].node)
    assert fence is not None
    return Choice(scores[0].node, fence, scores[:SHOWN], counts)


def _hosted(plan: Plan, row: NodeRow, placed: Placed) -> list[AppRow]:
    """Apps that take room on a node, those of this call under their new spec."""
    here = [
        AppRow(app.app, placed_spec_of(app), True, "placed", 0)
        for app in plan.state.apps.values()
        if app.node == row.node and app.lineage == row.lineage and holds_slot(app)
    ]
    return [*here, *(app for node, app in placed if node == row.node)]


def _free(plan: Plan, row: NodeRow, placed: Placed) -> Need:
    free = capacity_of(row)
    for app in _hosted(plan, row, placed):
        free = free.minus(need_of(app.spec))
    return free


def _copies(plan: Plan, row: NodeRow, group: str, placed: Placed) -> int:
    return sum(app.spec.group == group for app in _hosted(plan, row, placed)) if group else 0


def _score(plan: Plan, app: AppRow, row: NodeRow, free: Need, placed: Placed) -> NodeScore:
    load = plan.witness.measured_load(row.node)
    near = 0
    if app.spec.affinity and not _copies(plan, row, app.spec.affinity, placed):
        near = 2
        for other in plan.state.nodes.values():
            if other.pool == row.pool and _copies(plan, other, app.spec.affinity, placed):
                near = 1
    return NodeScore(
        row.node,
        failures_of(plan.state, app).get(row.node, 0),
        _copies(plan, row, app.spec.group, placed) if app.spec.spread else 0,
        near,
        cost_of(plan.state.policy.strategy, capacity_of(row), free, load),
        *(load if load is not None else ()),
    )
