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
    SourceReturned,
    TimerFired,
)
from sdk.contract.ids import pool_id
from sdk.contract.policy import check_policy
from tables.device_rows import CommandRow, DeviceRow
from tables.fold_commands import expired
from tables.fold_nodes import term_fault, wake_of
from tables.fold_notifications import escalate
from tables.fold_requests import remember, request_fault
from tables.notification_rows import NotificationRow
from tables.pools import nodes_max
from tables.rows import (
    ONLY,
    AppRow,
    BrakeRow,
    NodeRow,
    PauseRow,
    PolicyRow,
    PoolRow,
    SourceRow,
    TermRow,
    Wake,
)
from tables.state import State, is_hosted

if TYPE_CHECKING:
    from tables.fold import Meta

#: Nodes one pool may be asked for. Source: ports of one address, less those below 1024.
POOL_NODES_MAX = 60_000
#: Slots one node may offer: more than any machine runs processes of ours.
SLOTS_MAX = 10_000
#: How long a pool may wait for a new node to register; source: as in the policy.
REGISTER_WITHIN_MIN_MS, REGISTER_WITHIN_MAX_MS = 1_000, 7_200_000


#: Everything that can fall silent.
Watched = NodeRow | PoolRow | AppRow | SourceRow | DeviceRow

# --- silence -------------------------------------------------------------------------------------------


def source_row(state: State, event: SourceFellSilent | SourceReturned) -> Watched | None:
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
        case "sensor":
            sensor = state.devices.get(event.source)
            return sensor if sensor and sensor.expectation and event.epoch == 0 else None
        case _:
            return state.sources.get(event.source) if event.epoch == 0 else None


_TABLE_OF_KIND = {"node": "nodes", "pool": "pools", "app": "apps", "lone": "sources", "sensor": "devices"}


def silence_fault(row: Watched | None, event: SourceFellSilent) -> str:
    """Why a silence cannot be recorded, given the row of its source, or an empty string."""
    if row is None:
        return f"epoch {event.epoch} of {event.source} is not in force"
    if row.silent:
        return "it is silent"
    if isinstance(row, DeviceRow) and row.limit_ms != event.limit_ms:
        return "it has another limit by now"
    return "" if event.from_offset >= row.seen else "a later beat is known"


def _fell_silent(state: State, event: SourceFellSilent, meta: "Meta") -> str:
    row = source_row(state, event)
    if fault := silence_fault(row, event):
        return fault
    assert row is not None
    new = replace(row, silent=True, seen=event.from_offset)
    if isinstance(new, SourceRow):
        new = replace(new, failures=new.failures + 1, since_ms=meta.append_ms)
    elif isinstance(new, PoolRow):
        new = replace(new, failures=new.failures + 1)
    elif isinstance(new, DeviceRow):
        new = replace(new, failures=new.failures + 1, changed_ms=meta.append_ms)
    state.put(_TABLE_OF_KIND[event.kind], event.source, new)
    return ""


def is_unheard(row: Watched) -> bool:
    """Whether it is a lone source that is expected, or a sensor, and that nobody has heard yet."""
    return isinstance(row, SourceRow | DeviceRow) and row.seen < 0


def return_fault(state: State, row: Watched | None, event: SourceReturned) -> str:
    """Why a return cannot be recorded, given the row of its source, or an empty string."""
    if event.expectation and not (
        isinstance(row, SourceRow | DeviceRow) and row.expectation == event.expectation
    ):
        return "nobody expects it in that topic any more"
    if row is None:
        if event.kind != "lone" or event.epoch != 0:
            return f"epoch {event.epoch} of {event.source} is not in force"
        known = event.source in state.apps or event.source in state.nodes or event.source in state.pools
        return "it is managed, not lone" if known else ""
    if not row.silent and not is_unheard(row):
        return "it is not silent"
    return "" if event.offset > row.seen else "the beat is older than its silence"


