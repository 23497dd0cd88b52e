"""The simulated world: broker, workers, provisioner, nodes, and what can be done to them. Part of the simulator.

One seed is one run. Everything that a nemesis may do is a method here, so that the truth (who is disturbed, since
when) is always recorded.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import streams.core.admission as admission_module
import streams.core.monotonic as monotonic_module
import streams.core.planning as planning_module
import streams.core.round as round_module
import tables.watcher as watcher_module
import tests.simulation.workers as workers_module
from agents.inputs import StopAsked
from sdk.contract.codec import DecodeError, decode_orders, encode_request
from sdk.contract.events import Decision
from sdk.contract.orders import Orders
from sdk.contract.requests import Request
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of
from streams.core.hashing import HASH_EVERY
from tables.decide import decide
from tables.facts import FactOutbox
from tables.state import State
from tables.witness import Witness
from tests.simulation.beginnings import Beginning
from tests.simulation.checkers import Checks
from tests.simulation.controllers import House
from tests.simulation.decoding import Decoding
from tests.simulation.hash_judge import hash_every
from tests.simulation.kafka import Broker, Record
from tests.simulation.loop import Loop, Machine
from tests.simulation.machines import Agent, Node
from tests.simulation.news import News
from tests.simulation.originals import originals_of
from tests.simulation.provider import Provider
from tests.simulation.sensors import sensors_of
from tests.simulation.sim_group import Group
from tests.simulation.sim_shell import SHELL_TIME, Disk, ShellAsyncio
from tests.simulation.sim_views import ViewGroup
from tests.simulation.speakers import Speakers
from tests.simulation.workers import Worker

LOOK_EVERY_MS = 2_000
#: Partitions of the wide topics in here; the platform has 8. Two show all that several can, at a quarter of the cost.
WIDE = 2


class Size(NamedTuple):
    """How much there is, and may become by requests, so that there is always room for what is wanted."""

    apps: int = 5
    nodes: int = 4
    apps_max: int = 10
    nodes_min: int = 4
    nodes_max: int = 7


class World:
    """Everything there is."""

    def __init__(
        self,
        seed: int,
        *,
        workers: int = 2,
        originals: int = 0,
        speakers: int = 0,
        controllers: int = 0,
        sensors: int = 0,
        supervised: bool = False,
        size: Size | None = None,
        shortcuts: bool = True,
        watches_dozing: bool = False,
        past: Beginning | None = None,
    ) -> None:
        self.seed = seed
        self.size = size or Size()
        #: Whether agents may rest and workers doze while nothing new can happen to them.
        self.shortcuts = shortcuts
        #: Whether each turn that is left out is looked at, to see that it would have done nothing.
        self.watches_dozing = watches_dozing
        self.loop = Loop(seed) if past is None else Loop(seed, begin_ms=past.now_ms)
        #: Partitions of the wide topics: few, or as many as the log of a platform counts on.
        self.wide = WIDE if past is None else WIDE_PARTITIONS
        self.broker = Broker(self.loop)
        self.broker.on_append = self._appended
        self.broker.on_turn = self._settle_workers
        self.topics = Topics("watchkeep" if past is None else past.prefix)
        self._events_topic, self._heartbeats_topic = self.topics.events, self.topics.heartbeats
        self.events_id, self.heartbeats_id = "events-1", "heartbeats-1"
        self.notifications_id = "notifications-1"
        #: Events between two hashes of the fold; a fork goes on as its platform would.
        self.hash_every = hash_every(seed) if past is None else HASH_EVERY
        self.decoding = Decoding()
        self.checks: Checks = Checks(self, seed) if past is None else past.create_witness(self)
        self.broker.on_ack = self.checks.heard_of
        self.broker.quiet_topic, self.broker.news_of = self.topics.heartbeats, News(self).take
        #: Faults that wait for a record.
        self.onlookers: list[Callable[[Record], None]] = []
        #: Share of decisions that are folded aside and decided again.
        self.again_share = 0.2
        self.spawn_fail_share = 0.0
        self.broker_disturbed_ms = self.workers_disturbed_ms = self.loop.now_ms
        #: True times at which the clock of a machine jumped.
        self.jumped_at_ms: list[int] = []
        self.nodes: dict[str, Node] = {}
        self.ghosts: list[Agent] = []
        self.provider = Provider(self, supervised=supervised)
        #: The provisioners of a past, by pool.
        self.providers: dict[str, Provider] = {}
        self.group, self.view_group = Group(self), ViewGroup(self)
        names = [f"worker-{number}" for number in range(workers)] if past is None else past.workers
        self.disks = {name: Disk() for name in names}
        self.machines = {name: Machine(self.loop, name) for name in self.disks}
        self.workers: dict[str, Worker] = {}
        #: Faults that have struck.
        self.faults = 0
        #: Nobody can write to, or ask about, the topics of original heartbeat clients and of sensors.
        self.topics_cut = False
        self.topics_disturbed_at: list[int] = []
        self.originals, self.sensors = originals_of(self, originals), sensors_of(self, sensors)
        self.house = House(self, controllers)
        #: Ends of the logs at which the view was found right.
        self.view_found: tuple[object, ...] = ()
        self._asked = 0
        self._drawn = 0
        self.speakers = Speakers(self, speakers)
        if past is not None:
            past.arrange(self)
        for name in self.disks:
            self.start_worker(name)
        self.provider.boot()
        self.group.watch()
        self.view_group.watch()
        self._look()

    # --- small services -----------------------------------------------------------------------------

    def draw(self, what: str) -> str:
        """Something drawn once: a claim, a writer id."""
        self._drawn += 1
        return f"{what}-{self._drawn}-{self.loop.chance.getrandbits(32):08x}"

    def spawn_fails(self) -> bool:
        """Whether this start of an app fails."""
        return self.spawn_fail_share > 0 and self.loop.chance.random() < self.spawn_fail_share

    def _appended(self, record: Record) -> None:
        if record.topic == self._heartbeats_topic:
            self.checks.heartbeats.take(record)
        elif record.topic == self._events_topic:
            self.checks.appended(record)
        elif record.topic == self.topics.notifications:
            self.checks.notices.note(record)
        else:
            self.originals.note(record)
            self.sensors.note(record)
            self.house.note(record)
        if self.onlookers:
            for look in list(self.onlookers):
                look(record)

    def counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many records topics have had."""
        return {topic: self.broker.log(topic).end for topic in topics}

    def _settle_workers(self) -> None:
        for worker in self.workers.values():
            worker.settle()

    def _look(self) -> None:
        self.checks.look()
        self.loop.after(LOOK_EVERY_MS, self._look)

    @property
    def broker_up(self) -> bool:
        """Whether the broker serves."""
        return self.broker.alive and not self.broker.paused

    def living_workers(self) -> list[Worker]:
        """Workers that run and have read their disk."""
        return [worker for worker in self.workers.values() if worker.alive and worker.built]

    def standing_orders(self) -> dict[str, Orders]:
        """The newest orders of each reporter on the topic."""
        standing: dict[str, Orders] = {}
        for number in range(self.wide):
            for record in self.broker.log(self.topics.commands, number).records:
                try:
                    name = (record.key or b"").decode()
                    standing[name] = decode_orders(name, record.value)
                except (DecodeError, UnicodeDecodeError):
                    continue
        return standing

    # --- what can be done ---------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """A person asks; without a broker nobody hears it."""
        self._asked += 1
        if self.broker_up:
            request_id = f"request-{self._asked}"
            value = encode_request(request, request_id=request_id, asker="sim", at_ms=self.loop.now_ms)
            self.broker.append((self.topics.requests, 0), [(request_id.encode(), value)])

    def start_worker(self, name: str) -> None:
        """Start a worker that does not run."""
        old = self.workers.get(name)
        if old is None or not old.alive:
            self.workers_disturbed_ms = self.loop.now_ms
            self.workers[name] = Worker(self, name, self.machines[name], self.disks[name])

    def kill_worker(self, name: str, *, back_ms: int) -> None:
        """SIGKILL; its supervisor starts it again."""
        self.workers_disturbed_ms = self.loop.now_ms
        self.workers[name].kill()
        self.loop.after(back_ms, lambda: self.start_worker(name))

    def worker_ended(self, worker: Worker, why: str) -> None:
        """A worker ended itself."""
        del why
        self.kill_worker(worker.name, back_ms=1_000)

    def pause_worker(self, name: str, for_ms: int) -> None:
        """SIGSTOP and SIGCONT."""
        worker = self.workers[name]
        self.workers_disturbed_ms = self.loop.now_ms
        worker.pause()
        self.loop.after(for_ms, lambda: self._go_on(worker))

    def _go_on(self, worker: Worker) -> None:
        self.workers_disturbed_ms = self.loop.now_ms
        worker.resume()

    def cut(self, machine: Machine, *, up: bool, down: bool, for_ms: int) -> None:
        """Cut ways between a machine and the broker."""
        for process in list(machine.residents):
            process.settle()
        machine.cut_up |= up
        machine.cut_down |= down
        self.disturb(machine)
        self.loop.after(for_ms, lambda: self.mend(machine))

    def mend(self, machine: Machine) -> None:
        """Both ways are open again."""
        for process in list(machine.residents):
            process.settle()
        machine.cut_up = machine.cut_down = False
        self.disturb(machine)

    def disturb(self, machine: Machine) -> None:
        """Note that a fault of this machine began or ended."""
        if machine.name in self.nodes:
            self.nodes[machine.name].disturbed_ms = self.loop.now_ms
        else:
            self.workers_disturbed_ms = self.loop.now_ms

    def disturb_broker(self) -> None:
        """Note that a fault of the broker began or ended."""
        self.broker_disturbed_ms = self.loop.now_ms

    def cut_topics(self, *, for_ms: int) -> None:
        """The partitions of original clients and sensors are away; everything else is served."""
        self.topics_cut = True
        self.topics_disturbed_at.append(self.loop.now_ms)
        self.loop.after(for_ms, self.mend_topics)

    def mend_topics(self) -> None:
        """They are served again."""
        if self.topics_cut:
            self.topics_cut = False
            self.topics_disturbed_at.append(self.loop.now_ms)

    def park(self, *, down_ms: int, up_ms: int) -> None:
        """`down`: workers and provisioner are told to stop; `up` after that."""
        agent = self.provider.agent
        if agent is None or not agent.alive:
            return
        agent.resume()
        agent.feed(StopAsked())
        for name in self.workers:
            self.kill_worker(name, back_ms=up_ms)
        self.loop.after(down_ms, agent.kill)
        self.loop.after(up_ms, self.provider.boot)

    def heal(self) -> None:
        """Everything that was done is undone."""
        self.broker.lost_acks, self.broker.slow_ms, self.broker.late_share = 0.0, 0, 0.0
        # Faults that wait for a write wait no longer.
        self.onlookers.clear()
        self.broker.on_send = lambda _process, _place: None
        self.spawn_fail_share = 0.0
        self.disturb_broker()
        self.broker.start()
        self.broker.resume()
        self._heal_workers()
        self._heal_nodes()
        self._heal_provisioner()
        self.mend_topics()
        self.speakers.hush()
        self.house.heal()
        self.originals.heal()
        self.sensors.heal()

    def _heal_workers(self) -> None:
        for disk in self.disks.values():
            disk.slow_ms = 0
        for name, worker in self.workers.items():
            self.mend(self.machines[name])
            for reader in worker.readers:
                reader.stalled = False
            worker.resume()
            self.start_worker(name)

    def _heal_nodes(self) -> None:
        for ghost in self.ghosts:
            ghost.kill()
        for node in self.nodes.values():
            self.mend(node.machine)
            for process in [node.agent, *node.book.values()]:
                if process is not None:
                    process.resume()

    def _heal_provisioner(self) -> None:
        agent = self.provider.agent
        self.provider.fails = self.provider.mute = False
        self.mend(self.provider.machine)
        if agent is not None:
            agent.resume()
            if agent.state.is_stopping:
                agent.kill()
        self.provider.boot()

    def digest(self) -> str:
        """What happened, in short: equal for equal runs."""
        ends = {f"{topic}/{number}": log.end for (topic, number), log in sorted(self.broker.logs.items())}
        return json.dumps([ends, self.checks.state.offset, self.loop.passed_ms])


