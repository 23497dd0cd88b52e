"""Fold of what governs the rest: silence, the brake, policy, pools' wishes, terms and timers. Pure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import (
    BrakeEngaged,
    BrakeReleased,
    BrakeReleaseRequested,
    Event,
    NodeDownConfirmed,
    NodeShutdownRequested,
    NodesRequested,
    OverdueShareChanged,
    PlannerStarted,
    PolicyChanged,
    PoolConfigured,
    RequestRefused,
    SourceFellSilent,
    SourceForgotten,
    SourceReturned,
    TimerFired,
)
from sdk.contract.ids import pool_id
from sdk.contract.policy import check_policy
from tables.fold_nodes import term_fault, wake_of
from tables.fold_requests import remember, request_fault
from tables.rows import ONLY, AppRow, BrakeRow, NodeRow, PolicyRow, PoolRow, SourceRow, TermRow, Wake
from tables.state import State, is_hosted

if TYPE_CHECKING:
    from tables.fold import Meta

#: Nodes one pool may be asked for. Source: ports of one address, less those below 1024.
POOL_NODES_MAX = 60_000
#: Slots one node may offer: more than any machine runs processes of ours.
SLOTS_MAX = 10_000


# --- silence -------------------------------------------------------------------------------------------


def source_row(
    state: State, event: SourceFellSilent | SourceReturned
) -> NodeRow | PoolRow | AppRow | SourceRow | None:
    """The row of the source if the event's epoch is in force and its silence can be judged."""
    match event.kind:
        case "node":
            node = state.nodes.get(event.source)
            return node if node and node.status == "active" and node.registration == event.epoch else None
        case "pool":
            pool = state.pools.get(event.source)
            return pool if pool and pool.registration == event.epoch else None
        case "app":
            app = state.apps.get(event.source)
            in_force = (
                app and app.generation == event.epoch and app.phase == "running" and is_hosted(state, app)
            )
            return app if in_force else None
        case _:
            return state.sources.get(event.source) if event.epoch == 0 else None


_TABLE_OF_KIND = {"node": "nodes", "pool": "pools", "app": "apps", "lone": "sources"}


def silence_fault(state: State, event: SourceFellSilent) -> str:
    """Why a silence cannot be recorded, or an empty string."""
    row = source_row(state, event)
    if row is None:
        return f"epoch {event.epoch} of {event.source} is not in force"
    if row.silent:
        return "it is silent"
    return "" if event.from_offset >= row.seen else "a later beat is known"


def _fell_silent(state: State, event: SourceFellSilent, meta: "Meta") -> str:
    if fault := silence_fault(state, event):
        return fault
    row = source_row(state, event)
    assert row is not None
    new = replace(row, silent=True, seen=event.from_offset)
    if isinstance(new, SourceRow):
        new = replace(new, failures=new.failures + 1, since_ms=meta.append_ms)
    elif isinstance(new, PoolRow):
        new = replace(new, failures=new.failures + 1)
    state.put(_TABLE_OF_KIND[event.kind], event.source, new)
    return ""


def return_fault(state: State, event: SourceReturned) -> str:
    """Why a return cannot be recorded, or an empty string."""
    row = source_row(state, event)
    if row is None:
        if event.kind != "lone" or event.epoch != 0:
            return f"epoch {event.epoch} of {event.source} is not in force"
        known = event.source in state.apps or event.source in state.nodes or event.source in state.pools
        return "it is managed, not lone" if known else ""
    if not row.silent:
        return "it is not silent"
    return "" if event.offset > row.seen else "the beat is older than its silence"


def _returned(state: State, event: SourceReturned, meta: "Meta") -> str:
    if fault := return_fault(state, event):
        return fault
    row = source_row(state, event)
    if row is None:
        new: NodeRow | PoolRow | AppRow | SourceRow = SourceRow(
            event.source, event.kind, event.partition, event.offset, meta.append_ms
        )
    else:
        new = replace(row, silent=False, seen=event.offset)
        if isinstance(new, SourceRow):
            new = replace(new, since_ms=meta.append_ms)
        if isinstance(new, NodeRow):
            new = replace(new, confirmed=False)
    state.put(_TABLE_OF_KIND[event.kind], event.source, new)
    return ""


# --- the brake -----------------------------------------------------------------------------------------


def _share_changed(state: State, event: OverdueShareChanged, meta: "Meta") -> str:
    """Note the share; while the brake is on, start the time to its release or to its next step."""
    brake = state.brake
    if fault := term_fault(state, event.term):
        return fault
    if event.band == brake.band:
        return "nothing new"
    new = replace(brake, band=event.band, overdue=event.overdue, nodes=event.nodes, band_at=meta.offset)
    policy = state.policy
    if event.band == "calm":
        new = replace(new, overridden=False)
        if brake.engaged >= 0:
            new = replace(new, wake=Wake(meta.offset, meta.append_ms + policy.brake_calm_ms))
    elif brake.engaged >= 0:
        due = max(brake.engaged_at_ms + policy.brake_hold_ms, meta.append_ms + policy.brake_step_ms)
        new = replace(new, wake=Wake(meta.offset, due))
    state.put("brake", ONLY, new)
    return ""


def _engaged(state: State, event: BrakeEngaged, meta: "Meta") -> str:
    brake = state.brake
    if fault := term_fault(state, event.term):
        return fault
    if brake.engaged >= 0 or brake.band == "calm" or brake.overridden:
        return "nothing to brake"
    state.put(
        "brake",
        ONLY,
        replace(
            brake,
            engaged=meta.offset,
            engaged_at_ms=meta.append_ms,
            allowance=0,
            wake=wake_of(event.wake_ms, meta),
        ),
    )
    return ""


