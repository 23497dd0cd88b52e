"""Events: the three kinds of record on the log (DESIGN 5). Pure.

1. Facts: what the heartbeats say; written by watchers. Past participle, subject first.
2. Admitted requests: what people and programs want; written by the `requests` processor.
3. Decisions: what the planner made of it; each carries the `term` it was made in and counts only if that
   term is in force at its offset.

A type name is stable and versioned (`watchkeep.app.placed.v1`) and lives in `EVENT_TYPES`; new fields are
optional, a changed meaning is a new version. Offsets named `based_on`, `policy`, `registration`,
`generation`, `order` and `term` are offsets of the events topic.
"""

from typing import Literal

import msgspec

from sdk.contract.policy import Policy
from sdk.contract.specs import AppSpec
from sdk.contract.whole import Whole

SourceKind = Literal["node", "pool", "app", "lone"]
#: Share of nodes overdue, as the brake sees it: within bounds, over them, or every single one.
Band = Literal["calm", "most", "all"]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in the heartbeats topic that a fact or decision rests on: partition and offset."""

    partition: Whole
    offset: Whole


class _Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything on the log."""


# --- facts ---------------------------------------------------------------------------------------------


class NodeRegistered(_Event, frozen=True):
    """An agent said hello and may serve."""

    node: str
    claim: str
    order: Whole
    #: The registration on the agent's disk that this one succeeds, 0 if none.
    old_registration: Whole
    ip: str
    port: Whole
    pool: str
    slots: Whole
    drivers: list[str]
    boot_id: str
    position: Position


class ProvisionerRegistered(_Event, frozen=True):
    """A provisioner said hello and may create nodes for its pool."""

    pool: str
    claim: str
    old_registration: Whole
    boot_id: str
    position: Position


class SourceFellSilent(_Event, frozen=True):
    """No beat of `source` in its epoch between two offsets, over the limit on the log clock, not settling."""

    source: str
    kind: SourceKind
    epoch: Whole
    topic_id: str
    partition: Whole
    #: Offset of the last beat, or where reading began.
    from_offset: Whole
    #: Offset of the tick (of the report, for an app) that decided.
    until_offset: Whole
    #: Log-clock time between them.
    silent_ms: Whole
    limit_ms: Whole
    #: Time that gaps in the partition added to the limit.
    postponed_ms: Whole = 0


class SourceReturned(_Event, frozen=True):
    """A beat of a source that the log calls silent, or of a lone source it does not know."""

    source: str
    kind: SourceKind
    epoch: Whole
    topic_id: str
    partition: Whole
    offset: Whole


class AppStarted(_Event, frozen=True):
    """The first beat of a generation, as its agent reports it."""

    app: str
    generation: Whole
    node: str
    position: Position


class AppExited(_Event, frozen=True):
    """A generation has ended: its process exited, or the node that ought to run it does not know it."""

    app: str
    generation: Whole
    node: str
    reason: Literal["exited", "lost"]
    position: Position
    exit_code: Whole | None = None


class NodeExited(_Event, frozen=True):
    """The provider confirms that the node of an order is gone, or never came to be."""

    order: Whole
    pool: str
    #: Empty if the order never got as far as a name.
    node: str
    reason: str
    position: Position
    exit_code: Whole | None = None


class OverdueShareChanged(_Event, frozen=True):
    """The share of nodes without a report crossed a bound; from the leader's watcher only."""

    term: Whole
    band: Band
    overdue: Whole
    nodes: Whole
    positions: list[Position]


# --- admitted requests -----------------------------------------------------------------------------------


class AppSubmitted(_Event, frozen=True):
    """Somebody wants an app to run; a second submission of one app replaces its spec."""

    request: str
    spec: AppSpec


class AppStopRequested(_Event, frozen=True):
    """Somebody wants an app not to run any more."""

    request: str
    app: str


class AppRestartRequested(_Event, frozen=True):
    """Somebody wants a new copy of an app; also ends a give-up."""

    request: str
    app: str


class NodesRequested(_Event, frozen=True):
    """Somebody wants `count` more nodes in a pool."""

    request: str
    pool: str
    count: Whole


class NodeShutdownRequested(_Event, frozen=True):
    """Somebody wants a node emptied and taken away for good."""

    request: str
    node: str


class NodeDownConfirmed(_Event, frozen=True):
    """A person confirms that a silent node is dead; the brake no longer holds it."""

    request: str
    node: str


