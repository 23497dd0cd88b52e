"""Fold of grants: room on a node that somebody asked for, from the wish to its use or end. Pure.

A grant is a row as long as it matters: waiting (no node yet) or kept (on a node). Used up, refused or expired, it goes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import (
    Event,
    GrantExpired,
    GrantRefused,
    NodeGranted,
    NodeRequested,
    PoolEnlarged,
)
from tables.fold_moves import takes_apps
from tables.fold_nodes import term_fault, wake_of
from tables.fold_requests import remember, request_fault
from tables.pools import nodes_max
from tables.questions import is_kept, taken_on
from tables.room import capacity_of, need_of, need_of_grant
from tables.rows import AppRow, GrantRow
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


def _requested(state: State, event: NodeRequested, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    pools = [row for pool, row in state.pools.items() if event.pool in ("", pool)]
    if not pools:
        return f"no pool {event.pool}"
    slots_max = max(row.slots for row in pools)
    if not 1 <= event.slots <= slots_max:
        return f"a node of {event.pool or 'any pool'} has {slots_max} slots"
    if min(event.cpu_percent, event.memory_mib) < 0:
        return "processor or memory out of range"
    row = GrantRow(
        meta.offset,
        event.pool,
        event.slots,
        event.new,
        cpu_percent=event.cpu_percent,
        memory_mib=event.memory_mib,
    )
    state.put("grants", str(meta.offset), row)
    remember(state, event.request, meta)
    return ""


def _waiting_fault(state: State, grant: int, pool: str) -> str:
    row = state.grants.get(str(grant))
    waits = row is not None and not row.node and row.pool in ("", pool)
    return "" if waits else f"grant {grant} does not wait for {pool}"


def _enlarged(state: State, event: PoolEnlarged, _meta: "Meta") -> str:
    if fault := term_fault(state, event.term) or _waiting_fault(state, event.grant, event.pool):
        return fault
    row = state.pools.get(event.pool)
    if row is None:
        return f"no pool {event.pool}"
    if event.nodes <= row.nodes:
        return f"{event.pool} ought to have {row.nodes} nodes"
    if event.nodes > nodes_max(state, row):
        return f"{event.pool} may have {nodes_max(state, row)} nodes"
    state.put("pools", event.pool, replace(row, nodes=event.nodes))
    return ""


def _granted(state: State, event: NodeGranted, meta: "Meta") -> str:
    """Keep room on a node; if a new one was asked for, its order says that it was given away."""
    if fault := term_fault(state, event.term) or _grant_fault(state, event):
        return fault
    node, row = state.nodes[event.node], state.grants[str(event.grant)]
    if row.new:
        order = state.orders[str(node.order)]
        state.put("orders", str(node.order), replace(order, granted=True))
    state.put(
        "grants",
        str(event.grant),
        replace(
            row, pool=node.pool, node=event.node, lineage=node.lineage, wake=wake_of(event.wake_ms, meta)
        ),
    )
    return ""


def _grant_fault(state: State, event: NodeGranted) -> str:
    node = state.nodes.get(event.node)
    if node is None or node.status != "active" or node.registration != event.registration:
        return f"registration {event.registration} of {event.node} is not in force"
    if fault := _waiting_fault(state, event.grant, node.pool):
        return fault
    row = state.grants[str(event.grant)]
    if not takes_apps(node):
        return f"{event.node} takes no apps"
    need = need_of_grant(row)
    if (event.slots, event.cpu_percent, event.memory_mib) != need:
        return f"grant {event.grant} asks for {need.words()}"
    if not need.fits(capacity_of(node).minus(taken_on(state, event.node))):
        return f"{event.node} has no room"
    return "" if not row.new or is_new_to(state, event.grant, node.order) else f"{event.node} is not new"


def is_new_to(state: State, grant: int, order: int) -> bool:
    """Whether the node of an order joined its pool after somebody asked, and was given to nobody else who did."""
    row = state.orders[str(order)]
    return row.serves_from > grant and not row.granted


def _refused(state: State, event: GrantRefused, _meta: "Meta") -> str:
    if fault := term_fault(state, event.term) or _waiting_fault(state, event.grant, event.pool):
        return fault
    state.drop("grants", str(event.grant))
    return ""


def _expired(state: State, event: GrantExpired, _meta: "Meta") -> str:
    row = state.grants.get(str(event.grant))
    if fault := term_fault(state, event.term):
        return fault
    if row is None or not row.node or row.node != event.node:
        return f"grant {event.grant} has no room on {event.node}"
    if event.reason == "unused" and not (row.wake is not None and row.wake.fired):
        return "its time is not over"
    if event.reason == "node-gone" and is_kept(state, row):
        return f"{event.node} serves"
    state.drop("grants", str(event.grant))
    return ""


def use_grant(state: State, app: AppRow) -> None:
    """A copy of the app is placed: what was kept for it is free again, or taken by it."""
    row = state.grants.get(str(app.grant))
    if row is None or not row.node:
        return
    kept = need_of_grant(row)
    left = kept.minus(need_of(app.spec).at_most(kept))
    if left.slots:
        state.put(
            "grants",
            str(app.grant),
            replace(row, slots=left.slots, cpu_percent=left.cpu_percent, memory_mib=left.memory_mib),
        )
    else:
        state.drop("grants", str(app.grant))


GRANT_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    NodeRequested: _requested,
    PoolEnlarged: _enlarged,
    NodeGranted: _granted,
    GrantRefused: _refused,
    GrantExpired: _expired,
}