def _returned(state: State, event: SourceReturned, meta: "Meta") -> str:
    row = source_row(state, event)
    if fault := return_fault(state, row, event):
        return fault
    if row is None:
        new: Watched = SourceRow(event.source, event.kind, event.partition, event.offset, meta.append_ms)
    else:
        new = replace(row, silent=False, seen=event.offset)
        if isinstance(new, SourceRow):
            new = replace(new, since_ms=meta.append_ms)
        if isinstance(new, DeviceRow):
            new = replace(new, changed_ms=meta.append_ms)
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
    if not 1 <= event.count <= POOL_NODES_MAX or row.nodes + event.count > nodes_max(state, row):
        return f"{event.pool} may have {nodes_max(state, row)} nodes"
    state.put("pools", event.pool, replace(row, nodes=row.nodes + event.count))
    remember(state, event.request, meta)
    return ""


def _pool_configured(state: State, event: PoolConfigured, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    if not (0 <= event.nodes <= POOL_NODES_MAX and 1 <= event.slots <= SLOTS_MAX):
        return "nodes or slots out of range"
    if fault := bounds_fault(event):
        return fault
    try:
        pool = pool_id(event.pool.removeprefix("pool-"))
    except ValueError as error:
        return str(error)
    row = state.pools.get(pool, PoolRow(pool))
    state.put(
        "pools",
        pool,
        replace(
            row,
            nodes=event.nodes,
            slots=event.slots,
            nodes_min=event.nodes_min,
            nodes_max=event.nodes_max,
            spares=event.spares,
            register_within_ms=event.register_within_ms,
        ),
    )
    remember(state, event.request, meta)
    return ""


def bounds_fault(event: PoolConfigured) -> str:
    """What is wrong with the bounds of a pool, or an empty string."""
    low, most = event.nodes_min, event.nodes_max
    if not (0 <= most <= POOL_NODES_MAX and 0 <= low <= POOL_NODES_MAX):
        return f"min {low}, max {most}: out of range; allowed: 0 to {POOL_NODES_MAX}"
    if event.nodes < low or (most and event.nodes > most):
        return (
            f"nodes: {event.nodes} is out of range; allowed: {low} to {most or POOL_NODES_MAX} (min and max)"
        )
    if not 0 <= event.spares <= (most or POOL_NODES_MAX):
        return f"spares: {event.spares} is out of range; allowed: 0 to {most or POOL_NODES_MAX}"
    if (
        event.register_within_ms
        and not REGISTER_WITHIN_MIN_MS <= event.register_within_ms <= REGISTER_WITHIN_MAX_MS
    ):
        return (
            f"register_within_ms: {event.register_within_ms} is out of range; "
            f"allowed: {REGISTER_WITHIN_MIN_MS} to {REGISTER_WITHIN_MAX_MS}, or 0 for the policy's"
        )
    return ""


def shutdown_fault(state: State, node: NodeRow) -> str:
    """Why a node cannot be shut down, or an empty string; a spare that goes lowers how many stand by."""
    pool = state.pools[node.pool]
    if node.draining or node.spare or not pool.nodes_min or pool.nodes > pool.nodes_min:
        return ""
    return f"{node.pool} must keep {pool.nodes_min} nodes (its min), and ought to have {pool.nodes}"


def _shutdown_requested(state: State, event: NodeShutdownRequested, meta: "Meta") -> str:
    """Drain a node for good; also lowers how many its pool ought to have, or how many stand by."""
    row = state.nodes.get(event.node)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or row.status != "active":
        return f"no active node {event.node}"
    if not row.draining:
        if fault := shutdown_fault(state, row):
            return fault
        pool = state.pools[row.pool]
        if row.spare:
            fewer = replace(pool, spares=max(0, pool.spares - 1))
        else:
            fewer = replace(pool, nodes=max(0, pool.nodes - 1))
        state.put("pools", row.pool, fewer)
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
    if isinstance(row, PauseRow):
        state.drop("pauses", event.key)
        return ""
    if isinstance(row, NotificationRow):
        state.put("notifications", event.key, escalate(row, meta))
        return ""
    if isinstance(row, CommandRow):
        state.put("commands", event.key, expired(row, meta.append_ms))
        return ""
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
    PolicyChanged: _policy_changed,
    RequestRefused: _request_refused,
    PlannerStarted: _planner_started,
    TimerFired: _timer_fired,
}
