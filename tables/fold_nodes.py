"""Fold of everything about nodes, their orders and their pools. Pure; part of `tables.fold`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import (
    Event,
    NodeDeclaredDown,
    NodeExited,
    NodeLeft,
    NodeOrdered,
    NodeOrderWithdrawn,
    NodeRegistered,
    PoolDegraded,
    PoolHeldBack,
    ProvisionerRegistered,
)
from sdk.contract.ids import node_id, split_node_id
from tables.pauses import is_node_paused
from tables.pools import nodes_in_pool, nodes_max, spares_in_pool
from tables.questions import has_standby_on
from tables.rows import ONLY, NodeRow, OrderRow, PoolRow, Wake
from tables.state import State, holds_slot, is_order_open

if TYPE_CHECKING:
    from tables.fold import Meta


def wake_of(wake_ms: int, meta: "Meta") -> Wake | None:
    """The wake that a decision at `meta` asks for."""
    return Wake(meta.offset, meta.append_ms + wake_ms) if wake_ms > 0 else None


def term_fault(state: State, term: int) -> str:
    """Why a decision of `term` does not count, or an empty string."""
    return "" if term == state.term.term else f"term {term} is not in force"


def registration_fault(state: State, event: NodeRegistered) -> str:
    """Why a hello cannot become a registration, or an empty string; watchers ask this before they write."""
    order = state.orders.get(str(event.order))
    row = state.nodes.get(event.node)
    if order is None or order.pool != event.pool:
        return f"no order {event.order} in {event.pool}"
    if order.withdrawn or order.ended:
        return f"order {event.order} is over"
    if event.node != node_id(event.ip, event.port):
        return "the id does not name the ip and port"
    if row is None:
        return "" if is_order_open(state, order) else f"order {event.order} has its node"
    if event.claim == row.claim:
        return "claim is registered"
    if event.position.offset <= row.seen:
        return "hello is older than what is known"
    if row.status == "left":
        return "the node has left"
    if event.order != row.order or event.old_registration != row.registration:
        return (
            "another registration of this id is in force"
            if row.status == "active"
            else "the id was another's"
        )
    return ""


def _node_registered(state: State, event: NodeRegistered, meta: "Meta") -> str:
    """Create or renew a node; also clears the strikes of its pool and raises its highest port."""
    if fault := registration_fault(state, event):
        return fault
    row = state.nodes.get(event.node)
    unbroken = row is not None and row.status == "active"
    state.put(
        "nodes",
        event.node,
        NodeRow(
            node=event.node,
            pool=event.pool,
            ip=event.ip,
            port=event.port,
            slots=event.slots,
            drivers=event.drivers,
            boot_id=event.boot_id,
            claim=event.claim,
            order=event.order,
            registration=meta.offset,
            lineage=row.lineage if row is not None and unbroken else meta.offset,
            registered_at_ms=meta.append_ms,
            status="active",
            since_ms=row.since_ms if row is not None and unbroken else meta.append_ms,
            partition=event.position.partition,
            seen=event.position.offset,
            draining=row.draining if row is not None and unbroken else False,
            failures=row.failures if row is not None else 0,
            cpu_percent=event.cpu_percent,
            memory_mib=event.memory_mib,
            limits=event.limits,
            # A person's word counts for the id; a quarantine is judged anew once the node is back.
            cordoned=row.cordoned if row is not None else False,
            quarantined=row.quarantined if row is not None and unbroken else False,
            recent_failures=row.recent_failures if row is not None else [],
            emptying=row.emptying if row is not None and unbroken else False,
            forced=row.forced if row is not None and unbroken else False,
            wake=row.wake if row is not None and unbroken and (row.quarantined or row.emptying) else None,
            spare=state.orders[str(event.order)].spare,
        ),
    )
    pool = state.pools[event.pool]
    state.put(
        "pools",
        event.pool,
        replace(
            pool,
            strikes=0,
            held_for=0,
            degraded=False,
            wake=None,
            port_highest=max(pool.port_highest, event.port),
        ),
    )
    return ""


def _provisioner_registered(state: State, event: ProvisionerRegistered, meta: "Meta") -> str:
    """Give a pool its provisioner; what its predecessor failed to do is forgiven."""
    if fault := provisioner_fault(state, event):
        return fault
    state.put(
        "pools",
        event.pool,
        replace(
            state.pools[event.pool],
            claim=event.claim,
            registration=meta.offset,
            boot_id=event.boot_id,
            partition=event.position.partition,
            seen=event.position.offset,
            silent=False,
            strikes=0,
            held_for=0,
            degraded=False,
            wake=None,
        ),
    )
    return ""


def provisioner_fault(state: State, event: ProvisionerRegistered) -> str:
    """Why a provisioner's hello cannot become a registration, or an empty string."""
    row = state.pools.get(event.pool)
    if row is None:
        return f"no pool {event.pool}"
    if event.claim == row.claim:
        return "claim is registered"
    if event.position.offset <= row.seen:
        return "hello is older than what is known"
    if row.registration and event.old_registration != row.registration and not row.silent:
        return "another provisioner of this pool is in force"
    return ""


