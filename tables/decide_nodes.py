"""Decisions about nodes, orders and pools. Pure; part of `tables.decide`."""

from sdk.contract.events import (
    NodeDeclaredDown,
    NodeLeft,
    NodeOrdered,
    NodeOrderWithdrawn,
    NodeQuarantined,
    NodeReleased,
    PoolDegraded,
    PoolHeldBack,
)
from tables.fold_nodes import is_empty
from tables.fold_standing import is_surplus
from tables.pauses import is_node_paused
from tables.plan import Plan
from tables.pools import nodes_in_pool, nodes_max, register_within_ms, spares_in_pool
from tables.questions import is_unreliable
from tables.rows import AppRow, NodeRow, PoolRow
from tables.state import State, is_hosted, is_order_open
from tables.tally import stays

#: A pool is refilled this long after a spare was taken even if apps have not started on it, ms of the log. Source: an
#: app beats within a second or two of its start; five times that is no good sign.
MOVING_IN_MS = 10_000


def decide_nodes(plan: Plan) -> None:
    """Declare dead what its provider or its silence says is dead; take away what has drained."""
    allowance = plan.state.brake.allowance
    for node in sorted(plan.state.open_nodes):
        row = plan.state.nodes[node]
        paused = is_node_paused(plan.state, node)
        if plan.state.orders[str(row.order)].ended and not paused:
            _declare_down(plan, row, "exited")
        elif row.silent and row.confirmed:
            _declare_down(plan, row, "confirmed")
        elif row.silent and not paused:
            if _brake_allows(plan, allowance) and _declare_down(plan, row, "silent"):
                allowance -= 1
        elif row.quarantined and row.wake is not None and row.wake.fired:
            _release(plan, row)
        elif not (row.quarantined or row.emptying) and is_unreliable(plan.state, row):
            _quarantine(plan, row)
        elif row.draining and is_empty(plan.state, row):
            plan.add(NodeLeft(**plan.basis, node=node, registration=row.registration))
            plan.leaving.add(node)


def _release(plan: Plan, row: NodeRow) -> None:
    """End a quarantine; a node that was replaced meanwhile, and that its pool does not lack now, goes."""
    surplus = is_surplus(plan.state, row) and nodes_kept(plan, row.pool) >= plan.state.pools[row.pool].nodes
    if not surplus:
        plan.releasing.add(row.node)
    plan.add(
        NodeReleased(**plan.basis, node=row.node, registration=row.registration, surplus=surplus),
    )


def _quarantine(plan: Plan, row: NodeRow) -> None:
    """Keep a node that came back after it was declared down too often from taking apps."""
    policy = plan.state.policy
    plan.add(
        NodeQuarantined(
            **plan.basis,
            node=row.node,
            registration=row.registration,
            failures=policy.node_quarantine_after,
            wake_ms=policy.node_quarantine_ms,
        )
    )
    plan.quarantining.add(row.node)


def _brake_allows(plan: Plan, allowance: int) -> bool:
    """Whether one more silent node may be declared down now."""
    brake = plan.state.brake
    if brake.engaged >= 0:
        return allowance > 0
    if brake.overridden:
        return True
    # The share may have crossed the bound a moment ago and the fact be on its way: the watcher knows first.
    return brake.band == "calm" and plan.witness.overdue_band() == "calm"


def _declare_down(plan: Plan, row: NodeRow, reason: str) -> bool:
    """Declare the node down if the fence holds; `exited` is the provider's word and needs none."""
    policy = plan.state.policy
    fence = None
    if reason != "exited":
        fence = plan.witness.confirm_silence(row.node, row.registration)
        if fence is None:
            return False
    destroy = policy.destroy_silent_nodes and reason != "exited"
    plan.add(
        NodeDeclaredDown(
            **plan.basis,
            node=row.node,
            registration=row.registration,
            reason=reason,  # type: ignore[arg-type]  # one of the three literals above
            destroy=destroy,
            fence=fence,
            wake_ms=max(1, policy.destroy_within_ms) if destroy else 0,
        )
    )
    plan.leaving.add(row.node)
    return True


