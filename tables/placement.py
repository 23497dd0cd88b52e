"""Where an app goes: filters, then a score, then a stable tie-break. Pure.

A node takes an app if its registration is in force, it neither drains nor is silent, the witness has heard it
within the overdue limit, and it has room. Among those the strategy decides: `spread` takes the most free slots,
`binpack` the fewest. A node where the app failed lately comes after all others.
"""

from typing import NamedTuple

from sdk.contract.events import Position
from tables.plan import Plan
from tables.rows import AppRow

#: Nodes named in a placement, for the record.
_SHOWN = 3


class Choice(NamedTuple):
    """A node for an app, where the witness stood, and the free slots of the best few."""

    node: str
    fence: Position
    scores: dict[str, int]


def choose_node(plan: Plan, app: AppRow, *, only: str = "") -> Choice | str:
    """The node for `app` (`only` that one, if given), or the reason why there is none."""
    candidates, no_room = [], 0
    for node in [only] if only else plan.state.nodes:
        row = plan.state.nodes[node]
        if row.status != "active" or row.draining or row.silent or node in plan.leaving:
            continue
        free = plan.free_slots(node) + plan.kept_slots(app, node)
        free -= 0 if only else plan.reserved.get(node, 0)
        if free < app.spec.slots:
            no_room += 1
            continue
        fence = plan.witness.confirm_heard(node)
        if fence is not None:
            candidates.append((_rank(plan, app, node, free), node, free, fence))
    if not candidates:
        need = f"{app.spec.slots} free slot" + "s" * (app.spec.slots > 1)
        return f"no active node has {need}" if no_room else "no node is active"
    candidates.sort(key=lambda candidate: candidate[:2])
    _, node, _, fence = candidates[0]
    return Choice(node, fence, {name: free for _, name, free, _ in candidates[:_SHOWN]})


def _rank(plan: Plan, app: AppRow, node: str, free: int) -> tuple[int, int]:
    """Smaller is better: where it failed lately comes last, then the strategy."""
    failed = app.failed_on.index(node) + 1 if node in app.failed_on else 0
    if app.spec.on_failure == "same-node" and node == app.node:
        failed = -1
    return failed, free if plan.state.policy.strategy == "binpack" else -free
