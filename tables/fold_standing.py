"""Fold of whether a node takes apps: cordoned by people, quarantined by the planner. Pure; part of `tables.fold`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import Event, NodeCordoned, NodeQuarantined, NodeReleased, NodeUncordoned
from tables.fold_nodes import is_empty, term_fault, wake_of
from tables.fold_requests import remember, request_fault
from tables.pools import nodes_in_pool
from tables.questions import is_unreliable
from tables.rows import NodeRow
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


def _cordoned(state: State, event: NodeCordoned, meta: "Meta") -> str:
    row = state.nodes.get(event.node)
    if fault := request_fault(state, event.request) or ("" if row else f"no node {event.node}"):
        return fault
    assert row is not None
    state.put("nodes", event.node, replace(row, cordoned=True))
    remember(state, event.request, meta)
    return ""


def _uncordoned(state: State, event: NodeUncordoned, meta: "Meta") -> str:
    """Let a node take apps again, whoever or whatever kept it from that."""
    row = state.nodes.get(event.node)
    if fault := request_fault(state, event.request) or ("" if row else f"no node {event.node}"):
        return fault
    assert row is not None
    wake = None if row.emptying else row.wake
    free = replace(row, cordoned=False, emptying=False, forced=False, wake=wake)
    state.put("nodes", event.node, _trusted(free))
    remember(state, event.request, meta)
    return ""


def _trusted(row: NodeRow) -> NodeRow:
    """The row without quarantine, its failures forgiven; a wake of anything else stays."""
    return replace(row, quarantined=False, recent_failures=[], wake=None if row.quarantined else row.wake)


def _quarantined(state: State, event: NodeQuarantined, meta: "Meta") -> str:
    row = state.nodes.get(event.node)
    if fault := term_fault(state, event.term) or _standing_fault(row, event.registration):
        return fault
    assert row is not None
    if row.quarantined or row.emptying or not is_unreliable(state, row):
        return "it has not failed that often"
    state.put("nodes", event.node, replace(row, quarantined=True, wake=wake_of(event.wake_ms, meta)))
    return ""


def _released(state: State, event: NodeReleased, _meta: "Meta") -> str:
    row = state.nodes.get(event.node)
    if fault := term_fault(state, event.term) or _standing_fault(row, event.registration):
        return fault
    assert row is not None
    if not row.quarantined or (row.wake is not None and not row.wake.fired):
        return "its time is not over"
    if event.surplus and not is_surplus(state, row):
        return f"{row.pool} has no node too many"
    state.put("nodes", event.node, replace(_trusted(row), draining=event.surplus or row.draining))
    return ""


def is_surplus(state: State, node: NodeRow) -> bool:
    """Whether the pool of an empty node in quarantine has the nodes it ought to have without it."""
    has_all = nodes_in_pool(state, node.pool, staying=True) >= state.pools[node.pool].nodes
    return has_all and not node.spare and is_empty(state, node)


def _standing_fault(row: NodeRow | None, registration: int) -> str:
    if row is None or row.status != "active" or row.registration != registration:
        return f"registration {registration} is not in force"
    return ""


STANDING_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    NodeCordoned: _cordoned,
    NodeUncordoned: _uncordoned,
    NodeQuarantined: _quarantined,
    NodeReleased: _released,
}
