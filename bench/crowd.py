"""A provisioner and its nodes that exist only on Kafka: `python -m bench.crowd BOOTSTRAP PREFIX POOL SLOTS`.

They say hello, obey orders and report as real agents do, and run nothing. One producer and one consumer serve them
all. A line on standard input `kill N` ends the N nodes that came first, all at once, as when a rack loses power: the
provisioner reports their end and they never speak again. From then on no machine comes up any more.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
import uuid
from typing import Any, Final

from aiokafka import TopicPartition

from agents.state import HELLO_PAUSE_MS, REPORT_EVERY_MS
from sdk.contract.codec import DecodeError, decode_orders, encode_heartbeat
from sdk.contract.heartbeats import AppEntry, Hello, NodeEntry, PoolReport, Report
from sdk.contract.ids import node_id
from sdk.contract.orders import NodeOrders, PoolOrders
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of
from streams.clients import create_reader, create_writer, quieten_kafka_logs

IP: Final = "127.0.0.1"
#: An agent that has no registration asks again so often.
_HELLO_EVERY_S: Final = HELLO_PAUSE_MS / 1000
_REPORT_EVERY_S: Final = REPORT_EVERY_MS / 1000
_TURN_S: Final = 0.01


class Reporter:
    """One agent: what it obeys and what it says."""

    def __init__(self, name: str, order: int, port: int, slots: int) -> None:
        self.name = name
        self.order = order
        self.port = port
        self.slots = slots
        self.claim = uuid.uuid4().hex
        self.registration = 0
        self.as_of = 0
        self.number = 0
        self.dead = False
        #: App -> generation.
        self.apps: dict[str, int] = {}

    def hear(self, orders: NodeOrders | PoolOrders) -> bool:
        """Obey orders that are ours; whether there was something to do."""
        if self.dead or orders.claim != self.claim or orders.as_of < self.as_of:
            return False
        self.registration, self.as_of = orders.registration, orders.as_of
        if isinstance(orders, NodeOrders):
            self.apps = {it.app: it.generation for it in orders.apps if not it.kill}
        return True


class Crowd:
    """All of them."""

    def __init__(self, topics: Topics, pool: str, slots: int, writer: Any) -> None:
        self._topics = topics
        self._writer = writer
        self._slots = slots
        self._boot = uuid.uuid4().hex
        self._pool = Reporter(pool, 0, 0, 0)
        self._by_name = {pool: self._pool}
        self._by_order: dict[int, Reporter] = {}
        self._closed = False
        self._due: list[tuple[float, str]] = []

    async def run(self) -> None:
        """Speak when it is time."""
        self._speak_at(self._pool, time.monotonic())
        while True:
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                _, name = heapq.heappop(self._due)
                reporter = self._by_name[name]
                if not reporter.dead:
                    await self._say(reporter)
                    pause_s = _REPORT_EVERY_S if reporter.registration else _HELLO_EVERY_S
                    self._speak_at(reporter, now_s + pause_s)
            await asyncio.sleep(_TURN_S)

    async def hear(self, name: str, value: bytes | None) -> None:
        """A record of the orders."""
        reporter = self._by_name.get(name)
        try:
            orders = decode_orders(name, value)
        except DecodeError:
            return
        if reporter is None or not reporter.hear(orders):
            return
        if isinstance(orders, PoolOrders):
            self._create(orders)
        await self._say(reporter)

    async def kill(self, count: int) -> None:
        """End the nodes that came first."""
        self._closed = True
        for order in sorted(self._by_order)[:count]:
            self._by_order[order].dead = True
        await self._say(self._pool)
        await self._writer.flush()

    def _create(self, orders: PoolOrders) -> None:
        for wish in orders.nodes:
            if wish.order in self._by_order or self._closed:
                continue
            port = max([wish.port_floor - 1, *(it.port for it in self._by_order.values())]) + 1
            node = Reporter(node_id(IP, port), wish.order, port, wish.slots)
            self._by_order[wish.order] = self._by_name[node.name] = node
            # Machines do not come up in step.
            self._speak_at(node, time.monotonic() + len(self._by_order) * 0.002)

    def _speak_at(self, reporter: Reporter, at_s: float) -> None:
        heapq.heappush(self._due, (at_s, reporter.name))

    async def _say(self, reporter: Reporter) -> None:
        reporter.number += 1
        at_ms = time.time_ns() // 1_000_000
        said: Hello | Report | PoolReport
        head = (reporter.name, reporter.registration, reporter.as_of, reporter.number, at_ms)
        if not reporter.registration:
            said = Hello(
                reporter.name,
                reporter.claim,
                reporter.order,
                0,
                reporter.number,
                at_ms,
                IP,
                reporter.port,
                self._pool.name,
                reporter.slots,
                ["process"],
                self._boot,
            )
        elif reporter is self._pool:
            said = PoolReport(
                *head,
                [
                    NodeEntry(it.order, it.name, "exited", 0, -9)
                    if it.dead
                    else NodeEntry(it.order, it.name, "running", 1)
                    for it in self._by_order.values()
                ],
            )
        else:
            said = Report(
                *head, [AppEntry(app, made, "running", 0, 1) for app, made in reporter.apps.items()]
            )
        await self._writer.send(
            self._topics.heartbeats,
            encode_heartbeat(said),
            key=reporter.name.encode(),
            partition=partition_of(reporter.name),
        )


async def _obey(crowd: Crowd, reader: Any) -> None:
    while True:
        for records in (await reader.getmany(timeout_ms=500)).values():
            # Of what is written over at once only the newest counts.
            newest = {record.key: record for record in records}
            for record in newest.values():
                await crowd.hear((record.key or b"").decode(errors="replace"), record.value)


async def _listen(crowd: Crowd) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        word, _, number = line.decode().partition(" ")
        if word == "kill":
            await crowd.kill(int(number))


async def run(bootstrap: str, prefix: str, pool: str, slots: int) -> None:
    """Speak and obey until standard input ends."""
    quieten_kafka_logs()
    topics = Topics(prefix)
    writer, reader = create_writer(bootstrap), create_reader(bootstrap)
    await writer.start()
    await reader.start()
    places = [TopicPartition(topics.commands, number) for number in range(WIDE_PARTITIONS)]
    reader.assign(places)
    for place in places:
        reader.seek(place, 0)
    crowd = Crowd(topics, pool, slots, writer)
    parts = [asyncio.ensure_future(it) for it in (crowd.run(), _obey(crowd, reader), _listen(crowd))]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await reader.stop()
        await writer.stop()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