def _node_ordered(state: State, event: NodeOrdered, meta: "Meta") -> str:
    pool = state.pools.get(event.pool)
    if fault := term_fault(state, event.term):
        return fault
    if pool is None:
        return f"no pool {event.pool}"
    if pool.wake is not None and not pool.wake.fired:
        return "the pool is held back"
    if event.spare and event.replaces:
        return "a spare replaces nobody until it is taken"
    if event.spare and spares_in_pool(state, event.pool) >= pool.spares:
        return "the pool has the spares it ought to have"
    if not event.spare and nodes_in_pool(state, event.pool, staying=True) >= pool.nodes:
        return "the pool has the nodes it ought to have"
    if nodes_in_pool(state, event.pool) >= nodes_max(state, pool):
        return "the pool is at its maximum"
    if event.replaces and is_node_paused(state, event.replaces):
        return f"the watch over {event.replaces} is paused"
    if event.place and (event.pool, event.based_on, event.place) in state.order_places:
        return "it was ordered before"
    state.put(
        "orders",
        str(meta.offset),
        OrderRow(
            order=meta.offset,
            pool=event.pool,
            slots=event.slots,
            port_floor=event.port_floor,
            ordered_at_ms=meta.append_ms,
            replaces=event.replaces,
            replaces_lineage=event.replaces_lineage,
            wake=wake_of(event.wake_ms, meta),
            spare=event.spare,
            based_on=event.based_on,
            place=event.place,
        ),
    )
    return ""


def _order_withdrawn(state: State, event: NodeOrderWithdrawn, _meta: "Meta") -> str:
    """Withdraw an order; also a strike against its pool."""
    if fault := term_fault(state, event.term):
        return fault
    row = state.orders.get(str(event.order))
    if row is None or not is_order_open(state, row):
        return f"order {event.order} is not open"
    state.put("orders", str(event.order), replace(row, withdrawn=True, end_reason=event.reason, wake=None))
    _strike(state, row.pool)
    return ""


def _node_exited(state: State, event: NodeExited, _meta: "Meta") -> str:
    """End an order; a node that never registered is also a strike against its pool."""
    row = state.orders.get(str(event.order))
    if row is None or row.ended:
        return f"order {event.order} is over"
    if is_order_open(state, row):
        _strike(state, row.pool)
    state.put(
        "orders",
        str(event.order),
        replace(row, ended=True, end_reason=row.end_reason or event.reason, node=event.node, wake=None),
    )
    pool = state.pools.get(row.pool)
    if pool is not None and event.node:
        state.put("pools", row.pool, replace(pool, port_highest=max(pool.port_highest, _port_of(event.node))))
    return ""


def _port_of(node: str) -> int:
    try:
        return split_node_id(node)[1]
    except ValueError:
        return 0


def _strike(state: State, pool: str) -> None:
    row = state.pools[pool]
    state.put("pools", pool, replace(row, strikes=row.strikes + 1))