@contextmanager
def simulated_shell(world: World) -> Iterator[None]:
    """The real modules of the shell on simulated time and chance; judges hear of decisions."""

    def judged(state: State, witness: Witness, *, most: int | None) -> list[Decision]:
        decisions = decide(state, witness, most=most)
        if decisions:
            world.checks.decided(state, witness, decisions)
        return decisions

    SHELL_TIME.loop = world.loop
    changed = [
        (admission_module, "asyncio", ShellAsyncio),
        (planning_module, "time", SHELL_TIME),
        (planning_module, "random", SHELL_TIME),
        (planning_module, "decide", judged),
        # So few in every third that a batch is cut.
        (planning_module, "BATCH_MAX", planning_module.BATCH_MAX if world.seed % 3 else 3),
        (round_module, "decode_event", world.decoding.decode_event),
        (monotonic_module, "now_ms", SHELL_TIME.now_ms),
        # So few that they are forgotten: then a fact is written and refused once more.
        (FactOutbox, "REFUSED_MAX", 8),
        (watcher_module, "WIDE_PARTITIONS", world.wide),
        (workers_module, "WIDE_PARTITIONS", world.wide),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changed]
    for module, name, value in changed:
        setattr(module, name, value)
    # Its callers have their own name for the function, but all share its default.
    defaults = partition_of.__kwdefaults__
    assert defaults is not None
    wide, defaults["partitions"] = defaults["partitions"], world.wide
    try:
        yield
    finally:
        defaults["partitions"] = wide
        for module, name, value in before:
            setattr(module, name, value)