def decide_orders(plan: Plan) -> None:
    """Withdraw orders whose node did not register in time."""
    state = plan.state
    for offset in sorted(state.open_orders):
        order = state.orders[str(offset)]
        late = order.wake is not None and order.wake.fired
        if late and has_provisioner(state.pools[order.pool]) and plan.witness.has_hello(offset) is False:
            within_ms = register_within_ms(state, state.pools[order.pool])
            reason = f"no registration within {within_ms} ms"
            plan.add(NodeOrderWithdrawn(**plan.basis, order=offset, pool=order.pool, reason=reason))
            plan.struck.add(order.pool)


def has_provisioner(pool: PoolRow) -> bool:
    """Whether somebody is there to create nodes; without one, no order can fail."""
    return pool.registration > 0 and not pool.silent


def decide_pools(plan: Plan) -> None:
    """Order nodes that a pool lacks, and hold back a pool whose creations fail."""
    for pool in sorted(plan.state.pools.keys() - plan.struck):
        row = plan.state.pools[pool]
        if not has_provisioner(row):
            continue
        if row.strikes > row.held_for:
            _hold_back(plan, row)
        elif row.wake is None or row.wake.fired:
            _order_nodes(plan, row)


def _hold_back(plan: Plan, row: PoolRow) -> None:
    policy = plan.state.policy
    if row.strikes >= policy.pool_degraded_after and not row.degraded:
        plan.add(PoolDegraded(**plan.basis, pool=row.pool, strikes=row.strikes))
    delay = min(policy.pool_backoff_ms << min(row.strikes - 1, 40), policy.pool_backoff_max_ms)
    plan.add(PoolHeldBack(**plan.basis, pool=row.pool, strikes=row.strikes, wake_ms=delay))


def _order_nodes(plan: Plan, row: PoolRow) -> None:
    """Order what is missing, ordinary nodes before spares, within what the pool may have in all."""
    state = plan.state
    awaiting = plan.awaiting.get(row.pool, 0)
    missing = nodes_lacking(plan, row) - awaiting
    spares_missing = row.spares - spares_kept(plan, row.pool)
    if missing <= 0 and spares_missing <= 0:
        return
    gone = sum(state.nodes[node].pool == row.pool for node in plan.leaving)
    room = nodes_max(state, row) - nodes_in_pool(state, row.pool) + gone
    count = max(0, min(missing, room))
    spares = max(0, min(spares_missing, room - count))
    if spares and _is_moving_in(plan, row.pool):
        spares = 0
    if not count + spares:
        return
    replaced = to_replace(plan, row.pool)[awaiting:][:count]
    for number in range(count + spares):
        node = replaced[number] if number < len(replaced) else ""
        plan.add(
            NodeOrdered(
                **plan.basis,
                pool=row.pool,
                slots=row.slots,
                port_floor=row.port_highest + 1,
                replaces=node,
                replaces_lineage=state.nodes[node].lineage if node else 0,
                spare=number >= count,
                place=number + 1,
                wake_ms=register_within_ms(state, row),
            )
        )


def _is_moving_in(plan: Plan, pool: str) -> bool:
    """Whether apps of a dead node are about to start on a spare just taken: refilling the pool waits for that.

    The new spare would start beside them, and on a machine of few cores they would wait for it.
    """
    state = plan.state
    if any(state.nodes[node].pool == pool for node in plan.taking):
        return True
    taken = {
        node
        for node in state.live_nodes.get(pool, ())
        if state.orders[str(state.nodes[node].order)].taken_at
        and state.now_ms - state.nodes[node].since_ms < MOVING_IN_MS
    }
    return bool(taken) and any(_moves_into(state, state.apps[app], taken) for app in state.open_apps)


def _moves_into(state: State, app: AppRow, taken: set[str]) -> bool:
    """Whether an app is to start on one of these nodes: placed there, or still to be, without a reason against it."""
    if not app.wanted or app.gave_up or app.pending_reason:
        return False
    if is_hosted(state, app):
        return app.phase == "placed" and app.node in taken
    order = replacing_order(state, app.node, app.lineage) if app.node else None
    return order is not None and state.node_of_order.get(order) in taken


