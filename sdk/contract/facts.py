"""Facts: what the heartbeats say; written by watchers. Pure; part of `sdk.contract.events`.

Past participle, subject first. `epoch` is a registration, a generation, or 0 of a lone source or sensor.
"""

from typing import Literal

import msgspec

from sdk.contract.notifications import Notice, Sequence
from sdk.contract.whole import Whole

SourceKind = Literal["node", "pool", "app", "lone", "sensor"]
#: Share of nodes overdue, as the brake sees it: within bounds, over them, or every single one.
Band = Literal["calm", "most", "all"]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in the heartbeats topic that a fact or decision rests on: partition and offset."""

    partition: Whole
    offset: Whole


class EventBase(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything on the log."""


class NodeRegistered(EventBase, frozen=True):
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
    #: What the node may use in all: hundredths of a core, and MiB; 0 if unknown.
    cpu_percent: Whole = 0
    memory_mib: Whole = 0
    #: How it keeps apps that are processes within their limits, in words; empty if it does not say.
    limits: str = ""


class ProvisionerRegistered(EventBase, frozen=True):
    """A provisioner said hello and may create nodes for its pool."""

    pool: str
    claim: str
    old_registration: Whole
    boot_id: str
    position: Position


class SourceFellSilent(EventBase, frozen=True):
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


class SourceReturned(EventBase, frozen=True):
    """A beat of a source that the log calls silent, or of a lone source it does not know."""

    source: str
    kind: SourceKind
    epoch: Whole
    topic_id: str
    partition: Whole
    offset: Whole
    #: Of a beat that a bridge wrote: the expectation it wrote it for, 0 of any other.
    expectation: Whole = 0


class AppStarted(EventBase, frozen=True):
    """The first beat of a generation, as its agent reports it."""

    app: str
    generation: Whole
    node: str
    position: Position


class AppExited(EventBase, frozen=True):
    """A generation has ended: its process exited, or the node that ought to run it does not know it."""

    app: str
    generation: Whole
    node: str
    reason: Literal["exited", "lost"]
    position: Position
    exit_code: Whole | None = None
    #: How it ended, or why it could not be started, in its agent's words; only ever shown.
    detail: str = ""


class NodeExited(EventBase, frozen=True):
    """The provider confirms that the node of an order is gone, or never came to be."""

    order: Whole
    pool: str
    #: Empty if the order never got as far as a name.
    node: str
    reason: str
    position: Position
    exit_code: Whole | None = None


class OverdueShareChanged(EventBase, frozen=True):
    """The share of nodes without a report crossed a bound; from the leader's watcher only."""

    term: Whole
    band: Band
    overdue: Whole
    nodes: Whole
    positions: list[Position]


class NotificationsRead(EventBase, frozen=True):
    """A stretch of the notifications topic was read; from the leader only.

    It counts only if it begins where the fold has read to, so each record counts once, whoever leads.
    """

    term: Whole
    topic_id: str
    #: Where the stretch begins, and the first offset after it.
    from_offset: Whole
    to_offset: Whole
    notices: list[Notice]
    #: The highest number of each writer in it.
    sequences: list[Sequence]
    #: Records that were counted before, of generations that a newer one has followed, and that are none of ours.
    doubled: Whole = 0
    stale: Whole = 0
    garbled: Whole = 0
    #: Records that the topic's retention took before anybody read them.
    lost: Whole = 0


class ControllerReported(EventBase, frozen=True):
    """A device has ended a command: it did what was wanted, or says why not."""

    controller: str
    command: str
    outcome: Literal["done", "rejected"]
    #: JSON text of what it reports.
    value: str
    #: Offset of the report in the controller's topic.
    offset: Whole
    reason: str = ""


class FoldHashed(EventBase, frozen=True):
    """What the leader's state comes to as of an offset, so that any other fold of the log can be compared with it."""

    term: Whole
    #: Offset of the last record folded.
    as_of: Whole
    #: The fold hash there (`tables.digest`), 64 hexadecimal digits.
    hash: str
    #: Version of the fold that came to it.
    fold_version: Whole
