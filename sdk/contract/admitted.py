"""Admitted requests: what people and programs want; written by the `requests` processor. Pure.

Part of `sdk.contract.events`. `request` is the id of the request that is answered.
"""

from sdk.contract.devices import Device, DeviceKind
from sdk.contract.facts import EventBase
from sdk.contract.policy import Policy
from sdk.contract.specs import AppSpec
from sdk.contract.whole import Whole


class AppSubmitted(EventBase, frozen=True):
    """Somebody wants an app to run; a second submission of one app replaces its spec."""

    request: str
    spec: AppSpec
    #: The grant whose room it takes, 0 for none.
    grant: Whole = 0


class AppStopRequested(EventBase, frozen=True):
    """Somebody wants an app not to run any more."""

    request: str
    app: str


class AppRestartRequested(EventBase, frozen=True):
    """Somebody wants a new copy of an app; also ends a give-up."""

    request: str
    app: str


class AppMoveRequested(EventBase, frozen=True):
    """Somebody wants an app on another node, made ready there before its copy here stops."""

    request: str
    app: str
    #: The node, or empty for any other.
    node: str = ""


class NodesRequested(EventBase, frozen=True):
    """Somebody wants `count` more nodes in a pool."""

    request: str
    pool: str
    count: Whole


class NodeRequested(EventBase, frozen=True):
    """Somebody wants room on a node; the offset of this record is the grant that answers it."""

    request: str
    #: Empty: any pool.
    pool: str
    slots: Whole
    #: Only a node that joins its pool after this will do: one that is created, or a spare that is taken.
    new: bool = False
    #: Hundredths of a core, and MiB.
    cpu_percent: Whole = 0
    memory_mib: Whole = 0


class NodeShutdownRequested(EventBase, frozen=True):
    """Somebody wants a node emptied and taken away for good."""

    request: str
    node: str


class NodeCordoned(EventBase, frozen=True):
    """Somebody wants no more apps on a node; those that are there stay."""

    request: str
    node: str


class NodeUncordoned(EventBase, frozen=True):
    """Somebody wants a node to take apps again; also ends a quarantine."""

    request: str
    node: str


class NodeDrainRequested(EventBase, frozen=True):
    """Somebody wants a node empty: it is cordoned, and its apps move one by one, each ready before it stops here."""

    request: str
    node: str
    #: Do not wait for that: stop them and start them elsewhere.
    force: bool = False


class NodeDownConfirmed(EventBase, frozen=True):
    """A person confirms that a silent node is dead; the brake no longer holds it."""

    request: str
    node: str


class SourceExpected(EventBase, frozen=True):
    """Somebody wants a service watched that nobody here runs; the offset of this record is the expectation."""

    request: str
    source: str
    #: The topic that it beats into if it still has the original heartbeat client.
    topic: str


class SourceForgotten(EventBase, frozen=True):
    """Somebody does not expect a silent lone source back; it is unknown until it beats again."""

    request: str
    source: str


class BrakeReleaseRequested(EventBase, frozen=True):
    """A person ends the brake."""

    request: str


class WatchPaused(EventBase, frozen=True):
    """Somebody works on a node, an app or the platform: nothing is concluded from what it does for a while."""

    request: str
    #: The node or app; `platform` for all of it.
    subject: str
    for_ms: Whole


class WatchResumed(EventBase, frozen=True):
    """Somebody ends such a pause before its time."""

    request: str
    subject: str


class PoolConfigured(EventBase, frozen=True):
    """How many nodes a pool has, within which bounds, how many stand by, and how many slots each new one gets."""

    request: str
    pool: str
    nodes: Whole
    slots: Whole
    #: As in `ConfigurePool`.
    nodes_min: Whole = 0
    nodes_max: Whole = 0
    spares: Whole = 0
    register_within_ms: Whole = 0


class PolicyChanged(EventBase, frozen=True):
    """The policy from here on, whole."""

    request: str
    policy: Policy


class DeviceRegistered(EventBase, frozen=True):
    """A sensor or controller is known, or has other properties from here on."""

    request: str
    device: Device


class DeviceRetired(EventBase, frozen=True):
    """A device is not known any more."""

    request: str
    device: str


class DeviceEnabled(EventBase, frozen=True):
    """Somebody switched a device on or off in the eyes of the platform."""

    request: str
    device: str
    enabled: bool


class SensorLimitChanged(EventBase, frozen=True):
    """How long sensors of a type may be silent, where they name no limit of their own; 0: as long as they like."""

    request: str
    type: str
    silence_limit_ms: Whole


class DeviceBound(EventBase, frozen=True):
    """An app has a device under an index; the binding is the app's, whichever node it runs on."""

    request: str
    app: str
    index: Whole
    device: str


class DeviceUnbound(EventBase, frozen=True):
    """An app has no sensor, or no controller, under an index any more."""

    request: str
    app: str
    index: Whole
    kind: DeviceKind


class NotificationAcknowledged(EventBase, frozen=True):
    """Somebody has seen a notification and looks after it: it is not repeated, nor does it grow louder."""

    request: str
    app: str
    key: str
    #: Which one under this key: a later one is another.
    number: Whole
    #: Who, for people.
    by: str = ""


class NotificationCleared(EventBase, frozen=True):
    """A notification is done with; the next occurrence opens another."""

    request: str
    app: str
    key: str
    number: Whole
    by: str = ""


class ControllerSetRequested(EventBase, frozen=True):
    """Somebody wants a value of a controller; the id of the request is that of the command."""

    request: str
    controller: str
    #: JSON text.
    value: str
    for_ms: Whole
    #: As in `SetController`.
    app: str = ""
    generation: Whole = 0
    sent_at_ms: Whole = 0


class RequestRefused(EventBase, frozen=True):
    """A request that cannot be carried out, and why."""

    request: str
    reason: str