def nodes_kept(plan: Plan, pool: str) -> int:
    """Nodes that a pool has and keeps when this call is over, those being created and spares taken included."""
    taken = sum(plan.state.nodes[node].pool == pool for node in plan.taking)
    rows = (plan.state.nodes[node] for node in plan.releasing)
    released = sum(row.pool == pool and not (row.spare or row.draining) for row in rows)
    return nodes_in_pool(plan.state, pool, staying=True) - _going(plan, pool, spare=False) + taken + released


def spares_kept(plan: Plan, pool: str) -> int:
    """Spares that a pool has and keeps when this call is over, those being created included."""
    taken = sum(plan.state.nodes[node].pool == pool for node in plan.taking)
    return spares_in_pool(plan.state, pool) - _going(plan, pool, spare=True) - taken


def _going(plan: Plan, pool: str, *, spare: bool) -> int:
    """Nodes that count among those that stay, and that this call takes away."""
    going = (plan.state.nodes[node] for node in plan.leaving | plan.quarantining)
    return sum(row.pool == pool and row.spare == spare and stays(row) for row in going)


def nodes_lacking(plan: Plan, row: PoolRow) -> int:
    """Nodes that a pool ought to get: what died is not replaced while the watch over it is paused."""
    missing = row.nodes - nodes_kept(plan, row.pool)
    if missing <= 0:
        return 0
    dead = _dead_nodes(plan, row.pool)
    held = len(dead) - len(_watched(plan, dead))
    return max(0, missing - held)


def to_replace(plan: Plan, pool: str) -> list[str]:
    """Dead nodes of the pool that nobody replaces: first those whose apps wait, then the latest to die.

    None, if the policy spreads the apps of a dead node, and not those over which the watch is paused.
    """
    waiting = set(stranded_nodes(plan))
    nodes = plan.state.nodes
    return sorted(
        _watched(plan, _dead_nodes(plan, pool)),
        key=lambda node: (node not in waiting, -nodes[node].since_ms, node),
    )


def _watched(plan: Plan, nodes: list[str]) -> list[str]:
    return [node for node in nodes if not is_node_paused(plan.state, node)]


def _dead_nodes(plan: Plan, pool: str) -> list[str]:
    """Dead nodes of the pool that nobody replaces; none if the policy spreads the apps of a dead node."""
    state = plan.state
    if state.policy.on_node_failure != "new-node":
        return []
    taken_for = set(plan.taking.values())
    return [
        node
        for node, row in state.nodes.items()
        if row.pool == pool
        and (row.status == "down" or node in plan.leaving)
        and not (row.draining or row.spare)
        and (node, row.lineage) not in taken_for
        and replacing_order(state, node, row.lineage) is None
    ]


def stranded_nodes(plan: Plan) -> list[str]:
    """Dead nodes whose apps still have to move."""
    state = plan.state
    nodes = {app.node for app in (state.apps[key] for key in state.open_apps) if app.wanted and app.node}
    nodes |= {node for node in plan.leaving if state.apps_of_node.get(node)}
    return [node for node in nodes if node in plan.leaving or not _hosts_any(state, node)]


def _hosts_any(state: State, node: str) -> bool:
    row = state.nodes.get(node)
    return (
        row is not None
        and row.status == "active"
        and any(
            app.node == node and is_hosted(state, app)
            for app in (state.apps[key] for key in state.apps_of_node.get(node, ()))
        )
    )


def replacing_order(state: State, node: str, lineage: int) -> int | None:
    """The order that replaces a dead node and may bring, or has brought, a living one.

    Follows replacements that died themselves, each once: a log that nobody planned may name them in a circle.
    """
    seen = set()
    while (node, lineage) not in seen:
        seen.add((node, lineage))
        offset = state.replacement.get((node, lineage))
        if offset is None:
            return None
        successor = state.node_of_order.get(offset)
        if successor is None:
            return offset if is_order_open(state, state.orders[str(offset)]) else None
        row = state.nodes[successor]
        if row.status == "active":
            return offset
        node, lineage = successor, row.lineage
    return None