def _released(state: State, event: BrakeReleased, _meta: "Meta") -> str:
    brake = state.brake
    if fault := term_fault(state, event.term):
        return fault
    if brake.engaged < 0 or brake.band != "calm" or brake.wake is None or not brake.wake.fired:
        return "it has not been calm long enough"
    state.put("brake", ONLY, replace(brake, engaged=-1, allowance=0, wake=None))
    return ""


def _release_requested(state: State, event: BrakeReleaseRequested, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    brake = state.brake
    if brake.engaged >= 0:
        over = brake.band != "calm"
        state.put("brake", ONLY, replace(brake, engaged=-1, allowance=0, wake=None, overridden=over))
    remember(state, event.request, meta)
    return ""


# --- wishes and policy ---------------------------------------------------------------------------------


def _nodes_requested(state: State, event: NodesRequested, meta: "Meta") -> str:
    row = state.pools.get(event.pool)
    if fault := request_fault(state, event.request) or ("" if row else f"no pool {event.pool}"):
        return fault
    assert row is not None
    if not 1 <= event.count <= POOL_NODES_MAX or row.nodes + event.count > state.policy.pool_nodes_max:
        return f"{event.pool} may have {state.policy.pool_nodes_max} nodes"
    state.put("pools", event.pool, replace(row, nodes=row.nodes + event.count))
    remember(state, event.request, meta)
    return ""


def _pool_configured(state: State, event: PoolConfigured, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    if not (0 <= event.nodes <= POOL_NODES_MAX and 1 <= event.slots <= SLOTS_MAX):
        return "nodes or slots out of range"
    try:
        pool = pool_id(event.pool.removeprefix("pool-"))
    except ValueError as error:
        return str(error)
    row = state.pools.get(pool, PoolRow(pool))
    state.put("pools", pool, replace(row, nodes=event.nodes, slots=event.slots))
    remember(state, event.request, meta)
    return ""


def _shutdown_requested(state: State, event: NodeShutdownRequested, meta: "Meta") -> str:
    """Drain a node for good; also lowers how many its pool ought to have."""
    row = state.nodes.get(event.node)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or row.status != "active":
        return f"no active node {event.node}"
    if not row.draining:
        pool = state.pools[row.pool]
        state.put("pools", row.pool, replace(pool, nodes=max(0, pool.nodes - 1)))
        state.put("nodes", event.node, replace(row, draining=True))
    remember(state, event.request, meta)
    return ""


def _down_confirmed(state: State, event: NodeDownConfirmed, meta: "Meta") -> str:
    row = state.nodes.get(event.node)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or row.status != "active" or not row.silent:
        return f"{event.node} is not silent"
    state.put("nodes", event.node, replace(row, confirmed=True))
    remember(state, event.request, meta)
    return ""


def _source_forgotten(state: State, event: SourceForgotten, meta: "Meta") -> str:
    row = state.sources.get(event.source)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or not row.silent:
        return f"{event.source} is no silent lone source"
    state.drop("sources", event.source)
    remember(state, event.request, meta)
    return ""


def _policy_changed(state: State, event: PolicyChanged, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    try:
        check_policy(event.policy)
    except ValueError as error:
        return str(error)
    state.put("policy", ONLY, PolicyRow(event.policy, meta.offset))
    remember(state, event.request, meta)
    return ""


def _request_refused(state: State, event: RequestRefused, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    remember(state, event.request, meta)
    return ""


# --- terms and timers ----------------------------------------------------------------------------------


def _planner_started(state: State, event: PlannerStarted, meta: "Meta") -> str:
    if event.fold_version < state.term.fold_version:
        return f"fold version {event.fold_version} is older than {state.term.fold_version}"
    state.put("term", ONLY, TermRow(meta.offset, event.writer, event.fold_version))
    return ""


def _timer_fired(state: State, event: TimerFired, meta: "Meta") -> str:
    if fault := term_fault(state, event.term):
        return fault
    row = state.tables.get(event.table, {}).get(event.key)
    wake: Wake | None = getattr(row, "wake", None)
    if row is None or wake is None or wake.set_at != event.set_at or wake.fired:
        return "nobody waits for it"
    new: Any = replace(row, wake=replace(wake, fired=True))
    if isinstance(new, BrakeRow) and new.band == "most" and new.engaged >= 0:
        due = meta.append_ms + state.policy.brake_step_ms
        new = replace(new, allowance=1, wake=Wake(meta.offset, due))
    if isinstance(new, NodeRow) and new.emptying:
        new = replace(new, forced=True)
    state.put(event.table, event.key, new)
    return ""


CONTROL_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    SourceFellSilent: _fell_silent,
    SourceReturned: _returned,
    OverdueShareChanged: _share_changed,
    BrakeEngaged: _engaged,
    BrakeReleased: _released,
    BrakeReleaseRequested: _release_requested,
    NodesRequested: _nodes_requested,
    PoolConfigured: _pool_configured,
    NodeShutdownRequested: _shutdown_requested,
    NodeDownConfirmed: _down_confirmed,
    SourceForgotten: _source_forgotten,
    PolicyChanged: _policy_changed,
    RequestRefused: _request_refused,
    PlannerStarted: _planner_started,
    TimerFired: _timer_fired,
}
