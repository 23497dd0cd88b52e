"""A small world in virtual time: one worker's core, virtual agents and provisioners, and a broker that can be away.

Rules:
1. Nothing here reads a clock or draws chance; `World.run` moves time in steps of `STEP_MS`.
2. The core is the real one: watcher, facts, outbox, planner, timers, orders. What is virtual obeys only orders
   that the world published and says only what it could know.
3. After each record the invariants are checked, and after each step that no app has two rightful copies.
"""

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from sdk.contract import events as e
from sdk.contract.codec import Asked
from sdk.contract.heartbeats import (
    Beat,
    Heartbeat,
    Tick,
)
from sdk.contract.orders import Orders
from sdk.contract.policy import Policy
from sdk.contract.requests import ConfigurePool, Request, RunApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables.admit import admit
from tables.bridge import Bridge
from tables.decide import decide
from tables.facts import FactOutbox, find_facts
from tables.invariants import check_invariants
from tables.orders import orders_for, reporters_touched
from tables.rows import AppRow, NodeRow
from tables.silence import PartitionWatch
from tables.state import State
from tables.timers import Timers
from tables.watcher import Watcher
from tests.tables.entries import Entry, fold_all, fold_entry, rows_of
from tests.tables.virtual import POOL, STEP_MS, TICK_MS, TOPIC, Agent, Behaviour, Heard, Provisioner

_BEGIN_MS = 1_700_000_000_000
#: Rounds in which the planner must settle.
_ROUNDS_MAX = 20

E_ = TypeVar("E_", bound=e.Event)


