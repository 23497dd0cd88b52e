"""Requests: what people and programs want, imperative, written by CLI, SDK and deployer. Pure.

A request is a record; its answer is the event on the log whose `causeid` is the request's id.
"""

import msgspec

from sdk.contract.devices import Device, DeviceKind
from sdk.contract.specs import AppSpec
from sdk.contract.whole import Whole


class _Request(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of everything on the requests topic."""


class RunApp(_Request, frozen=True):
    """Run an app; one that is known gets this spec from its next copy on."""

    spec: AppSpec
    #: The grant whose room it takes, 0 for none.
    grant: Whole = 0


class StopApp(_Request, frozen=True):
    """Stop an app and do not bring it back."""

    app: str


class RestartApp(_Request, frozen=True):
    """Stop the copy of an app and start another; also ends a give-up."""

    app: str


class MoveApp(_Request, frozen=True):
    """Bring an app to another node: ready there before it stops here."""

    app: str
    #: The node, or empty for any other.
    node: str = ""


class CreateNode(_Request, frozen=True):
    """Add nodes to a pool."""

    pool: str
    count: Whole = 1


class RequestNode(_Request, frozen=True):
    """Room on a node for whoever asks: on one that has it free, else on a new one."""

    #: Empty: whichever has the room, else whichever may grow.
    pool: str = ""
    slots: Whole = 1
    #: A node that joins its pool for this request, whatever is free: one that is created, or a spare.
    new: bool = False
    #: Hundredths of a core, and MiB.
    cpu_percent: Whole = 0
    memory_mib: Whole = 0


class ShutdownNode(_Request, frozen=True):
    """Empty a node and take it away for good."""

    node: str


class CordonNode(_Request, frozen=True):
    """Put no more apps on a node; those that are there stay."""

    node: str


class UncordonNode(_Request, frozen=True):
    """Let a node take apps again; also ends its quarantine."""

    node: str


class DrainNode(_Request, frozen=True):
    """Cordon a node and move its apps one by one, each ready elsewhere before it stops here."""

    node: str
    #: Do not wait for that: stop them and start them elsewhere.
    force: bool = False


class ConfirmNodeDown(_Request, frozen=True):
    """Declare a silent node dead although the brake holds."""

    node: str


class ExpectSource(_Request, frozen=True):
    """Watch a service that nobody here runs: by its own beats, and by a topic that it beats into."""

    #: `service-<name>`.
    source: str
    #: Empty: the topic of that name.
    topic: str = ""


class ForgetSource(_Request, frozen=True):
    """Do not expect a silent lone source back, or one that was asked to be watched."""

    source: str


class ReleaseBrake(_Request, frozen=True):
    """End the brake."""


class PauseWatch(_Request, frozen=True):
    """Do not act on what a node, an app or the whole platform does for a while: maintenance."""

    #: The node or app; empty for the platform.
    subject: str
    for_ms: Whole


class ResumeWatch(_Request, frozen=True):
    """End such a pause before its time."""

    subject: str


class ConfigurePool(_Request, frozen=True):
    """Set how many nodes a pool has, within which bounds, how many stand by, and the slots of each new one."""

    pool: str
    nodes: Whole
    slots: Whole = 4
    #: Nobody can shut nodes down below this.
    nodes_min: Whole = 0
    #: Nodes it may have in all, spares and those being created included; 0: the policy's `pool_nodes_max`.
    nodes_max: Whole = 0
    #: Nodes that stand by without apps, to be taken when one dies or is asked for.
    spares: Whole = 0
    #: A new node must register within this; 0: the policy's `register_within_ms`.
    register_within_ms: Whole = 0


class ChangePolicy(_Request, frozen=True):
    """Change policy keys; those not named stay as they are."""

    values: dict[str, Whole | bool | str]


class RegisterDevice(_Request, frozen=True):
    """Make a sensor or controller known; one that is known gets these properties."""

    device: Device


class RetireDevice(_Request, frozen=True):
    """Take a device that no app is bound to off the list."""

    device: str


class EnableDevice(_Request, frozen=True):
    """Switch a device on or off in the eyes of the platform: its admin state."""

    device: str
    enabled: bool = True


class LimitSensors(_Request, frozen=True):
    """Set how long sensors of a type may be silent, where they name no limit of their own; 0: as long as they like."""

    type: str
    silence_limit_ms: Whole


class BindDevice(_Request, frozen=True):
    """Give an app a device under an index; what it had there before it has no longer."""

    app: str
    index: Whole
    device: str


class UnbindDevice(_Request, frozen=True):
    """Take the sensor or controller at an index from an app."""

    app: str
    index: Whole
    kind: DeviceKind = "sensor"


class AcknowledgeNotification(_Request, frozen=True):
    """Say that one looks after a notification."""

    app: str
    key: str
    #: The one that was seen; 0: whichever stands under this key.
    number: Whole = 0
    by: str = ""


class ClearNotification(_Request, frozen=True):
    """Say that a notification is done with."""

    app: str
    key: str
    number: Whole = 0
    by: str = ""


class SetController(_Request, frozen=True):
    """Want a value of a controller: that at an index of an app, or one by its id; the request's id is the command's."""

    #: JSON text, at most 64 KiB.
    value: str
    #: How long it may wait for its device, ms.
    for_ms: Whole
    #: Who wants it; empty: a person.
    app: str = ""
    index: Whole = 0
    #: The id of the controller; empty: the one at the app's index.
    controller: str = ""
    #: Generation of the copy that asks, 0 if it is no copy of an app that is run here.
    generation: Whole = 0
    #: When it was sent, by the asker's clock, ms UTC: what comes long after its time is not carried out. 0: unknown.
    sent_at_ms: Whole = 0


Request = (
    RunApp
    | StopApp
    | RestartApp
    | MoveApp
    | CreateNode
    | RequestNode
    | ShutdownNode
    | CordonNode
    | UncordonNode
    | DrainNode
    | ConfirmNodeDown
    | ExpectSource
    | ForgetSource
    | ReleaseBrake
    | PauseWatch
    | ResumeWatch
    | ConfigurePool
    | ChangePolicy
    | RegisterDevice
    | RetireDevice
    | EnableDevice
    | LimitSensors
    | BindDevice
    | UnbindDevice
    | AcknowledgeNotification
    | ClearNotification
    | SetController
)

REQUEST_TYPES: dict[str, type[msgspec.Struct]] = {
    "watchkeep.request.run-app.v1": RunApp,
    "watchkeep.request.stop-app.v1": StopApp,
    "watchkeep.request.restart-app.v1": RestartApp,
    "watchkeep.request.move-app.v1": MoveApp,
    "watchkeep.request.create-node.v1": CreateNode,
    "watchkeep.request.request-node.v1": RequestNode,
    "watchkeep.request.shutdown-node.v1": ShutdownNode,
    "watchkeep.request.cordon-node.v1": CordonNode,
    "watchkeep.request.uncordon-node.v1": UncordonNode,
    "watchkeep.request.drain-node.v1": DrainNode,
    "watchkeep.request.confirm-node-down.v1": ConfirmNodeDown,
    "watchkeep.request.expect-source.v1": ExpectSource,
    "watchkeep.request.forget-source.v1": ForgetSource,
    "watchkeep.request.release-brake.v1": ReleaseBrake,
    "watchkeep.request.pause-watch.v1": PauseWatch,
    "watchkeep.request.resume-watch.v1": ResumeWatch,
    "watchkeep.request.configure-pool.v1": ConfigurePool,
    "watchkeep.request.change-policy.v1": ChangePolicy,
    "watchkeep.request.register-device.v1": RegisterDevice,
    "watchkeep.request.retire-device.v1": RetireDevice,
    "watchkeep.request.enable-device.v1": EnableDevice,
    "watchkeep.request.limit-sensors.v1": LimitSensors,
    "watchkeep.request.bind-device.v1": BindDevice,
    "watchkeep.request.unbind-device.v1": UnbindDevice,
    "watchkeep.request.acknowledge-notification.v1": AcknowledgeNotification,
    "watchkeep.request.clear-notification.v1": ClearNotification,
    "watchkeep.request.set-controller.v1": SetController,
}
