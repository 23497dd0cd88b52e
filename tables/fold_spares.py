"""Fold of spares: taken into service, or taken away. Pure; part of `tables.fold`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import Event, SpareRetired, SpareTaken
from tables.fold_nodes import term_fault
from tables.pauses import is_node_paused
from tables.pools import is_takeable, nodes_in_pool
from tables.state import State
from tables.tally import stays

if TYPE_CHECKING:
    from tables.fold import Meta


def _taken(state: State, event: SpareTaken, meta: "Meta") -> str:
    """Make a spare an ordinary node; also its order says so, and whom it replaces."""
    if fault := term_fault(state, event.term) or _taking_fault(state, event):
        return fault
    row = state.nodes[event.node]
    order = state.orders[str(row.order)]
    state.put(
        "orders",
        str(row.order),
        replace(
            order,
            spare=False,
            taken_at=meta.offset,
            replaces=event.replaces,
            replaces_lineage=event.replaces_lineage,
        ),
    )
    state.put("nodes", event.node, replace(row, spare=False, since_ms=meta.append_ms))
    return ""


def _taking_fault(state: State, event: SpareTaken) -> str:
    row = state.nodes.get(event.node)
    if row is None or row.status != "active" or row.registration != event.registration:
        return f"registration {event.registration} of {event.node} is not in force"
    if not is_takeable(row):
        return f"{event.node} does not stand by"
    if nodes_in_pool(state, row.pool, staying=True) >= state.pools[row.pool].nodes:
        return "the pool has the nodes it ought to have"
    dead = state.nodes.get(event.replaces)
    if event.replaces and (
        dead is None or dead.status != "down" or dead.lineage != event.replaces_lineage or dead.spare
    ):
        return f"{event.replaces} of lineage {event.replaces_lineage} is not to be replaced"
    if event.replaces and is_node_paused(state, event.replaces):
        return f"the watch over {event.replaces} is paused"
    return ""


def _retired(state: State, event: SpareRetired, _meta: "Meta") -> str:
    row = state.nodes.get(event.node)
    if fault := term_fault(state, event.term):
        return fault
    if row is None or row.status != "active" or row.registration != event.registration:
        return f"registration {event.registration} of {event.node} is not in force"
    if not row.spare or not stays(row):
        return f"{event.node} does not stand by"
    state.put("nodes", event.node, replace(row, draining=True))
    return ""


SPARE_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    SpareTaken: _taken,
    SpareRetired: _retired,
}
