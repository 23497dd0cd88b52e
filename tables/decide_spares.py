"""Decisions about spares: taken where nodes are missing, retired where they are too many. Pure; part of `decide`.

1. A spare needs nobody to create it, so it is taken whether or not the pool has a provisioner or is held back.
2. It is taken before any node is ordered; what is ordered after that refills the pool behind it.
3. A spare that was not heard a moment ago is waited for: it is heard within a report's time, or falls silent.
"""

from sdk.contract.events import SpareRetired, SpareTaken
from tables.decide_nodes import nodes_lacking, to_replace
from tables.plan import Plan
from tables.pools import is_takeable, nodes_in_pool, nodes_max, spares_of
from tables.rows import NodeRow, PoolRow


def decide_spares(plan: Plan) -> None:
    """Take spares where a pool has too few nodes, and retire those that it has too many of."""
    for pool, row in sorted(plan.state.pools.items()):
        spares = [spare for spare in spares_of(plan.state, pool) if spare.node not in plan.leaving]
        if spares:
            _take(plan, row, spares)
            _retire(plan, row, spares)


def _take(plan: Plan, row: PoolRow, spares: list[NodeRow]) -> None:
    lacking = nodes_lacking(plan, row)
    if not lacking:
        return
    fit = [spare for spare in spares if is_takeable(spare) and spare.node not in plan.quarantining]
    heard = {spare.node: plan.witness.confirm_heard(spare.node) for spare in fit}
    ready = [spare for spare in fit if heard[spare.node] is not None][:lacking]
    plan.awaiting[row.pool] = min(lacking - len(ready), sum(fence is None for fence in heard.values()))
    replaced = to_replace(plan, row.pool)
    for number, spare in enumerate(ready):
        dead = replaced[number] if number < len(replaced) else ""
        plan.add(
            SpareTaken(
                **plan.basis,
                node=spare.node,
                registration=spare.registration,
                replaces=dead,
                replaces_lineage=plan.state.nodes[dead].lineage if dead else 0,
                fence=heard[spare.node],
            )
        )


def _retire(plan: Plan, row: PoolRow, spares: list[NodeRow]) -> None:
    """Take away what the pool has too many of: those of no use first, then the youngest."""
    state = plan.state
    left = [spare for spare in spares if spare.node not in plan.taking]
    living = (state.nodes[node] for node in state.live_nodes.get(row.pool, ()))
    going = sum(node.draining or node.node in plan.leaving for node in living)
    over = nodes_in_pool(state, row.pool) - going - nodes_max(state, row)
    surplus = max(len(left) - row.spares, over, 0)
    if not surplus:
        return
    left.sort(key=lambda spare: (is_takeable(spare), -spare.registration, spare.node))
    for spare in left[:surplus]:
        if not spare.silent:
            plan.add(SpareRetired(**plan.basis, node=spare.node, registration=spare.registration))