class BrakeReleaseRequested(_Event, frozen=True):
    """A person ends the brake."""

    request: str


class PoolConfigured(_Event, frozen=True):
    """How many nodes a pool has, and how many slots each new one gets."""

    request: str
    pool: str
    nodes: Whole
    slots: Whole


class PolicyChanged(_Event, frozen=True):
    """The policy from here on, whole."""

    request: str
    policy: Policy


class RequestRefused(_Event, frozen=True):
    """A request that cannot be carried out, and why."""

    request: str
    reason: str


# --- decisions -------------------------------------------------------------------------------------------


class PlannerStarted(_Event, frozen=True):
    """A worker begins to decide; the offset of this record is the new term."""

    writer: str
    #: A worker with an older fold stands back.
    fold_version: Whole


class _Decision(_Event, frozen=True, kw_only=True):
    """What every decision carries."""

    term: Whole
    #: Offset of the last record folded when it was made.
    based_on: Whole
    #: Offset of the policy in force, -1 for the built-in one.
    policy: Whole
    #: Where the watcher stood when it confirmed what the decision rests on.
    fence: Position | None = None
    #: The planner asks for a `TimerFired` after this time, 0 for none.
    wake_ms: Whole = 0


class NodeOrdered(_Decision, frozen=True, kw_only=True):
    """A pool shall create a node; the offset of this record is the order."""

    pool: str
    slots: Whole
    port_floor: Whole
    #: The dead node whose apps it takes over, and the lineage under which those were placed.
    replaces: str = ""
    replaces_lineage: Whole = 0


class NodeOrderWithdrawn(_Decision, frozen=True, kw_only=True):
    """An order that brought no registered node in time; what there is of it is destroyed."""

    order: Whole
    pool: str
    reason: str


class NodeDeclaredDown(_Decision, frozen=True, kw_only=True):
    """A node is dead to the platform: its registration ends and its apps move."""

    node: str
    registration: Whole
    reason: Literal["silent", "exited", "confirmed"]
    #: The provider shall destroy what is left of it.
    destroy: bool


class NodeLeft(_Decision, frozen=True, kw_only=True):
    """A node that was to shut down is empty; it is taken away."""

    node: str
    registration: Whole


class PoolHeldBack(_Decision, frozen=True, kw_only=True):
    """Creation failed; the pool waits before the next order."""

    pool: str
    strikes: Whole


class PoolDegraded(_Decision, frozen=True, kw_only=True):
    """Creation failed so often that a person should look; tries go on."""

    pool: str
    strikes: Whole


class AppPlaced(_Decision, frozen=True, kw_only=True):
    """An app shall run on a node; the offset of this record is its generation."""

    app: str
    node: str
    registration: Whole
    #: The generation that this one replaces, 0 for the first.
    replaces: Whole
    reason: Literal["new", "failure", "node-down", "restart", "moved"]
    #: Free slots of the best three nodes considered, for the record.
    scores: dict[str, Whole] = {}


class AppDeclaredDown(_Decision, frozen=True, kw_only=True):
    """A copy that hangs or never beat is condemned: it is killed without grace."""

    app: str
    generation: Whole
    reason: Literal["silent", "never-beat"]


class AppHeldBack(_Decision, frozen=True, kw_only=True):
    """An app failed repeatedly; it waits before its next copy."""

    app: str
    generation: Whole
    strikes: Whole


class AppGaveUp(_Decision, frozen=True, kw_only=True):
    """An app failed too often; it stays down until somebody restarts it."""

    app: str
    generation: Whole
    failures: Whole


class AppLeftPending(_Decision, frozen=True, kw_only=True):
    """An app that ought to run cannot be placed now, and why."""

    app: str
    reason: str


class BrakeEngaged(_Decision, frozen=True, kw_only=True):
    """So many nodes are overdue that silence is not acted upon."""

    band: Band
    overdue: Whole
    nodes: Whole


class BrakeReleased(_Decision, frozen=True, kw_only=True):
    """Silence is acted upon again."""

    reason: Literal["calm", "request"]


class TimerFired(_Decision, frozen=True, kw_only=True):
    """The time that a decision asked for has passed."""

    #: Table and key of the row whose wake it is.
    table: str
    key: str
    #: Offset of the decision that asked.
    set_at: Whole