class World:
    """One worker, one pool, and time."""

    def __init__(self, *, nodes: int = 3, slots: int = 4, policy: Policy | None = None) -> None:
        self.now_ms = _BEGIN_MS
        self.log: list[Entry] = []
        self.state = State()
        self.heartbeats: dict[int, list[Heard]] = {number: [] for number in range(WIDE_PARTITIONS)}
        self.published: dict[str, Orders] = {}
        self.behaviour: dict[str, Behaviour] = {}
        self.report_jitter_ms = 0
        self.broker_away = False
        #: Whether the worker's loop runs; a paused worker catches up when it goes on.
        self.worker_paused = False
        #: Called with each fact before it is appended; False loses it.
        self.keep_fact: Callable[[e.Event], bool] = lambda _: True
        #: Facts that were written, refused ones included.
        self.facts_written: list[str] = []
        self.dropped: list[str] = []
        self.lone: dict[str, int] = {}
        #: Records that topics of original clients have had, and the topics whose client is alive.
        self.topics: dict[str, int] = {}
        self.clients: set[str] = set()
        #: Whether the topics can be read and written.
        self.topics_away = False
        self._requests = 0
        self._ticks = 0
        self._start_worker()
        self.pool = Provisioner(self)
        if policy is not None:
            self.append(e.PolicyChanged("request-policy", policy))
        self.append(e.PlannerStarted("writer-1", 1))
        self.ask(ConfigurePool("home", nodes, slots))

    # --- the worker ---------------------------------------------------------------------------------

    def _start_worker(self, *, back_ms: int = 0) -> None:
        self.watcher = Watcher(self.state)
        self.bridge = Bridge(self.watcher, "watchkeep")
        self.outbox = FactOutbox()
        self.timers = Timers(self.state)
        self.state.listeners.clear()
        self._rows = self.state.listen()
        self._orders = self.state.listen()
        for number, heard in self.heartbeats.items():
            since = heard[-1].append_ms - back_ms if heard else 0
            begin = next((each.offset for each in heard if each.append_ms >= since), len(heard))
            self.watcher.begin(PartitionWatch(number, begin=begin))
        self._read = {number: watch.begin for number, watch in self.watcher.watches.items()}

    def restart_worker(self, *, back_ms: int = 30_000) -> None:
        """Another process: the log folded anew, the heartbeats counted back."""
        self.state = fold_all(self.log)
        self._start_worker(back_ms=back_ms)
        self.append(e.PlannerStarted(f"writer-{len(self.log)}", 1))
        for reporter in [*self.state.nodes, POOL]:
            self._publish(reporter)

    def append(self, event: e.Event) -> bool:
        """Append one event and fold it; whether it counted."""
        entry = Entry(len(self.log), self.now_ms, event)
        self.log.append(entry)
        outcome = fold_entry(self.state, entry)
        assert not outcome.raised, outcome.dropped
        broken = check_invariants(self.state)
        assert broken == [], f"{broken} after {event}"
        if not outcome.accepted:
            self.dropped.append(f"{event}: {outcome.dropped}")
        for table, key in sorted(self._rows):
            self.watcher.row_changed(table, key)
        self._rows.clear()
        return outcome.accepted

    def ask(self, request: Request) -> e.Event:
        """Ask for something; the event that answers."""
        self._requests += 1
        event = admit(self.state, Asked(f"request-{self._requests}", request))
        self.append(event)
        return event

    def run_apps(self, count: int, **spec: int | str) -> list[str]:
        """Submit applications."""
        apps = [f"application-{number}" for number in range(count)]
        for app in apps:
            self.ask(RunApp(replace(AppSpec(app, ["run"]), **spec)))
        return apps

    def _turn(self, elapsed_ms: int) -> None:
        self.watcher.now_ms = self.now_ms
        for number, heard in self.heartbeats.items():
            for each in heard[self._read[number] :]:
                self.watcher.apply(number, each.offset, each.append_ms, each.record)
            self._read[number] = len(heard)
            if self._tick_read(number):
                first = number not in self.watcher.fresh_at_ms
                self.watcher.fresh_at_ms[number] = self.now_ms
                if first:
                    self.watcher.caught_up(number)
        if self.broker_away:
            return
        self.timers.advance(elapsed_ms)
        for _ in range(_ROUNDS_MAX):
            if not self._write_facts() + self._write_decisions():
                break
        else:
            raise AssertionError("the planner does not settle")
        for reporter in sorted(reporters_touched(self.state, self._orders)):
            self._publish(reporter)
        self._orders.clear()

    def _tick_read(self, number: int) -> bool:
        heard = self.heartbeats[number]
        return bool(heard) and isinstance(heard[-1].record, Tick) and heard[-1].append_ms == self.now_ms

    def _write_facts(self) -> int:
        facts = find_facts(self.watcher, topic_id=TOPIC, leads=True)
        due = self.outbox.due(facts, now_ms=self.now_ms, leads=True)
        for fact in due:
            if not self.keep_fact(fact.event):
                continue
            self.facts_written.append(fact.event_id)
            accepted = self.append(fact.event)
            self.outbox.read_back(fact.event_id, accepted=accepted)
        return len(due)

    def _write_decisions(self) -> int:
        events = [*self.timers.fire(), *decide(self.state, self.watcher)]
        for event in events:
            accepted = self.append(event)
            assert accepted, self.dropped[-1]
        return len(events)

    def _publish(self, reporter: str) -> None:
        orders = orders_for(self.state, reporter, topic_id=TOPIC)
        if orders is not None:
            self.published[reporter] = orders

    # --- time ---------------------------------------------------------------------------------------

    def send(self, reporter: str, record: Heartbeat) -> bool:
        """Append to the heartbeats; whether the broker took it."""
        if self.broker_away:
            return False
        heard = self.heartbeats[partition_of(reporter)]
        heard.append(Heard(len(heard), self.now_ms, record))
        return True

    def run(self, for_ms: int, until: Callable[[], bool] | None = None) -> "World":
        """Let time pass, at most until something holds; with `until` it must come to hold."""
        end_ms = self.now_ms + for_ms
        while self.now_ms < end_ms:
            self._step()
            if until is not None and until():
                return self
        assert until is None, "it never came to hold"
        return self

    def _step(self) -> None:
        self.now_ms += STEP_MS
        self.pool.step()
        for agent in list(self.pool.agents.values()):
            agent.step()
        if self.now_ms % 5_000 == 0:
            for source in self.lone:
                self.lone[source] += 1
                self.send(source, Beat(source, 0, self.lone[source], self.now_ms))
            for topic in self.clients if not self.topics_away else ():
                self.topics[topic] = self.topics.get(topic, 0) + 1
        if not self.worker_paused:
            if self.now_ms % TICK_MS == 0 and not self.broker_away:
                self._tick()
            self._turn(STEP_MS)
        self._check_copies()

    def _tick(self) -> None:
        self._ticks += 1
        bridged = self._bridge()
        for heard in self.heartbeats.values():
            heard.append(Heard(len(heard), self.now_ms, Tick("writer-1", self._ticks, bridged)))

    def _bridge(self) -> int:
        """A pass of the bridge: as of which offset the topics were read, 0 if they could not be."""
        wanted = self.bridge.wanted()
        if self.topics_away or not wanted.sources:
            return 0
        counts = {topic: self.topics.get(topic, 0) for topic in wanted.topics}
        for beat in self.bridge.beats_due(wanted, counts, now_ms=self.now_ms, clock_ms=self.now_ms):
            self.send(beat.source, beat)
            self.bridge.written(beat)
        return wanted.as_of

    def _check_copies(self) -> None:
        rightful: dict[str, str] = {}
        for agent in self.pool.agents.values():
            row = self.state.nodes.get(agent.node)
            if row is None or row.status != "active" or row.registration != agent.registration:
                continue
            for app, generation in agent.running():
                if self.state.apps[app].generation == generation:
                    assert app not in rightful, f"{app} runs on {rightful[app]} and {agent.node}"
                    rightful[app] = agent.node

    # --- questions ----------------------------------------------------------------------------------

    def agent(self, node: str) -> Agent:
        """The virtual node of that id."""
        return next(agent for agent in self.pool.agents.values() if agent.node == node)

    def active(self) -> list[NodeRow]:
        """Nodes whose registration is in force."""
        return [row for row in self.state.nodes.values() if row.status == "active"]

    def app(self, app: str) -> AppRow:
        """The row of an app."""
        return self.state.apps[app]

    def all_run(self) -> bool:
        """Whether every app that is wanted runs, on a living agent, in the generation in force."""
        for app, row in self.state.apps.items():
            if row.wanted and (row.phase != "running" or row.silent or not self._runs(app, row)):
                return False
        return True

    def _runs(self, app: str, row: AppRow) -> bool:
        return any(
            (app, row.generation) in agent.running() and agent.lives for agent in self.pool.agents.values()
        )

    def ready(self, nodes: int) -> bool:
        """Whether so many nodes are active, none of them silent."""
        return len([row for row in self.active() if not row.silent]) == nodes

    def of_type(self, kind: type[E_]) -> list[E_]:
        """The events of one type on the log, in order."""
        return [entry.event for entry in self.log if isinstance(entry.event, kind)]

    def times_of(self, kind: type[e.Event]) -> list[int]:
        """When the events of one type were appended, ms since the world began."""
        return [entry.append_ms - _BEGIN_MS for entry in self.log if isinstance(entry.event, kind)]

    def since_begin_ms(self) -> int:
        """Virtual time since the world began."""
        return self.now_ms - _BEGIN_MS

    def check_replay(self) -> None:
        """The log folded anew gives the same rows."""
        assert rows_of(fold_all(self.log)) == rows_of(self.state)


def begin(apps: int = 0, *, nodes: int = 3, slots: int = 4, policy: Policy | None = None) -> World:
    """A world in which all nodes have registered and all apps run."""
    world = World(nodes=nodes, slots=slots, policy=policy)
    world.run(5_000, lambda: world.ready(nodes))
    if apps:
        world.run_apps(apps)
        world.run(5_000, world.all_run)
    return world
