"""What an agent remembers: who it is, what it runs, what it was told. Pure core of the agents.

Rules:
1. A *thing* is what the agent runs: an app of a node, a node of a pool. One runner serves both.
2. There is at most one thing under a key; a newer epoch takes the place only after the older has ended.
3. All times are milliseconds of the agent's bounded clock, which starts at 0 and means nothing elsewhere.
"""

from typing import Literal

import msgspec

from sdk.contract.heartbeats import AppEntry
from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders, PoolOrders

#: Pause between two hellos, and the largest once a claim was refused.
HELLO_PAUSE_MS = 1_000
HELLO_PAUSE_MAX_MS = 5_000
#: A report at least this often, a quarter of the silence limit, give or take a tenth.
REPORT_EVERY_MS = 2_500
REPORT_JITTER = 0.1
#: A full report at least this often; those between say "as before" if nothing has changed. Source: DESIGN 7; less
#: than the 30 s that a watcher without a checkpoint counts back, so that it finds one of everybody.
FULL_EVERY_MS = 20_000
#: Up to this part of that it comes sooner, or the agents of a platform that was started at once would all be full at
#: the same moments.
FULL_JITTER = 0.25
#: Without an acknowledgement for this long, two reports, and for as long after the next, every report is full: one
#: that was given up and sent again may stand twice, in any order.
UNHEARD_MS = 5_000
#: A beat older than this part of the silence limit, in percent, is told in full: a beat interval and a fifth.
FRESH_PERCENT = 60
#: Changes this close together share a report: four first beats within a few ms need not be four records.
REPORT_GAP_MS = 8
#: Without an acknowledged report this long, apps with `on_isolation = "stop"` are stopped: two seconds
#: before anyone else may conclude that the node is gone.
ISOLATED_AFTER_MS = 8_000
#: The same where the silence limit is under 10 s, in percent of the limit.
ISOLATED_AFTER_PERCENT = 80
#: An isolated app has this long to stop politely, so that it is gone when a copy of it may start elsewhere.
ISOLATED_GRACE_MS = 1_000
#: Without an acknowledged report this long, orders are read from the beginning again.
READ_AGAIN_AFTER_MS = 10_000
#: Grace of an app whose orders were never seen, and the most it gets when the platform stops.
STOP_GRACE_MS = 5_000
#: What an agent gets when the platform stops: its apps' grace and some to end itself; in 10 s all is over.
NODE_STOP_GRACE_MS = 8_000

#: A topic of beats that was not read to its end for this long says nothing about silence: four ticks of a worker.
UNREAD_MS = 1_000
#: Once it is read again nobody is judged before this time is over, and one copy gains at most so much between two
#: beats: its client needs time to be back too. Source: DESIGN 6, settling.
SETTLING_MS = 10_000
SETTLING_IN_ALL_MS = 20_000

#: Ended epochs remembered; it takes seconds until the log knows, and a node has not so many apps.
ENDED_MAX = 256

ThingStatus = Literal["starting", "running", "stopping", "exited"]


class Identity(msgspec.Struct, frozen=True):
    """Who the agent is; fixed for the life of its process."""

    #: A node agent runs apps, a provisioner runs nodes.
    kind: Literal["node", "pool"]
    #: Node id or pool id: reporter of its records and key of its orders.
    reporter: str
    #: The order that made this node, 0 of a provisioner.
    order: int
    ip: str
    port: int
    pool: str
    slots: int
    drivers: list[str]
    boot_id: str


class Exit(msgspec.Struct, frozen=True):
    """An exit that happened by itself; kept on disk so that a restarted agent still reports it."""

    key: str
    epoch: int
    exit_code: int | None = None
    reason: str = ""
    name: str = ""


