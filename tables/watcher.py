"""The watcher: all heartbeat partitions, and what they say that the fold does not. Pure.

Rules (DESIGN 7):
1. Level-triggered: what the partitions say is compared with the fold; a fact is what the log does not say yet.
2. Only about the epoch in force; a report only once the fold has reached its `as_of`; nobody heard by this
   watcher is unknown, not alive.
3. Only from a partition that is fresh: this worker's own tick, sent less than a second ago, was read back, so
   everything appended before it is known.
"""

from sdk.contract.events import Band, NodeRegistered, Position
from sdk.contract.heartbeats import AppEntry, Heartbeat, Hello, PoolReport, Report, Unchanged
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables.fold_nodes import registration_fault
from tables.overdue import Overdue
from tables.silence import PartitionWatch
from tables.slices import Slices
from tables.state import State, nodes_of
from tables.waiting import Waiting
from tables.witness import Load

#: A partition counts as read to its end if a tick of ours that we read back was sent at most this long ago.
FRESH_MS = 1_000
#: Load per core above which it does not matter how much more work waits.
_LOAD_MAX = 100.0


class Watcher:
    """One worker's view of the heartbeats; also the witness that its planner asks."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.watches: dict[int, PartitionWatch] = {}
        #: Shell time (ms, monotonic), moved by the shell before each use.
        self.now_ms = 0
        #: Partition -> shell time at which the newest of our ticks that was read back had been sent.
        self.fresh_at_ms: dict[int, int] = {}
        #: How much of what was heard a turn compares with the log.
        self.slices = Slices()
        #: For whom waiting is still to begin.
        self.waiting = Waiting(state, self.watches)
        self._overdue = Overdue(state, self.watches, self._heard_ms)

    # --- reading ------------------------------------------------------------------------------------

    def begin(self, watch: PartitionWatch) -> None:
        """Take over a partition, from a checkpoint or counted back."""
        self.watches[watch.partition] = watch
        self._overdue.forget()

    def name_of(self, source: str) -> str:
        """The name of a lone source as its row has it, so that there is one of each; of any other as it is given."""
        row = self.state.sources.get(source)
        return source if row is None else row.source

    def apply(self, partition: int, offset: int, append_ms: int, record: Heartbeat | None) -> None:
        """Apply one record of a partition."""
        self.watches[partition].apply(offset, append_ms, record, self.policy)

    def caught_up(self, partition: int) -> None:
        """Begin to wait for everything the fold knows in a partition that was just read to its end."""
        watch = self.watches[partition]
        self.waiting.begin(partition, self.policy)
        bridged = self.state.bridged | self.state.judged
        followed = {source for source in bridged if partition_of(source) == partition}
        followed.update(name for name, session in watch.sessions.items() if session.bridging is not None)
        for source in sorted(followed):
            self._follow_source(source, partition)

    def row_changed(self, table: str, key: str) -> None:
        """Follow the fold: begin to wait for a new epoch, forget one that is over."""
        match table:
            case "nodes":
                self._node_changed(key)
            case "apps":
                self._stir_nodes(key)
            case "pools":
                self._pool_changed(key)
            case "sources" | "devices":
                partition = partition_of(key)
                if partition in self.watches:
                    self.watches[partition].stir(key)
                    if partition in self.fresh_at_ms:
                        self._follow_source(key, partition)
            case "orders":
                self._overdue.forget()
            case "policy":
                self._policy_changed()
            case _:
                pass

    def _stir_nodes(self, app: str) -> None:
        """Compare what the nodes of an app said and say next."""
        for name in nodes_of(self.state.apps[app]):
            row = self.state.nodes.get(name)
            if row is not None and row.partition in self.watches:
                self.watches[row.partition].stir(name)

    def _node_changed(self, key: str) -> None:
        self._overdue.node_changed(key)
        node = self.state.nodes[key]
        watch = self.watches.get(node.partition)
        if watch is None:
            return
        watch.stir(key)
        for app in self.state.apps_of_node.get(key, ()):
            # Whether a standby may take over goes by the other node too.
            self._stir_nodes(app)
        if node.partition not in self.fresh_at_ms:
            return
        if node.status == "active":
            watch.expect(key, node.registration, seen=node.seen, policy=self.policy, claim=node.claim)
        else:
            watch.forget(key, claim=node.claim)

    def _pool_changed(self, key: str) -> None:
        pool = self.state.pools[key]
        watch = self.watches.get(pool.partition)
        if watch is not None and pool.registration and pool.partition in self.fresh_at_ms:
            watch.stir(key)
            watch.expect(key, pool.registration, seen=pool.seen, policy=self.policy, claim=pool.claim)

    def _follow_source(self, source: str, partition: int) -> None:
        """Wait for a sensor, or a lone source that is expected in a topic; no longer so for one that is not."""
        row, watch = self.state.sources.get(source), self.watches[partition]
        sensor = self.state.devices.get(source)
        if row is not None and row.topic:
            watch.expect_bridged(source, row.expectation, self.policy)
        elif sensor is not None and sensor.expectation:
            watch.expect_bridged(source, sensor.expectation, self.policy, limit_ms=sensor.limit_ms)
        else:
            watch.end_bridging(source)

    def _policy_changed(self) -> None:
        """Compare everybody anew: what is late goes by it."""
        for watch in self.watches.values():
            watch.quiet.clear()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.state.policy

    def is_fresh(self, partition: int) -> bool:
        """Whether the partition was read to its end less than a second ago."""
        at = self.fresh_at_ms.get(partition)
        return at is not None and self.now_ms - at < FRESH_MS

    def is_fresh_everywhere(self) -> bool:
        """Whether every partition was."""
        return len(self.watches) == WIDE_PARTITIONS and all(self.is_fresh(p) for p in self.watches)

    # --- the witness --------------------------------------------------------------------------------

    def confirm_silence(self, source: str, epoch: int) -> Position | None:
        """Where this watcher stands, if it is fresh and the silence still holds."""
        app = self.state.apps.get(source)
        partition = partition_of(app.node if app is not None else source)
        if not self.is_fresh(partition):
            return None
        watch = self.watches[partition]
        if app is not None:
            entry = self._entry(app.node, source, epoch)
            holds = entry is not None and is_late(entry, self.policy)
        else:
            verdict = watch.silent.get(source)
            holds = verdict is not None and verdict.epoch == epoch
        return Position(partition, watch.next_offset - 1) if holds else None

    def confirm_heard(self, node: str) -> Position | None:
        """Where this watcher stands, if it is fresh and heard the node within the overdue limit."""
        partition = partition_of(node)
        if not self.is_fresh(partition):
            return None
        watch = self.watches[partition]
        last = self._heard_ms(watch, node)
        if last is None or watch.clock_ms - last >= self.policy.overdue_ms:
            return None
        return Position(partition, watch.next_offset - 1)

    def knows(self, node: str) -> bool:
        """Whether it has read the node's partition to its end."""
        return self.is_fresh(partition_of(node))

    def measured_load(self, node: str) -> Load | None:
        """What the newest report in force says of the machine's load; None if it does not know."""
        watch = self.watches[partition_of(node)]
        reported, row = watch.reports.get(node), self.state.nodes.get(node)
        if reported is None or row is None or reported.head.registration != row.registration:
            return None
        newest = reported.newest
        assert not isinstance(newest, PoolReport)
        return load_of(newest, Position(watch.partition, reported.newest_offset))

    def has_beaten(self, app: str, generation: int) -> bool | None:
        """Whether the newest report of its node names this generation as beating; None if not fresh or not known."""
        row = self.state.apps[app]
        standby = row.standby
        node = standby.node if standby is not None and standby.generation == generation else row.node
        partition = partition_of(node)
        if not self.is_fresh(partition) or node in self.watches[partition].unknown:
            return None
        entry = self._entry(node, app, generation)
        return entry is not None and entry.status == "running"

    def has_hello(self, order: int) -> bool | None:
        """Whether an agent of this order said a hello that the fold would accept; None if not fresh everywhere."""
        if not self.is_fresh_everywhere():
            return None
        return any(
            greeted.hello.order == order
            and not registration_fault(
                self.state, registration_of(greeted.hello, watch.partition, greeted.offset)
            )
            for watch in self.watches.values()
            for greeted in watch.hellos.values()
        )

    def overdue_band(self) -> Band | None:
        """The share of nodes overdue now; None if some partition is not fresh."""
        counted = self.count_overdue()
        return None if counted is None else band_of(*counted, self.policy)

    def count_overdue(self) -> tuple[int, int] | None:
        """Overdue nodes and all nodes; those that their provider knows to be gone count as neither."""
        if not self.is_fresh_everywhere():
            return None
        return self._overdue.count()

    def _heard_ms(self, watch: PartitionWatch, node: str) -> int | None:
        """Clock at which a node was last heard: its report, its hello, or where waiting for it began.

        Any hello under its name counts, also one that is refused for now: it shows that nodes can be heard. Else a
        brake for all of them would keep for ever what must be declared down before it can register anew.
        """
        session, greeted = watch.sessions.get(node), watch.hellos.get(node)
        if session is None:
            return greeted.clock_ms if greeted is not None else None
        return session.last_ms if greeted is None else max(session.last_ms, greeted.clock_ms)

    def _entry(self, node: str, app: str, generation: int) -> AppEntry | None:
        """What the newest report in force says of a generation."""
        reported = self.watches[partition_of(node)].reports.get(node)
        row = self.state.nodes.get(node)
        if reported is None or row is None or reported.head.registration != row.registration:
            return None
        report = reported.report
        assert isinstance(report, Report)
        found = (entry for entry in report.apps if entry.app == app and entry.generation == generation)
        return next(found, None)


