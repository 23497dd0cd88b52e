"""A world that goes on from a moment of a real platform's log. Part of the simulator, for `cli.py fork`.

1. The topics hold what they held: the log ends where it ended, heartbeat offsets go on where they were, so that
   registrations, generations and silences keep their numbers. Workers begin with the fold of that moment.
2. What the fold says that runs is made to run: nodes with their agents, copies of apps, provisioners, lone sources.
   A silent node has an agent that hangs, a silent app a copy that does not beat. Agents know the claims that they were
   registered under, so that nobody registers anew.
3. Nothing is judged; what comes onto the log is folded and told.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from agents.state import Image
from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded, decode_event, encode_orders
from sdk.contract.devices import device_topic
from sdk.contract.heartbeats import Beat
from sdk.contract.orders import NodeOrders
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables.fold import Meta, fold, fold_garbage
from tables.notification_rows import InboxRow
from tables.orders import orders_for
from tables.rows import ONLY, encode_row
from tables.state import State
from tables.witness import Witness
from tests.simulation.checkers import Checks
from tests.simulation.kafka import Place, Producer, Record, Request
from tests.simulation.loop import Machine, Process
from tests.simulation.machines import IP, POOL, Copy, Node
from tests.simulation.notice_judge import NoticeJudge
from tests.simulation.provider import Provider
from tests.simulation.record_judge import RecordJudge

if TYPE_CHECKING:
    from agents.state import State as AgentState
    from tests.simulation.machines import Agent
    from tests.simulation.world import World

BEAT_EVERY_MS = 5_000
#: Workers, where none beats in the log.
WORKERS = ("worker-1", "worker-2")


class Logged(NamedTuple):
    """A record of the real log."""

    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None


class Told(NamedTuple):
    """A record that the platform wrote after the moment, and what the fold made of it."""

    offset: int
    append_ms: int
    said: Recorded
    dropped: str


class Past:
    """A moment of a platform."""

    def __init__(
        self,
        state: State,
        records: Sequence[Logged],
        *,
        prefix: str,
        events_id: str,
        heartbeats_id: str,
        heartbeat_ends: dict[int, int],
    ) -> None:
        """`records` are the last of the log, up to the moment; `state` is after them."""
        self.state = state
        self.records = records
        self.prefix = prefix
        self.events_id, self.heartbeats_id = events_id, heartbeats_id
        self.heartbeat_ends = heartbeat_ends
        self.now_ms = state.now_ms
        beating = sorted(name.removeprefix("service-") for name in state.sources if _is_worker(state, name))
        self.workers = beating or list(WORKERS)

    def create_witness(self, world: "World") -> "Teller":
        """Who folds what is appended and tells it."""
        return Teller(world, self)

    def arrange(self, world: "World") -> None:
        """Lay the topics, fill the workers' disks, and make what runs."""
        state = self.state
        world.events_id, world.heartbeats_id = self.events_id, self.heartbeats_id
        world.provider.boot = lambda: None  # type: ignore[method-assign]  # each pool is booted below
        self._lay_topics(world)
        rows = {(table, key): encode_row(row) for table, key, row in state.all_rows()}
        for disk in world.disks.values():
            disk.rows, disk.offset, disk.now_ms = dict(rows), state.offset, state.now_ms
        for name, row in sorted(state.pools.items()):
            if row.registration:
                self._make_pool(world, name)
        for name, source in sorted(state.sources.items()):
            if not source.silent and not _is_worker(state, name):
                place = (source.topic, 0) if source.topic else None
                Speaking(world, name, place, BEAT_EVERY_MS)
        for name, device in sorted(state.devices.items()):
            if device.expectation and not device.silent:
                topic = device_topic(self.prefix, device.device)
                Speaking(world, name, (topic, 0), max(device.limit_ms // 3, 1))

    def _lay_topics(self, world: "World") -> None:
        events = world.broker.log(world.topics.events)
        events.records = [
            Record(world.topics.events, 0, each.offset, each.append_ms, each.key, each.value)
            for each in self.records
        ]
        events.end = self.state.offset + 1
        for partition in range(WIDE_PARTITIONS):
            log = world.broker.log(world.topics.heartbeats, partition)
            log.end = max(self.heartbeat_ends.get(partition, 0), _seen_in(self.state, partition) + 1)
        inbox = self.state.tables["inbox"].get(ONLY)
        if isinstance(inbox, InboxRow):
            world.notifications_id = inbox.topic_id
            world.broker.log(world.topics.notifications).end = inbox.next_offset
        for reporter in [*self.state.nodes, *self.state.pools]:
            orders = orders_for(self.state, reporter, topic_id=self.events_id)
            if orders is not None:
                place = (world.topics.commands, partition_of(reporter))
                log = world.broker.log(*place)
                log.records.append(
                    Record(*place, log.end, self.now_ms, reporter.encode(), encode_orders(orders))
                )
                log.end += 1

    def _make_pool(self, world: "World", pool: str) -> None:
        """A provisioner with the nodes that it made."""
        state, row = self.state, self.state.pools[pool]
        nodes = [node for node in state.nodes.values() if node.pool == pool]
        provider = Provider(world, supervised=False, pool=pool, ip=nodes[-1].ip if nodes else IP)
        provider.port_floor = row.port_highest + 1
        provider.image = self._image(row.registration, row.claim)
        world.providers[pool] = provider
        if pool == POOL or len(world.providers) == 1:
            world.provider = provider
        for each in sorted(nodes, key=lambda node: node.registration):
            if each.status == "active" and not state.orders[str(each.order)].ended:
                self._make_node(world, provider, each.node)
        provider.boot()
        if row.silent and provider.agent is not None:
            provider.agent.pause()

    def _make_node(self, world: "World", provider: Provider, name: str) -> None:
        """A node with its agent and the copies that its orders name."""
        row = self.state.nodes[name]
        node = Node(world, provider, order=row.order, port=row.port, slots=row.slots)
        node.image = self._image(row.registration, row.claim)
        provider.nodes[row.order] = world.nodes[name] = node
        orders = orders_for(self.state, name, topic_id=self.events_id)
        assert isinstance(orders, NodeOrders)
        for order in orders.apps:
            app = self.state.apps[order.app]
            if order.generation == app.generation and app.phase == "placed" and not app.started_at_ms:
                continue  # Its agent starts it, as it was about to.
            copy = node.book[order.app] = Copy(node, order)
            copy.hung = app.silent and order.generation == app.generation
        node.boot()
        if row.silent and node.agent is not None:
            node.agent.pause()

    def _image(self, registration: int, claim: str) -> Image:
        """The disk of an agent whose orders name this claim."""
        return Image(registration, self.events_id, self.state.offset, asking=claim)


class Deaf(RecordJudge):
    """In the place of the judge of heartbeats."""

    def take(self, record: Record) -> None:
        """Not judged."""

    def made(self, event_id: str, writer: str) -> None:
        """Not judged."""


class Unread(NoticeJudge):
    """In the place of the judge of notifications."""

    def note(self, record: Record) -> None:
        """Not judged."""


class Teller(Checks):
    """In the place of the judges: folds what is appended, and keeps it."""

    def __init__(self, world: "World", past: Past) -> None:
        super().__init__(world, world.seed)
        self.state.load([*past.state.all_rows()], offset=past.state.offset, now_ms=past.state.now_ms)
        #: What was written after the moment.
        self.told: list[Told] = []
        # Offsets there go on from real ones, and what came before is not known here.
        self.heartbeats = Deaf(world, self.state, self.policies)
        self.notices = Unread(world, self.state)

    def appended(self, record: Record) -> None:
        """Fold a record of the log and tell it."""
        meta = Meta(record.offset, record.timestamp)
        try:
            said = decode_event(record.value)
        except DecodeError as error:
            fold_garbage(self.state, meta, str(error))
            return
        outcome = fold(self.state, said, meta)
        self.told.append(Told(record.offset, record.timestamp, said, outcome.dropped))

    def heard_of(self, request: Request, firsts: list[int]) -> None:
        """Not judged."""

    def agent_turned(self, agent: "Agent", before: "AgentState", after: "AgentState") -> None:
        """Not judged."""

    def copy_started(self, copy: Copy) -> None:
        """Not judged."""

    def decided(self, state: State, witness: Witness, decisions: list[e.Decision]) -> None:
        """Not judged."""

    def look(self) -> None:
        """Not judged."""


class Speaking(Process):
    """A lone source that beats, or whatever writes to a topic that is watched."""

    def __init__(self, world: "World", name: str, topic: Place | None, every_ms: int) -> None:
        super().__init__(world.loop, Machine(world.loop, name), name)
        self._world, self._topic, self._every_ms = world, topic, every_ms
        self._producer = Producer(self, world.broker)
        self._number = 0
        self.after(self.chance.randint(20, 1_500), self._speak)

    def _speak(self) -> None:
        self.after(self._every_ms, self._speak)
        self._number += 1
        if self._topic is not None:
            self._producer.send(self._topic, None, b"1", lambda _: None)
            return
        place = (self._world.topics.heartbeats, partition_of(self.name))
        beat = Beat(self.name, 0, self._number, self.machine.wall_ms)
        self._producer.send(place, self.name.encode(), beat, lambda _: None)


def _is_worker(state: State, name: str) -> bool:
    return name.startswith("service-worker-") and not state.sources[name].silent


def _seen_in(state: State, partition: int) -> int:
    """The highest offset of a heartbeat partition that the fold knows of."""
    seen = [row.seen for row in state.nodes.values() if row.partition == partition]
    seen += [row.seen for row in state.pools.values() if row.partition == partition]
    seen += [row.seen for row in state.sources.values() if row.partition == partition]
    seen += [row.seen for app, row in state.apps.items() if row.node and partition_of(row.node) == partition]
    seen += [row.seen for name, row in state.devices.items() if partition_of(name) == partition]
    return max(seen, default=-1)
