"""A small world in virtual time: one worker's core, virtual agents and provisioners, and a broker that can be away.

Rules:
1. Nothing here reads a clock or draws chance; `World.run` moves time in steps of `STEP_MS`.
2. The core is the real one: watcher, facts, outbox, planner, timers, orders. What is virtual obeys only orders
   that the world published and says only what it could know.
3. After each record the invariants are checked, and after each step that no app has two rightful copies.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from sdk.contract import events as e
from sdk.contract.codec import Asked
from sdk.contract.heartbeats import (
    AppEntry,
    AppStatus,
    Beat,
    Heartbeat,
    Hello,
    NodeEntry,
    NodeStatus,
    PoolReport,
    Report,
    Tick,
)
from sdk.contract.ids import derive_fraction, node_id
from sdk.contract.orders import AppOrder, NodeOrders, Orders, PoolOrders
from sdk.contract.policy import Policy
from sdk.contract.requests import ConfigurePool, Request, RunApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables.admit import admit
from tables.decide import decide
from tables.facts import FactOutbox, find_facts
from tables.invariants import check_invariants
from tables.orders import orders_for, reporters_touched
from tables.rows import AppRow, NodeRow
from tables.silence import PartitionWatch
from tables.state import State
from tables.timers import Timers
from tables.watcher import Watcher
from tests.tables.chaos import Entry, fold_all, fold_entry, rows_of

STEP_MS = 50
TICK_MS = 250
REPORT_MS = 2_500
#: A node's agent says hello this long after its provisioner started it.
BOOT_MS = 200
#: A copy beats first this long after its start.
FIRST_BEAT_MS = 100
POOL = "pool-home"
TOPIC = "log-1"
_BEGIN_MS = 1_700_000_000_000
#: Rounds in which the planner must settle.
_ROUNDS_MAX = 20

#: What a copy of an app does: beats, ends with an exit code at once, never beats, or hangs.
Behaviour = str
E_ = TypeVar("E_", bound=e.Event)


class Heard(NamedTuple):
    """One record of a heartbeat partition."""

    offset: int
    append_ms: int
    record: Heartbeat


class Copy:
    """One generation of an app on a virtual node."""

    def __init__(self, order: AppOrder, now_ms: int) -> None:
        self.order = order
        self.started_ms = now_ms
        self.beat_ms = now_ms
        self.status: AppStatus = "starting"
        self.exit_code: int | None = None

    def age(self, behaviour: Behaviour, now_ms: int) -> None:
        """Live on until now."""
        if self.status not in ("starting", "running"):
            return
        if behaviour == "exits":
            self.end(1)
        elif behaviour == "beats" and now_ms - self.started_ms >= FIRST_BEAT_MS:
            self.status, self.beat_ms = "running", now_ms

    def end(self, exit_code: int) -> None:
        """The process has ended."""
        self.status, self.exit_code = "exited", exit_code


class Agent:
    """A virtual node: it obeys published orders and reports."""

    def __init__(self, world: "World", *, order: int, port: int, slots: int, lives_from_ms: int) -> None:
        self.world = world
        self.node = str(node_id("10.0.0.1", port))
        self.port, self.order, self.slots = port, order, slots
        self.lives_from_ms = lives_from_ms
        self.status: NodeStatus = "running"
        self.paused = False
        self.claims = 1
        self.registration = 0
        self.old_registration = 0
        self.as_of = -1
        self.copies: dict[tuple[str, int], Copy] = {}
        #: Copies that it lost and does not start again.
        self.copies_forgotten: set[tuple[str, int]] = set()
        self.due_ms = lives_from_ms
        self.said: object = None
        self._number = 0

    @property
    def claim(self) -> str:
        """The claim drawn last."""
        return f"{self.node}/{self.claims}"

    @property
    def lives(self) -> bool:
        """Whether the process exists and is not stopped."""
        return self.status == "running" and not self.paused and self.world.now_ms >= self.lives_from_ms

    def step(self) -> None:
        """Obey, live, and say what is due."""
        if not self.lives:
            return
        orders = self.world.published.get(self.node)
        if isinstance(orders, NodeOrders):
            self._obey(orders)
        for copy in self.copies.values():
            copy.age(self.world.behaviour.get(copy.order.app, "beats"), self.world.now_ms)
        self._speak()

    def _obey(self, orders: NodeOrders) -> None:
        if orders.registration > self.registration and orders.claim != self.claim and self.registration:
            self._start_over()
        if orders.claim != self.claim or orders.as_of < self.as_of:
            return
        if orders.ended:
            self._start_over()
            return
        self.registration, self.as_of = orders.registration, orders.as_of
        wanted = {(order.app, order.generation): order for order in orders.apps}
        for key, order in wanted.items():
            self._run(key, order)
        for key, copy in self.copies.items():
            if key not in wanted and key[1] <= orders.as_of and copy.status != "exited":
                copy.end(0)
        # An ended copy is reported until the log has a later generation.
        apps = self.world.state.apps
        self.copies = {key: copy for key, copy in self.copies.items() if apps[key[0]].generation <= key[1]}

    def _run(self, key: tuple[str, int], order: AppOrder) -> None:
        copy = self.copies.get(key)
        if copy is None:
            if key not in self.copies_forgotten and not order.kill:
                self.copies[key] = Copy(order, self.world.now_ms)
        elif order.kill and copy.status != "exited":
            copy.end(-9)

    def _start_over(self) -> None:
        self.copies.clear()
        self.old_registration, self.registration = self.registration or self.old_registration, 0
        self.claims += 1
        self.due_ms = self.world.now_ms

    def _speak(self) -> None:
        now_ms, limit_ms = self.world.now_ms, self.world.state.policy.silence_limit_ms
        late = [key for key, copy in self.copies.items() if now_ms - copy.beat_ms >= limit_ms]
        news = (
            self.registration,
            [(key, copy.status) for key, copy in self.copies.items()],
            late,
        )
        if now_ms < self.due_ms and news == self.said:
            return
        self._number += 1
        if not self.registration:
            self.due_ms = now_ms + 1_000
            self.world.send(self.node, self._hello())
            return
        jitter = derive_fraction(self.node, self._number) * self.world.report_jitter_ms
        self.due_ms = now_ms + REPORT_MS + round(jitter)
        if self.world.send(self.node, self._report()):
            self.said = news

    def _hello(self) -> Hello:
        world = self.world
        return Hello(
            self.node,
            self.claim,
            self.order,
            self.old_registration,
            self._number,
            world.now_ms,
            "10.0.0.1",
            self.port,
            POOL,
            self.slots,
            ["process"],
            "boot",
        )

    def _report(self) -> Report:
        now_ms = self.world.now_ms
        apps = [
            AppEntry(app, generation, copy.status, now_ms - copy.beat_ms, 1, copy.exit_code)
            for (app, generation), copy in self.copies.items()
        ]
        return Report(self.node, self.registration, self.as_of, self._number, now_ms, apps)

    def running(self) -> list[tuple[str, int]]:
        """Copies that run now, also those of a stopped process group."""
        if self.status != "running":
            return []
        return [key for key, copy in self.copies.items() if copy.status in ("starting", "running")]


class Provisioner:
    """A virtual pool: it creates and destroys virtual nodes as ordered."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.agents: dict[int, Agent] = {}
        self.registration = 0
        self.as_of = -1
        self.claims = 1
        self.due_ms = world.now_ms
        self.next_port = 8_101
        #: Makes no node at all, or makes nodes that never say hello.
        self.fails = False
        self.mute = False
        #: Whether it sees its nodes' processes end.
        self.sees_exits = True
        #: Whether destroying works.
        self.can_destroy = True
        self.said: object = None
        self._number = 0

    def step(self) -> None:
        """Obey, and report what is due."""
        orders = self.world.published.get(POOL)
        if isinstance(orders, PoolOrders) and orders.claim == f"{POOL}/{self.claims}":
            self._obey(orders)
        self._speak()

    def _obey(self, orders: PoolOrders) -> None:
        if orders.as_of < self.as_of:
            return
        self.registration, self.as_of = orders.registration, orders.as_of
        wanted = {order.order: order for order in orders.nodes}
        for number, order in wanted.items():
            if number not in self.agents:
                port = max(self.next_port, order.port_floor)
                self.next_port = port + 1
                never = 1 << 60
                boots_ms = never if self.mute else self.world.now_ms + BOOT_MS
                agent = Agent(self.world, order=number, port=port, slots=order.slots, lives_from_ms=boots_ms)
                agent.status = "exited" if self.fails else "running"
                self.agents[number] = agent
        for number, agent in self.agents.items():
            if number not in wanted and number <= orders.as_of and self.can_destroy:
                agent.status = "exited"

    def _speak(self) -> None:
        now_ms = self.world.now_ms
        entries = [
            NodeEntry(number, agent.node, agent.status if self.sees_exits else "running", 1)
            for number, agent in self.agents.items()
        ]
        news = (self.registration, entries)
        if now_ms < self.due_ms and news == self.said:
            return
        self._number += 1
        self.due_ms = now_ms + (REPORT_MS if self.registration else 1_000)
        record: Heartbeat
        if self.registration:
            record = PoolReport(POOL, self.registration, self.as_of, self._number, now_ms, entries)
        else:
            record = Hello(
                POOL, f"{POOL}/{self.claims}", 0, 0, self._number, now_ms, "", 0, POOL, 0, [], "boot"
            )
        if self.world.send(POOL, record):
            self.said = news


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
        if not self.worker_paused:
            if self.now_ms % TICK_MS == 0 and not self.broker_away:
                self._tick()
            self._turn(STEP_MS)
        self._check_copies()

    def _tick(self) -> None:
        self._ticks += 1
        for heard in self.heartbeats.values():
            heard.append(Heard(len(heard), self.now_ms, Tick("writer-1", self._ticks)))

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