def registration_of(hello: Hello, partition: int, offset: int) -> NodeRegistered:
    """The fact that a node's hello at this place asks for."""
    return NodeRegistered(
        node=hello.reporter,
        claim=hello.claim,
        order=hello.order,
        old_registration=hello.registration,
        ip=hello.ip,
        port=hello.port,
        pool=hello.pool,
        slots=hello.slots,
        drivers=hello.drivers,
        boot_id=hello.boot_id,
        cpu_percent=hello.cpu_percent,
        memory_mib=hello.memory_mib,
        limits=hello.limits,
        position=Position(partition, offset),
    )


def load_of(report: Report | Unchanged, position: Position) -> Load | None:
    """The load that a report states, in thousandths; None if it states none."""
    if not report.load and not report.memory_mib:
        return None
    memory = report.memory_used_mib * 1_000 // report.memory_mib if report.memory_mib > 0 else 0
    cpu = round(min(max(report.load, 0.0), _LOAD_MAX) * 1_000)
    return Load(cpu, min(max(memory, 0), 1_000), position)


def is_late(entry: AppEntry, policy: Policy) -> bool:
    """Whether a report says that an app has been silent over the limit.

    `starting` too: so an agent that was started again calls an app that has not beaten since it was found, and one
    that hung before would never be found.
    """
    return entry.status in ("starting", "running") and entry.age_ms >= policy.silence_limit_ms


def band_of(overdue: int, nodes: int, policy: Policy) -> Band:
    """The share as the brake sees it; with fewer nodes than the brake needs it is always calm."""
    if nodes < policy.brake_nodes_min:
        return "calm"
    if overdue == nodes:
        return "all"
    return "most" if overdue * 100 > policy.brake_share_percent * nodes else "calm"
