"""The rows that the fold keeps, one struct per table. Pure.

Rules:
1. A row is frozen; a change makes a new row, so that a view, a snapshot or a test may keep the old one.
2. Each event type has one subject row. The few that touch a second one (a node's pool, the brake, the
   requests seen) say so in their handler; what merely spans rows is an index in `tables.state`.
3. Fields named `*_at_ms` are append times of the events topic, the only time the fold knows.
"""

from typing import Literal, cast

import msgspec

from sdk.contract.events import Band, SourceKind
from sdk.contract.policy import Policy
from sdk.contract.specs import AppSpec
from tables.device_rows import BindingRow, CommandRow, DeviceRow, SensorLimitRow
from tables.notification_rows import InboxRow, NotificationRow, SpeakerRow
from tables.wakes import Wake

# Known to everybody as a part of rows.
__all__ = ["Wake"]

NodeState = Literal["active", "down", "left"]
AppPhase = Literal["pending", "placed", "running", "condemned", "ended", "finished", "stopped"]


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all rows."""


class NodeRow(_Row, frozen=True):
    """A node that has registered at least once."""

    node: str
    pool: str
    ip: str
    port: int
    slots: int
    drivers: list[str]
    boot_id: str
    claim: str
    #: Offset of the order that made it.
    order: int
    registration: int
    #: First registration of an unbroken chain in which each named the one in force before it: apps placed
    #: under a lineage stay with the node as long as it lasts.
    lineage: int
    registered_at_ms: int
    status: NodeState
    #: When `status` last changed.
    since_ms: int
    #: Heartbeat partition, and the offset up to which facts about it are settled.
    partition: int
    seen: int
    silent: bool = False
    draining: bool = False
    #: A person confirmed its death; the brake does not hold it.
    confirmed: bool = False
    #: The provider shall destroy what is left.
    destroy: bool = False
    down_reason: str = ""
    #: Times it was declared down.
    failures: int = 0
    #: What it may use in all: hundredths of a core, and MiB; 0 if unknown.
    cpu_percent: int = 0
    memory_mib: int = 0
    #: A person wants no more apps on it.
    cordoned: bool = False
    #: It was declared down too often and takes no apps until its wake.
    quarantined: bool = False
    #: A person wants it empty: its apps move, each ready elsewhere first; `forced` if not even that.
    emptying: bool = False
    forced: bool = False
    #: Append times of the last times it was declared down, as many as the policy counts.
    recent_failures: list[int] = []
    wake: Wake | None = None
    #: It stands by without apps until it is taken.
    spare: bool = False
    #: How it keeps apps that are processes within their limits, in words.
    limits: str = ""


class OrderRow(_Row, frozen=True):
    """One order to a pool to create a node; the key is its offset."""

    order: int
    pool: str
    slots: int
    port_floor: int
    ordered_at_ms: int
    replaces: str = ""
    replaces_lineage: int = 0
    withdrawn: bool = False
    #: Its node was granted to somebody who asked for a new one; the next who asks gets another.
    granted: bool = False
    ended: bool = False
    end_reason: str = ""
    #: Name that the provisioner gave, as far as the log knows.
    node: str = ""
    wake: Wake | None = None
    #: Its node is to stand by; once it was taken, the offset of the `SpareTaken`.
    spare: bool = False
    taken_at: int = 0
    #: What tells it from a second record of the same order; see `NodeOrdered`.
    based_on: int = -1
    place: int = 0

    @property
    def serves_from(self) -> int:
        """The offset from which on it counts among the nodes that its pool ought to have."""
        return self.taken_at or self.order


class PoolRow(_Row, frozen=True):
    """A pool, its provisioner and how many nodes it ought to have."""

    pool: str
    nodes: int = 0
    slots: int = 4
    claim: str = ""
    #: Registration of its provisioner, 0 if none has registered.
    registration: int = 0
    boot_id: str = ""
    partition: int = 0
    seen: int = -1
    silent: bool = False
    #: Failed creations since the last node registered.
    strikes: int = 0
    #: The strike that the pool was last held back for.
    held_for: int = 0
    degraded: bool = False
    #: Highest port that a node of this pool is known to have had.
    port_highest: int = 0
    wake: Wake | None = None
    #: Bounds of its nodes, those that stand by, and how soon a new one must register; 0: see `tables.pools`.
    nodes_min: int = 0
    nodes_max: int = 0
    spares: int = 0
    register_within_ms: int = 0
    #: How often its provisioner fell silent.
    failures: int = 0


class Standby(_Row, frozen=True):
    """A copy that is made ready on another node while the generation in force runs on."""

    #: Offset of the accepted `AppPrepared`.
    generation: int
    node: str
    lineage: int
    spec: AppSpec


class AppRow(_Row, frozen=True):
    """An app: what is wanted, and the generation in force."""

    app: str
    spec: AppSpec
    wanted: bool
    phase: AppPhase
    #: When `phase` last changed.
    since_ms: int
    #: Offset of the accepted `AppPlaced`, 0 before the first.
    generation: int = 0
    node: str = ""
    #: Lineage of the node it was placed under.
    lineage: int = 0
    #: The spec that this generation was placed with; a newer one counts from the next copy on.
    placed_spec: AppSpec | None = None
    started_at_ms: int = 0
    #: The copy shall stop and another start.
    restarting: bool = False
    silent: bool = False
    seen: int = -1
    exit_code: int | None = None
    end_reason: str = ""
    #: How the last copy ended, in its agent's words.
    end_detail: str = ""
    #: Failures of its own, ever; a node's death is not among them.
    failures: int = 0
    #: Failures in a row without a good run between them.
    strikes: int = 0
    #: Append times of the last failures, as many as the policy's window needs.
    recent_failures: list[int] = []
    #: Nodes where it failed last, newest last, at most three.
    failed_on: list[str] = []
    gave_up: bool = False
    pending_reason: str = ""
    #: Why -> how many nodes could not take it, when the reason was first seen.
    fell_out: dict[str, int] = {}
    submitted_at_ms: int = 0
    #: The grant whose room its first copy takes, 0 for none.
    grant: int = 0
    #: Somebody wants it elsewhere: on `move_to`, or on any other node if that is empty.
    moving: bool = False
    move_to: str = ""
    #: While it has one, `wake` is the time by which that must have beaten.
    standby: Standby | None = None
    #: The last standby of this generation came to nothing; no other is tried until somebody asks.
    standby_failed: bool = False
    wake: Wake | None = None


class GrantRow(_Row, frozen=True):
    """Room on a node that somebody asked for; the row goes when it is used, refused or expired."""

    #: Offset of the `NodeRequested`.
    grant: int
    #: Empty while it waits for room in any pool.
    pool: str
    #: What is left of the slots.
    slots: int
    new: bool = False
    #: Where the room is kept, empty while it is waited for, and the lineage of that node.
    node: str = ""
    lineage: int = 0
    wake: Wake | None = None
    #: What is left of processor and memory.
    cpu_percent: int = 0
    memory_mib: int = 0


class SourceRow(_Row, frozen=True):
    """A lone source: a program that beats straight to Kafka and is run by nobody here."""

    source: str
    kind: SourceKind
    partition: int
    seen: int
    since_ms: int
    silent: bool = False
    failures: int = 0
    #: The topic that a bridge reads for it, empty if nobody asked for it; and the offset of the event that named it.
    topic: str = ""
    expectation: int = 0


class RequestRow(_Row, frozen=True):
    """A request that was admitted or refused, remembered so that a second admission is dropped."""

    request: str
    offset: int
    at_ms: int


class PolicyRow(_Row, frozen=True):
    """The policy in force and the offset it came with, -1 for the built-in one."""

    policy: Policy
    offset: int = -1


class TermRow(_Row, frozen=True):
    """The planner in force."""

    term: int = -1
    writer: str = ""
    fold_version: int = 0


class BrakeRow(_Row, frozen=True):
    """The brake: whether silence is acted upon."""

    #: What the leader's watcher said last, and when.
    band: Band = "calm"
    overdue: int = 0
    nodes: int = 0
    band_at: int = -1
    #: Offset of the `BrakeEngaged` in force, -1 if the brake is off.
    engaged: int = -1
    engaged_at_ms: int = 0
    #: Silent nodes that may be declared down in spite of the brake.
    allowance: int = 0
    #: A person ended it; it stays off until the share was calm again.
    overridden: bool = False
    wake: Wake | None = None


class PauseRow(_Row, frozen=True):
    """A pause of the watch over a node, an app or the platform; the row goes when it is over."""

    #: Node, app, or `platform`.
    subject: str
    since_ms: int
    #: Its time; the row goes when it has fired.
    wake: Wake | None = None


class CounterRow(_Row, frozen=True):
    """How many records of one type the fold accepted and dropped, and why it dropped the last one."""

    name: str
    accepted: int = 0
    dropped: int = 0
    last_drop: str = ""


Row = (
    NodeRow
    | OrderRow
    | PoolRow
    | AppRow
    | GrantRow
    | SourceRow
    | DeviceRow
    | SensorLimitRow
    | BindingRow
    | NotificationRow
    | SpeakerRow
    | InboxRow
    | CommandRow
    | RequestRow
    | PolicyRow
    | TermRow
    | BrakeRow
    | PauseRow
    | CounterRow
)

#: Table name -> struct of its rows. Single-row tables use the key `now`.
TABLES: dict[str, type[msgspec.Struct]] = {
    "nodes": NodeRow,
    "orders": OrderRow,
    "pools": PoolRow,
    "apps": AppRow,
    "grants": GrantRow,
    "sources": SourceRow,
    "devices": DeviceRow,
    "sensor_limits": SensorLimitRow,
    "bindings": BindingRow,
    "notifications": NotificationRow,
    "speakers": SpeakerRow,
    "inbox": InboxRow,
    "commands": CommandRow,
    "requests": RequestRow,
    "policy": PolicyRow,
    "term": TermRow,
    "brake": BrakeRow,
    "pauses": PauseRow,
    "counters": CounterRow,
}

#: Key of the row in a table that has one row only.
ONLY = "now"

_encode = msgspec.json.Encoder().encode
_DECODERS = {table: msgspec.json.Decoder(kind).decode for table, kind in TABLES.items()}


def encode_row(row: Row) -> bytes:
    """The row as JSON."""
    return _encode(row)


def decode_row(table: str, value: bytes) -> Row:
    """The row of `table` in `value`; raises msgspec.ValidationError or DecodeError if it is none."""
    return cast("Row", _DECODERS[table](value))