def _declared_down(state: State, event: NodeDeclaredDown, meta: "Meta") -> str:
    """End a node's registration; under the brake also uses up its allowance."""
    if fault := term_fault(state, event.term) or _down_fault(state, event):
        return fault
    row = state.nodes[event.node]
    brake = state.brake
    if event.reason == "silent" and brake.engaged >= 0:
        state.put("brake", ONLY, replace(brake, allowance=brake.allowance - 1))
    state.put(
        "nodes",
        event.node,
        replace(
            row,
            status="down",
            since_ms=meta.append_ms,
            destroy=event.destroy,
            down_reason=event.reason,
            failures=row.failures + 1,
            draining=False,
            confirmed=False,
            quarantined=False,
            emptying=False,
            forced=False,
            recent_failures=[*row.recent_failures, meta.append_ms][-state.policy.node_quarantine_after :],
            wake=wake_of(event.wake_ms, meta),
        ),
    )
    return ""


def _down_fault(state: State, event: NodeDeclaredDown) -> str:
    row = state.nodes.get(event.node)
    if row is None or row.status != "active" or row.registration != event.registration:
        return f"registration {event.registration} of {event.node} is not in force"
    if event.reason != "confirmed" and is_node_paused(state, event.node):
        return f"the watch over {event.node} is paused"
    match event.reason:
        case "exited" if not state.orders[str(row.order)].ended:
            return "its provider does not confirm that it exited"
        case "silent" if not row.silent:
            return "it is not silent"
        case "confirmed" if not (row.silent and row.confirmed):
            return "nobody confirmed its death"
        case "silent" if state.brake.engaged >= 0 and state.brake.allowance < 1:
            return "the brake holds"
        case _:
            return ""


def _node_left(state: State, event: NodeLeft, meta: "Meta") -> str:
    if fault := term_fault(state, event.term):
        return fault
    row = state.nodes.get(event.node)
    if row is None or row.status != "active" or row.registration != event.registration or not row.draining:
        return f"{event.node} does not drain under registration {event.registration}"
    if not is_empty(state, row):
        return "it still has apps"
    state.put("nodes", event.node, replace(row, status="left", since_ms=meta.append_ms))
    return ""


def is_empty(state: State, node: NodeRow) -> bool:
    """Whether no app takes a slot of the node."""
    apps = (state.apps[key] for key in state.apps_of_node.get(node.node, ()))
    return not any(
        has_standby_on(app, node) or (app.lineage == node.lineage and holds_slot(app)) for app in apps
    )


def _pool_held_back(state: State, event: PoolHeldBack, meta: "Meta") -> str:
    row = state.pools.get(event.pool)
    if fault := term_fault(state, event.term) or _pool_fault(row, event.strikes):
        return fault
    assert row is not None
    if row.held_for >= event.strikes:
        return "it was held back for this"
    state.put("pools", event.pool, replace(row, held_for=event.strikes, wake=wake_of(event.wake_ms, meta)))
    return ""


def _pool_degraded(state: State, event: PoolDegraded, _meta: "Meta") -> str:
    row = state.pools.get(event.pool)
    if fault := term_fault(state, event.term) or _pool_fault(row, event.strikes):
        return fault
    assert row is not None
    if row.degraded:
        return "it is degraded"
    state.put("pools", event.pool, replace(row, degraded=True))
    return ""


def _pool_fault(row: PoolRow | None, strikes: int) -> str:
    return "" if row is not None and row.strikes == strikes else f"the pool has not had {strikes} strikes"


NODE_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    NodeRegistered: _node_registered,
    ProvisionerRegistered: _provisioner_registered,
    NodeOrdered: _node_ordered,
    NodeOrderWithdrawn: _order_withdrawn,
    NodeExited: _node_exited,
    NodeDeclaredDown: _declared_down,
    NodeLeft: _node_left,
    PoolHeldBack: _pool_held_back,
    PoolDegraded: _pool_degraded,
}
