"""What lives in the virtual world: copies of apps, agents and a provisioner, obeying only orders. A test helper."""

from typing import TYPE_CHECKING, NamedTuple

from sdk.contract.heartbeats import (
    AppEntry,
    AppStatus,
    Heartbeat,
    Hello,
    NodeEntry,
    NodeStatus,
    PoolReport,
    Report,
    Unchanged,
)
from sdk.contract.ids import derive_fraction, node_id
from sdk.contract.orders import AppOrder, NodeOrders, PoolOrders
from sdk.contract.topics import partition_of

if TYPE_CHECKING:
    from tests.tables.world import World

STEP_MS = 50


TICK_MS = 250


REPORT_MS = 2_500
#: A full report comes with at least each record of so many.
_SHORTS = 7


#: A node's agent says hello this long after its provisioner started it.
BOOT_MS = 200


#: A copy beats first this long after its start.
FIRST_BEAT_MS = 100


POOL = "pool-home"


TOPIC = "log-1"


#: What a copy of an app does: beats, ends with an exit code at once, never beats, or hangs.
Behaviour = str


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
        #: The report at rest that "as before" means: what it said, its number and where it stands.
        self.told: object = None
        self.full_number, self.full_at = 0, -1
        self._number = 0
        #: Load per core of its machine, and memory as (in all, in use), MiB.
        self.load = 0.0
        self.memory_mib = (0, 0)

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
        report = self._report()
        at_rest = all(it.status == "running" and it.age_ms <= limit_ms * 6 // 10 for it in report.apps)
        told = (news, self.as_of)
        if self.full_at >= 0 and at_rest and self.told == told and self._number < self.full_number + _SHORTS:
            unchanged = Unchanged(
                self.node, self.registration, self._number, now_ms, self.full_at, self.load, *self.memory_mib
            )
            self.world.send(self.node, unchanged)
            return
        self.full_at = -1
        if self.world.send(self.node, report):
            self.said = news
            if at_rest:
                self.told, self.full_number = told, self._number
                self.full_at = len(self.world.heartbeats[partition_of(self.node)]) - 1

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
        return Report(
            self.node, self.registration, self.as_of, self._number, now_ms, apps, self.load, *self.memory_mib
        )

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