Event = (
    NodeRegistered
    | ProvisionerRegistered
    | SourceFellSilent
    | SourceReturned
    | AppStarted
    | AppExited
    | NodeExited
    | OverdueShareChanged
    | AppSubmitted
    | AppStopRequested
    | AppRestartRequested
    | NodesRequested
    | NodeShutdownRequested
    | NodeDownConfirmed
    | BrakeReleaseRequested
    | PoolConfigured
    | PolicyChanged
    | RequestRefused
    | PlannerStarted
    | NodeOrdered
    | NodeOrderWithdrawn
    | NodeDeclaredDown
    | NodeLeft
    | PoolHeldBack
    | PoolDegraded
    | AppPlaced
    | AppDeclaredDown
    | AppHeldBack
    | AppGaveUp
    | AppLeftPending
    | BrakeEngaged
    | BrakeReleased
    | TimerFired
)

Decision = (
    NodeOrdered
    | NodeOrderWithdrawn
    | NodeDeclaredDown
    | NodeLeft
    | PoolHeldBack
    | PoolDegraded
    | AppPlaced
    | AppDeclaredDown
    | AppHeldBack
    | AppGaveUp
    | AppLeftPending
    | BrakeEngaged
    | BrakeReleased
    | TimerFired
)

#: Stable type name of every event, and the field that is its subject ("" where the subject is fixed).
EVENT_TYPES: dict[str, tuple[type[msgspec.Struct], str]] = {
    "watchkeep.node.registered.v1": (NodeRegistered, "node"),
    "watchkeep.provisioner.registered.v1": (ProvisionerRegistered, "pool"),
    "watchkeep.source.fell-silent.v1": (SourceFellSilent, "source"),
    "watchkeep.source.returned.v1": (SourceReturned, "source"),
    "watchkeep.app.started.v1": (AppStarted, "app"),
    "watchkeep.app.exited.v1": (AppExited, "app"),
    "watchkeep.node.exited.v1": (NodeExited, "pool"),
    "watchkeep.overdue-share.changed.v1": (OverdueShareChanged, ""),
    "watchkeep.app.submitted.v1": (AppSubmitted, "spec"),
    "watchkeep.app.stop-requested.v1": (AppStopRequested, "app"),
    "watchkeep.app.restart-requested.v1": (AppRestartRequested, "app"),
    "watchkeep.nodes.requested.v1": (NodesRequested, "pool"),
    "watchkeep.node.shutdown-requested.v1": (NodeShutdownRequested, "node"),
    "watchkeep.node.down-confirmed.v1": (NodeDownConfirmed, "node"),
    "watchkeep.brake.release-requested.v1": (BrakeReleaseRequested, ""),
    "watchkeep.pool.configured.v1": (PoolConfigured, "pool"),
    "watchkeep.policy.changed.v1": (PolicyChanged, ""),
    "watchkeep.request.refused.v1": (RequestRefused, "request"),
    "watchkeep.planner.started.v1": (PlannerStarted, ""),
    "watchkeep.node.ordered.v1": (NodeOrdered, "pool"),
    "watchkeep.node-order.withdrawn.v1": (NodeOrderWithdrawn, "pool"),
    "watchkeep.node.declared-down.v1": (NodeDeclaredDown, "node"),
    "watchkeep.node.left.v1": (NodeLeft, "node"),
    "watchkeep.pool.held-back.v1": (PoolHeldBack, "pool"),
    "watchkeep.pool.degraded.v1": (PoolDegraded, "pool"),
    "watchkeep.app.placed.v1": (AppPlaced, "app"),
    "watchkeep.app.declared-down.v1": (AppDeclaredDown, "app"),
    "watchkeep.app.held-back.v1": (AppHeldBack, "app"),
    "watchkeep.app.gave-up.v1": (AppGaveUp, "app"),
    "watchkeep.app.left-pending.v1": (AppLeftPending, "app"),
    "watchkeep.brake.engaged.v1": (BrakeEngaged, ""),
    "watchkeep.brake.released.v1": (BrakeReleased, ""),
    "watchkeep.timer.fired.v1": (TimerFired, "key"),
}


def subject_of(event: Event) -> str:
    """The id that the event is about and the key of its record: a source, pool or request, else `platform`."""
    field = _SUBJECT_FIELDS[type(event)]
    if not field:
        return "platform"
    value = getattr(event, field)
    return value.app if isinstance(value, AppSpec) else str(value)


_SUBJECT_FIELDS = dict(EVENT_TYPES.values())
