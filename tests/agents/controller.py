"""Stands in for the planner: reads hellos and reports from a real broker and writes orders by hand."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from agents import procfs
from agents.spawner import ROOT
from sdk.contract.codec import decode_heartbeat, encode_orders
from sdk.contract.heartbeats import Heartbeat, Hello, PoolReport, Report, Unchanged
from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders, Orders, PoolOrders
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of
from tests.agents.test_provider_contract import free_port
from tests.agents.waiting import until

POOL = "pool-home"
LOG = "log-1"
APP = ["python3", "tests/agents/apps/beats_then_hangs.py"]
WITHIN_S = 60.0
T = TypeVar("T")


class Controller:
    """One pool under test, with everything it ever said."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.topics = Topics(prefix)
        self.folder = folder
        self.heard: list[Heartbeat] = []
        self.offset = 1_000
        self.wishes: list[NodeOrder] = []
        self.pool_claim = ""
        self.pool_registration = 0
        self.port_floor = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Begin to read, from the first record, and to write; waits for a broker that is coming up."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                self._producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
                self._consumer = AIOKafkaConsumer(
                    bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", group_id=None
                )
                try:
                    await self._producer.start()
                    await self._consumer.start()
                    break
                except KafkaError:
                    await self._close_clients()
        places = [TopicPartition(self.topics.heartbeats, number) for number in range(WIDE_PARTITIONS)]
        self._consumer.assign(places)
        for place in places:
            self._consumer.seek(place, 0)
        self.heard = []
        self._reading = asyncio.ensure_future(self._read(self._consumer))

    async def disconnect(self) -> None:
        """Let go of the broker."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._close_clients()

    def start_pool(self) -> None:
        """Start the provisioner."""
        config = self.folder / "pool.json"
        config.write_text(
            json.dumps(
                {
                    "bootstrap": self.bootstrap,
                    "prefix": self.topics.prefix,
                    "data_dir": str(self.folder / "data"),
                    "pool": "home",
                }
            )
        )
        with (self.folder / "pool.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agents.provisioner", "--config", str(config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    async def stop_pool(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the provisioner and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), WITHIN_S)

    def next_offset(self) -> int:
        """An offset of the made-up log."""
        self.offset += 1
        return self.offset

    async def first(self, kind: type[T], is_it: Callable[[T], bool], *, since: int = 0) -> T:
        """The first record of the kind for which `is_it` holds, of those heard after `since` others."""
        found: list[T] = []

        def look() -> bool:
            found.extend(it for it in self.heard[since:] if isinstance(it, kind) and is_it(it))
            return bool(found)

        await until(look, within_s=WITHIN_S)
        return found[0]

    async def put(self, orders: Orders) -> None:
        """Write orders."""
        assert self._producer is not None
        await self._producer.send_and_wait(
            self.topics.commands,
            encode_orders(orders),
            key=orders.reporter.encode(),
            partition=partition_of(orders.reporter),
        )

    async def register_pool(self, *, since: int = 0) -> None:
        """Answer the pool's hello."""
        hello = await self.first(
            Hello, lambda it: it.reporter == POOL and it.claim != self.pool_claim, since=since
        )
        self.pool_claim, self.pool_registration = hello.claim, self.next_offset()
        await self.order_nodes()

    async def order_nodes(self) -> None:
        """Write the pool's orders as they are now."""
        await self.put(
            PoolOrders(
                POOL, self.pool_claim, self.pool_registration, LOG, self.next_offset(), list(self.wishes)
            )
        )

    async def create_node(self) -> Hello:
        """Order one more node; its hello."""
        order = self.next_offset()
        self.wishes.append(NodeOrder(order, 4, self.port_floor))
        await self.order_nodes()
        return await self.first(Hello, lambda it: it.order == order)

    async def order_apps(
        self, hello: Hello, apps: list[AppOrder], *, registration: int = 0, **more: Any
    ) -> NodeOrders:
        """Write a node's orders; what was written."""
        orders = NodeOrders(
            hello.reporter,
            hello.claim,
            registration or self.next_offset(),
            LOG,
            self.next_offset(),
            apps,
            **more,
        )
        await self.put(orders)
        return orders

    async def run_apps(self, hello: Hello, count: int = 2) -> tuple[NodeOrders, Report]:
        """Order apps, and the report in which all of them run."""
        apps = [AppOrder(f"application-{n}", self.next_offset(), APP) for n in range(count)]
        orders = await self.order_apps(hello, apps)
        return orders, await self.running(orders)

    async def running(self, orders: NodeOrders, *, since: int = 0) -> Report:
        """The first report in which all ordered apps run."""
        wanted = {(it.app, it.generation) for it in orders.apps}
        return await self.first(
            Report,
            lambda it: (
                it.registration == orders.registration
                and {(e.app, e.generation) for e in it.apps if e.status == "running"} == wanted
            ),
            since=since,
        )

    async def exited_node(self, order: int, *, since: int = 0) -> PoolReport:
        """The first report of the pool that calls the node of an order exited."""
        return await self.first(
            PoolReport,
            lambda it: any(e.order == order and e.status == "exited" for e in it.nodes),
            since=since,
        )

    async def pid_of(self, order: int) -> int:
        """Pid of the agent that serves an order; its provisioner may tell it after the agent's own first words."""
        await until(lambda: self._reported_pid(order) > 0)
        return self._reported_pid(order)

    def _reported_pid(self, order: int) -> int:
        for it in reversed(self.heard):
            for entry in it.nodes if isinstance(it, PoolReport) else ():
                if entry.order == order and entry.pid:
                    return entry.pid
        return 0

    def last_number(self, reporter: str) -> int:
        """Number of the reporter's newest record."""
        return max(
            it.number
            for it in self.heard
            if isinstance(it, Hello | Report | PoolReport | Unchanged) and it.reporter == reporter
        )

    def has_heard(self, reporter: str, number: int) -> bool:
        """Whether a report of this or a later number has come."""
        return any(
            isinstance(it, Report | PoolReport | Unchanged)
            and it.reporter == reporter
            and it.number >= number
            for it in self.heard
        )

    def processes(self) -> list[int]:
        """Everything alive that belongs to this pool's nodes."""
        mark = str(self.folder).encode()
        return procfs.select(lambda it: _mentions(it.pid, mark))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self.heard.append(decode_heartbeat(record.value))

    async def _close_clients(self) -> None:
        for client in (self._producer, self._consumer):
            if client is not None:
                # aiokafka lets the cancellation of its own tasks out when the broker is away.
                with contextlib.suppress(KafkaError, asyncio.CancelledError):
                    await client.stop()


def _mentions(pid: int, mark: bytes) -> bool:
    """Whether a process has files of the test open as its output, as agents and apps have."""
    try:
        return mark in bytes(Path(f"/proc/{pid}/fd/1").readlink())
    except OSError:
        return False


@contextlib.asynccontextmanager
async def running_pool(bootstrap: str, prefix: str, folder: Path) -> AsyncIterator[Controller]:
    """A registered provisioner and its controller; at the end nothing of it is left."""
    controller = Controller(bootstrap, prefix, folder)
    await controller.connect()
    try:
        controller.start_pool()
        await controller.register_pool()
        yield controller
        assert await controller.stop_pool() == 0
        assert controller.processes() == []
    finally:
        if controller.process is not None and controller.process.poll() is None:
            controller.process.kill()
            controller.process.wait()
        for pid in controller.processes():
            procfs.send_signal(pid, signal.SIGKILL)
        await controller.disconnect()
