"""Decisions: what the planner made of it. Pure; part of `sdk.contract.events`.

Each carries the `term` it was made in and counts only if that term is in force at its offset. Offsets named
`based_on`, `policy`, `registration`, `replaces`, `order` and `term` are offsets of the events topic.
"""

from typing import Literal

import msgspec

from sdk.contract.facts import Band, EventBase, Position
from sdk.contract.whole import Whole


class PlannerStarted(EventBase, frozen=True):
    """A worker begins to decide; the offset of this record is the new term."""

    writer: str
    #: A worker with an older fold stands back.
    fold_version: Whole


class _Decision(EventBase, frozen=True, kw_only=True):
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
    #: It is to stand by without apps until it is taken.
    spare: bool = False
    #: Which of the nodes that were ordered at `based_on` for this pool, from 1 on: a second record of it is dropped.
    #: 0 where the writer did not say.
    place: Whole = 0


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


class NodeQuarantined(_Decision, frozen=True, kw_only=True):
    """A node was declared down so often lately that it takes no apps for a while."""

    node: str
    registration: Whole
    #: How often within the window of the policy.
    failures: Whole


class NodeReleased(_Decision, frozen=True, kw_only=True):
    """The time of a quarantine is over; its failures are forgiven."""

    node: str
    registration: Whole
    #: Its pool has the nodes it ought to have: it was replaced meanwhile, and is taken away.
    surplus: bool = False


class NodeLeft(_Decision, frozen=True, kw_only=True):
    """A node that was to shut down is empty; it is taken away."""

    node: str
    registration: Whole


class SpareTaken(_Decision, frozen=True, kw_only=True):
    """A spare becomes an ordinary node at once: in the place of a dead one, or because its pool has too few."""

    node: str
    registration: Whole
    #: The dead node whose apps it takes over, and the lineage under which those were placed.
    replaces: str = ""
    replaces_lineage: Whole = 0


class SpareRetired(_Decision, frozen=True, kw_only=True):
    """A pool has more spares than it ought to have; this one is taken away."""

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


class PoolEnlarged(_Decision, frozen=True, kw_only=True):
    """A pool gets a node more, because somebody waits for room that no node has."""

    pool: str
    #: Who waits: offset of the `NodeRequested`.
    grant: Whole
    #: How many nodes the pool ought to have from here on.
    nodes: Whole


class NodeGranted(_Decision, frozen=True, kw_only=True):
    """Room on a node is kept for whoever asked for it, until it is used or the time is over."""

    #: Offset of the `NodeRequested` that it answers.
    grant: Whole
    node: str
    registration: Whole
    slots: Whole
    #: As in the `NodeRequested`.
    cpu_percent: Whole = 0
    memory_mib: Whole = 0


class GrantRefused(_Decision, frozen=True, kw_only=True):
    """Room that somebody asked for cannot be had."""

    grant: Whole
    pool: str
    reason: str


class GrantExpired(_Decision, frozen=True, kw_only=True):
    """Room that was kept for somebody is free again."""

    grant: Whole
    node: str
    reason: Literal["unused", "node-gone"]


class NodeScore(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node was worth to an app: numbers compared from the first to `cost`, the smaller the better."""

    node: str
    #: -1 where the app wants to stay, else how lately it failed there: 0 never, 3 last.
    failed: Whole = 0
    #: Copies of the app's group on the node.
    copies: Whole = 0
    #: 0 beside the group it wants to be near, 1 in a pool with it, 2 elsewhere.
    distance: Whole = 0
    #: What the strategy makes of the load; the smaller the better.
    cost: Whole = 0
    #: The measured load that went into `cost`: thousandths of the processor and of the memory in use.
    cpu_permille: Whole = 0
    memory_permille: Whole = 0
    #: The report that says so; None if no load was known.
    measured: Position | None = None


class AppPlaced(_Decision, frozen=True, kw_only=True):
    """An app shall run on a node; the offset of this record is its generation."""

    app: str
    node: str
    registration: Whole
    #: The generation that this one replaces, 0 for the first.
    replaces: Whole
    reason: Literal["new", "failure", "node-down", "restart", "moved"]
    #: The best three nodes, the chosen one first; of version 1 some have none.
    ranking: list[NodeScore] = []  # noqa: RUF012  # a frozen msgspec struct: each instance gets its own
    #: Why -> how many of the active nodes could not take it.
    fell_out: dict[str, Whole] = {}  # noqa: RUF012  # the same


class AppPrepared(_Decision, frozen=True, kw_only=True):
    """A copy is made ready beside the one in force; the offset of this record is its generation if it takes over."""

    app: str
    node: str
    registration: Whole
    #: The generation that it is to replace.
    beside: Whole
    #: As in `AppPlaced`.
    ranking: list[NodeScore] = []  # noqa: RUF012  # as there
    fell_out: dict[str, Whole] = {}  # noqa: RUF012  # as there


class AppStandbyDropped(_Decision, frozen=True, kw_only=True):
    """A copy that was made ready is given up; the one in force goes on."""

    app: str
    #: That of the copy which is given up.
    generation: Whole
    reason: Literal["never-beat", "node-down", "not-needed"]


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


class AppFinished(_Decision, frozen=True, kw_only=True):
    """An app that is never to be run again has lost its copy: to the death of its node, or it was condemned."""

    app: str
    generation: Whole
    reason: Literal["node-down", "silent", "never-beat"]


class AppLeftPending(_Decision, frozen=True, kw_only=True):
    """An app that ought to run cannot be placed now, and why."""

    app: str
    reason: str
    #: Why -> how many of the active nodes could not take it, when the reason was first seen.
    fell_out: dict[str, Whole] = {}  # noqa: RUF012  # as above


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
