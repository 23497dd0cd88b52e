"""Events: the three kinds of record on the log (DESIGN 5). Pure.

1. Facts: what the heartbeats say; written by watchers. Past participle, subject first.
2. Admitted requests: what people and programs want; written by the `requests` processor.
3. Decisions: what the planner made of it; each carries the `term` it was made in and counts only if that
   term is in force at its offset.

A type name is stable and versioned (`watchkeep.app.placed.v2`) and lives in `EVENT_TYPES`; new fields are
optional, a changed meaning is a new version, to which `upcasts` has the step. Offsets named `based_on`, `policy`,
`registration`, `generation`, `order` and `term` are offsets of the events topic.
"""

import msgspec

from sdk.contract.admitted import (
    AppMoveRequested,
    AppRestartRequested,
    AppStopRequested,
    AppSubmitted,
    BrakeReleaseRequested,
    ControllerSetRequested,
    DeviceBound,
    DeviceEnabled,
    DeviceRegistered,
    DeviceRetired,
    DeviceUnbound,
    NodeCordoned,
    NodeDownConfirmed,
    NodeDrainRequested,
    NodeRequested,
    NodeShutdownRequested,
    NodesRequested,
    NodeUncordoned,
    NotificationAcknowledged,
    NotificationCleared,
    PolicyChanged,
    PoolConfigured,
    RequestRefused,
    SensorLimitChanged,
    SourceExpected,
    SourceForgotten,
    WatchPaused,
    WatchResumed,
)
from sdk.contract.decisions import (
    AppDeclaredDown,
    AppFinished,
    AppGaveUp,
    AppHeldBack,
    AppLeftPending,
    AppPlaced,
    AppPrepared,
    AppStandbyDropped,
    BrakeEngaged,
    BrakeReleased,
    GrantExpired,
    GrantRefused,
    NodeDeclaredDown,
    NodeGranted,
    NodeLeft,
    NodeOrdered,
    NodeOrderWithdrawn,
    NodeQuarantined,
    NodeReleased,
    NodeScore,
    PlannerStarted,
    PoolDegraded,
    PoolEnlarged,
    PoolHeldBack,
    SpareRetired,
    SpareTaken,
    TimerFired,
)
from sdk.contract.devices import Device
from sdk.contract.facts import (
    AppExited,
    AppStarted,
    Band,
    ControllerReported,
    FoldHashed,
    NodeExited,
    NodeRegistered,
    NotificationsRead,
    OverdueShareChanged,
    Position,
    ProvisionerRegistered,
    SourceFellSilent,
    SourceKind,
    SourceReturned,
)
from sdk.contract.specs import AppSpec

__all__ = [
    "EVENT_TYPES",
    "AppDeclaredDown",
    "AppExited",
    "AppFinished",
    "AppGaveUp",
    "AppHeldBack",
    "AppLeftPending",
    "AppMoveRequested",
    "AppPlaced",
    "AppPrepared",
    "AppRestartRequested",
    "AppStandbyDropped",
    "AppStarted",
    "AppStopRequested",
    "AppSubmitted",
    "Band",
    "BrakeEngaged",
    "BrakeReleaseRequested",
    "BrakeReleased",
    "ControllerReported",
    "ControllerSetRequested",
    "Decision",
    "DeviceBound",
    "DeviceEnabled",
    "DeviceRegistered",
    "DeviceRetired",
    "DeviceUnbound",
    "Event",
    "FoldHashed",
    "GrantExpired",
    "GrantRefused",
    "NodeCordoned",
    "NodeDeclaredDown",
    "NodeDownConfirmed",
    "NodeDrainRequested",
    "NodeExited",
    "NodeGranted",
    "NodeLeft",
    "NodeOrderWithdrawn",
    "NodeOrdered",
    "NodeQuarantined",
    "NodeRegistered",
    "NodeReleased",
    "NodeRequested",
    "NodeScore",
    "NodeShutdownRequested",
    "NodeUncordoned",
    "NodesRequested",
    "NotificationAcknowledged",
    "NotificationCleared",
    "NotificationsRead",
    "OverdueShareChanged",
    "PlannerStarted",
    "PolicyChanged",
    "PoolConfigured",
    "PoolDegraded",
    "PoolEnlarged",
    "PoolHeldBack",
    "Position",
    "ProvisionerRegistered",
    "RequestRefused",
    "SensorLimitChanged",
    "SourceExpected",
    "SourceFellSilent",
    "SourceForgotten",
    "SourceKind",
    "SourceReturned",
    "SpareRetired",
    "SpareTaken",
    "TimerFired",
    "WatchPaused",
    "WatchResumed",
    "subject_of",
]

Decision = (
    NodeOrdered
    | NodeOrderWithdrawn
    | NodeDeclaredDown
    | NodeQuarantined
    | NodeReleased
    | NodeLeft
    | SpareTaken
    | SpareRetired
    | PoolHeldBack
    | PoolDegraded
    | PoolEnlarged
    | NodeGranted
    | GrantRefused
    | GrantExpired
    | AppPlaced
    | AppPrepared
    | AppStandbyDropped
    | AppDeclaredDown
    | AppHeldBack
    | AppGaveUp
    | AppFinished
    | AppLeftPending
    | BrakeEngaged
    | BrakeReleased
    | TimerFired
)