class Image(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the runner keeps on disk."""

    #: The registration in force, or the last one.
    registration: int = 0
    #: The log that `as_of` counts in.
    topic_id: str = ""
    #: The newest orders obeyed; older ones never are.
    as_of: int = -1
    exits: list[Exit] = []
    #: The agent was asked to stop and did, with everything it ran.
    orderly: bool = False
    #: The claim under which a registration is asked for; empty once orders named it.
    asking: str = ""


class Found(msgspec.Struct, frozen=True):
    """A thing that the driver or provider knows from before the agent's restart."""

    key: str
    epoch: int
    #: `alive` is adopted, `dead` ended unseen, `parked` was stopped with the platform and starts again.
    status: Literal["alive", "dead", "parked"]
    name: str = ""
    pid: int = 0
    #: How a dead one ended, if that is known.
    exit_code: int | None = None
    reason: str = ""


class Thing(msgspec.Struct, frozen=True):
    """An app of a node, or a node of a pool."""

    #: App id, or the order's offset as text.
    key: str
    #: Generation of an app, order of a node.
    epoch: int
    status: ThingStatus
    #: The last beat, or the start if it never beat.
    since_ms: int
    #: As last ordered; None if adopted and not yet named.
    order: AppOrder | NodeOrder | None = None
    #: Id of a node; empty of an app.
    name: str = ""
    pid: int = 0
    exit_code: int | None = None
    reason: str = ""
    #: Its last beat's age has reached the limit and was reported so.
    late: bool = False
    #: End of the grace, None if it was not asked to stop.
    kill_at_ms: int | None = None
    #: It was told to die.
    killed: bool = False
    #: Its exit is our own doing and no news for anybody: no trace of it stays.
    forget: bool = False
    #: It was stopped for isolation and starts again with the same epoch.
    isolated: bool = False
    #: Not running, to be started again with the same epoch.
    parked: bool = False
    #: Number of the first report that called it exited, 0 if none did.
    told: int = 0
    #: Records that its topic of beats has had so far, -1 if it has none or was not looked at yet.
    count: int = -1
    #: What settling has given it since its last beat.
    settled_ms: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether a process may exist."""
        return self.status != "exited" and not self.parked

    @property
    def topic(self) -> str:
        """The topic whose records are its beats; empty if it beats to us."""
        return self.order.beats if isinstance(self.order, AppOrder) else ""


class Told(msgspec.Struct, frozen=True):
    """The newest full report of a node, and where it stands."""

    number: int
    #: When it must be told again.
    until_ms: int
    registration: int
    as_of: int
    #: As they were told, all of age 0.
    apps: list[AppEntry]
    #: Its offset, -1 until Kafka has acknowledged it.
    offset: int = -1


class State(msgspec.Struct):
    """All an agent remembers. `advance` works on a copy, so a state once returned never changes."""

    identity: Identity
    #: Drawn by the shell, empty until it comes.
    claim: str = ""
    #: The one in force, or the last one while a new one is asked for.
    registration: int = 0
    is_registered: bool = False
    topic_id: str = ""
    as_of: int = -1
    #: The orders obeyed.
    orders: NodeOrders | PoolOrders | None = None
    #: Best orders read and not yet looked at: with our own claim, with another.
    own: NodeOrders | PoolOrders | None = None
    foreign: NodeOrders | PoolOrders | None = None
    #: Orders were read to the end seen when reading began.
    is_caught_up: bool = False
    #: Number of the last record sent.
    number: int = 0
    hello_at_ms: int = 0
    hello_pause_ms: int = HELLO_PAUSE_MS
    #: Our claim was refused, and that has been said.
    is_refused: bool = False
    #: The last report; so long ago at the start that the first is due at once.
    reported_at_ms: int = -REPORT_EVERY_MS
    #: Something happened that is reported at once.
    is_changed: bool = False
    #: The last acknowledged report, or the registration.
    acked_at_ms: int = 0
    acked_number: int = 0
    read_again_at_ms: int = 0
    is_isolated: bool = False
    #: The platform stops: nothing is reported any more, everything is stopped politely.
    is_stopping: bool = False
    is_finished: bool = False
    things: dict[str, Thing] = {}
    #: Epochs that ended here, were told and forgotten, by key: orders made before the log knew must not revive them.
    ended: dict[str, int] = {}
    #: When the topics of beats had been read to their end last, and the records that each had had by then.
    topics_read_ms: int = -UNREAD_MS
    counts: dict[str, int] = {}
    #: What "as before" would mean; until when nothing is told that way.
    told: Told | None = None
    full_until_ms: int = 0


def image_of(state: State) -> Image:
    """What is to be on disk."""
    exits = [
        Exit(thing.key, thing.epoch, thing.exit_code, thing.reason, thing.name)
        for thing in state.things.values()
        if thing.status == "exited" and not thing.forget
    ]
    asking = "" if state.is_registered else state.claim
    return Image(state.registration, state.topic_id, state.as_of, exits, state.is_stopping, asking)


def first_state(identity: Identity, image: Image, found: list[Found]) -> State:
    """The state of an agent that has just started, from its disk and from what is still there."""
    state = State(identity, registration=image.registration, topic_id=image.topic_id, as_of=image.as_of)
    state.claim = image.asking
    for gone in image.exits:
        state.things[gone.key] = Thing(
            gone.key, gone.epoch, "exited", 0, exit_code=gone.exit_code, reason=gone.reason, name=gone.name
        )
    for there in found:
        known = state.things.get(there.key)
        if known is not None and known.epoch >= there.epoch:
            continue
        is_dead = there.status == "dead"
        state.things[there.key] = Thing(
            there.key,
            there.epoch,
            "exited" if is_dead else "starting",
            0,
            name=there.name,
            pid=there.pid,
            exit_code=there.exit_code,
            reason=(there.reason or "ended while its agent was away") if is_dead else "",
            parked=there.status == "parked",
        )
    return state


def isolated_after_ms(state: State) -> int:
    """Without an acknowledged report this long the agent counts as isolated; always before its silence is found."""
    limit_ms = (
        state.orders.silence_limit_ms if isinstance(state.orders, NodeOrders) else ISOLATED_AFTER_MS * 2
    )
    return min(ISOLATED_AFTER_MS, limit_ms * ISOLATED_AFTER_PERCENT // 100)


def is_beat_welcome(state: State, key: str, epoch: int) -> bool:
    """Whether a beat of this copy still belongs here."""
    thing = state.things.get(key)
    return thing is not None and thing.epoch == epoch and thing.is_alive