Event = (
    NodeRegistered
    | ProvisionerRegistered
    | SourceFellSilent
    | SourceReturned
    | AppStarted
    | AppExited
    | NodeExited
    | OverdueShareChanged
    | NotificationsRead
    | ControllerReported
    | FoldHashed
    | AppSubmitted
    | AppStopRequested
    | AppRestartRequested
    | AppMoveRequested
    | NodesRequested
    | NodeRequested
    | NodeShutdownRequested
    | NodeCordoned
    | NodeUncordoned
    | NodeDrainRequested
    | NodeDownConfirmed
    | SourceExpected
    | SourceForgotten
    | BrakeReleaseRequested
    | WatchPaused
    | WatchResumed
    | PoolConfigured
    | PolicyChanged
    | DeviceRegistered
    | DeviceRetired
    | DeviceEnabled
    | SensorLimitChanged
    | DeviceBound
    | DeviceUnbound
    | NotificationAcknowledged
    | NotificationCleared
    | ControllerSetRequested
    | RequestRefused
    | PlannerStarted
    | Decision
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
    "watchkeep.notifications.read.v1": (NotificationsRead, ""),
    "watchkeep.controller.reported.v1": (ControllerReported, "controller"),
    "watchkeep.fold.hashed.v1": (FoldHashed, ""),
    "watchkeep.app.submitted.v1": (AppSubmitted, "spec"),
    "watchkeep.app.stop-requested.v1": (AppStopRequested, "app"),
    "watchkeep.app.restart-requested.v1": (AppRestartRequested, "app"),
    "watchkeep.app.move-requested.v1": (AppMoveRequested, "app"),
    "watchkeep.nodes.requested.v1": (NodesRequested, "pool"),
    "watchkeep.node.requested.v1": (NodeRequested, "pool"),
    "watchkeep.node.shutdown-requested.v1": (NodeShutdownRequested, "node"),
    "watchkeep.node.cordoned.v1": (NodeCordoned, "node"),
    "watchkeep.node.uncordoned.v1": (NodeUncordoned, "node"),
    "watchkeep.node.drain-requested.v1": (NodeDrainRequested, "node"),
    "watchkeep.node.down-confirmed.v1": (NodeDownConfirmed, "node"),
    "watchkeep.source.expected.v1": (SourceExpected, "source"),
    "watchkeep.source.forgotten.v1": (SourceForgotten, "source"),
    "watchkeep.brake.release-requested.v1": (BrakeReleaseRequested, ""),
    "watchkeep.watch.paused.v1": (WatchPaused, "subject"),
    "watchkeep.watch.resumed.v1": (WatchResumed, "subject"),
    "watchkeep.pool.configured.v1": (PoolConfigured, "pool"),
    "watchkeep.policy.changed.v1": (PolicyChanged, ""),
    "watchkeep.device.registered.v1": (DeviceRegistered, "device"),
    "watchkeep.device.retired.v1": (DeviceRetired, "device"),
    "watchkeep.device.enabled.v1": (DeviceEnabled, "device"),
    "watchkeep.sensor-limit.changed.v1": (SensorLimitChanged, "type"),
    "watchkeep.device.bound.v1": (DeviceBound, "app"),
    "watchkeep.device.unbound.v1": (DeviceUnbound, "app"),
    "watchkeep.notification.acknowledged.v1": (NotificationAcknowledged, "app"),
    "watchkeep.notification.cleared.v1": (NotificationCleared, "app"),
    "watchkeep.controller.set-requested.v1": (ControllerSetRequested, "controller"),
    "watchkeep.request.refused.v1": (RequestRefused, "request"),
    "watchkeep.planner.started.v1": (PlannerStarted, ""),
    "watchkeep.node.ordered.v1": (NodeOrdered, "pool"),
    "watchkeep.node-order.withdrawn.v1": (NodeOrderWithdrawn, "pool"),
    "watchkeep.node.declared-down.v1": (NodeDeclaredDown, "node"),
    "watchkeep.node.quarantined.v1": (NodeQuarantined, "node"),
    "watchkeep.node.released.v1": (NodeReleased, "node"),
    "watchkeep.node.left.v1": (NodeLeft, "node"),
    "watchkeep.spare.taken.v1": (SpareTaken, "node"),
    "watchkeep.spare.retired.v1": (SpareRetired, "node"),
    "watchkeep.pool.held-back.v1": (PoolHeldBack, "pool"),
    "watchkeep.pool.degraded.v1": (PoolDegraded, "pool"),
    "watchkeep.pool.enlarged.v1": (PoolEnlarged, "pool"),
    "watchkeep.node.granted.v1": (NodeGranted, "node"),
    "watchkeep.grant.refused.v1": (GrantRefused, "pool"),
    "watchkeep.grant.expired.v1": (GrantExpired, "node"),
    "watchkeep.app.placed.v2": (AppPlaced, "app"),
    "watchkeep.app.prepared.v1": (AppPrepared, "app"),
    "watchkeep.app.standby-dropped.v1": (AppStandbyDropped, "app"),
    "watchkeep.app.declared-down.v1": (AppDeclaredDown, "app"),
    "watchkeep.app.held-back.v1": (AppHeldBack, "app"),
    "watchkeep.app.gave-up.v1": (AppGaveUp, "app"),
    "watchkeep.app.finished.v1": (AppFinished, "app"),
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
    value = getattr(event, field) or "platform"
    if isinstance(value, Device):
        return value.device
    return value.app if isinstance(value, AppSpec) else str(value)


_SUBJECT_FIELDS = dict(EVENT_TYPES.values())
