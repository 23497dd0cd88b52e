"""Simulated agents and lone sources on a real producer: `python -m bench.fleets.loader` with its order on stdin.

One process beats for all of them on the schedule of real ones: each has a time of its own, jittered anew each time.
What it writes are the bytes that `encode_heartbeat` gives, made from a template per node and compared with it first.
It dates the outages by the broker's append times and prints what was true and what it offered.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import defaultdict, deque
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from agents.reports import full_within_ms
from agents.state import FRESH_PERCENT, REPORT_EVERY_MS, REPORT_JITTER, UNHEARD_MS
from bench.fleets.crowd import Size, app_name, generation_of, lone_name, node_name, registration_of
from bench.fleets.judge import Truth
from bench.fleets.script import Outage
from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import AppEntry, Beat, Report, Unchanged
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS, Topics, partition_of

#: A lone source beats this often, ms. Source: DESIGN 13.
LONE_EVERY_MS: Final = 5_000
#: Due records are written this often, ms.
SLOT_MS: Final = 20
#: A record acknowledged this long after it was due is late, ms.
LATE_MS: Final = 500
#: Largest batch: below the broker's largest message of 1 MiB.
_BATCH_BYTES: Final = 900_000
#: The id of a lone source, from its number, and its beat, from its number, that of the beat and the time.
LONE_NAME: Final = b"service-%d"
LONE_BEAT: Final = b'["b","service-%d",0,%d,%d,0]'
#: The ages that the apps of a node have are those of one of so many moments of a beat interval.
_MOMENTS: Final = 50


class Order(msgspec.Struct, frozen=True):
    """What a loader shall do."""

    bootstrap: str
    prefix: str
    size: Size
    duration_ms: int
    outages: list[Outage]
    seed: int
    #: How much faster than real it beats: 2 to prove that it can.
    speed: float = 1.0
    #: Say `beats` on stderr when it begins, and end early at SIGTERM.
    is_told: bool = False


class Offered(msgspec.Struct, frozen=True):
    """What a loader did."""

    truths: list[Truth]
    records: int
    late: int
    #: Due to acknowledged, ms: the longest.
    late_ms_max: int
    value_bytes: int
    cpu_s: float
    began_ms: int
    end_ms: int


#: A full report in a batch: the number of its node, its own, and its place.
Full = tuple[int, int, int]


class Lane:
    """One partition: records wait here while a batch is under way, and go as the next."""

    def __init__(self, loader: Loader, partition: int) -> None:
        self._loader = loader
        self._partition = partition
        self._full: deque[tuple[Any, int, list[int], list[Full]]] = deque()
        self._filled = asyncio.Event()
        self._open()

    def _open(self) -> None:
        self.batch = self._loader.producer.create_batch()
        self.due_ms = 0
        #: Subjects of the script that have a record in it.
        self._subjects: list[int] = []
        #: Full reports in it.
        self._fulls: list[Full] = []

    def put(
        self, key: bytes, value: bytes, due_ms: int, subject: int = -1, full: tuple[int, int] | None = None
    ) -> None:
        """Take a record; `full` is the node whose full report it is, and its number."""
        if self.batch.append(key=key, value=value, timestamp=None) is None:
            self._full.append((self.batch, self.due_ms, self._subjects, self._fulls))
            self._open()
            self.batch.append(key=key, value=value, timestamp=None)
        if not self.due_ms:
            self.due_ms = due_ms
            self._filled.set()
        if subject >= 0:
            self._subjects.append(subject)
        if full is not None:
            self._fulls.append((*full, self.batch.record_count() - 1))

    async def run(self) -> None:
        """Send batch after batch."""
        while True:
            await self._filled.wait()
            if self._full:
                batch, due_ms, subjects, fulls = self._full.popleft()
            else:
                self._filled.clear()
                if not self.due_ms:
                    continue
                batch, due_ms, subjects, fulls = self.batch, self.due_ms, self._subjects, self._fulls
                self._open()
            count = batch.record_count()
            sent = await self._loader.producer.send_batch(
                batch, self._loader.topic, partition=self._partition
            )
            stands = await sent
            self._loader.acknowledged(stands, count, due_ms, subjects)
            self._loader.stand(stands.offset, fulls)

    @property
    def is_empty(self) -> bool:
        """Whether all was sent."""
        return not self._full and not self.due_ms


class Loader:
    """All sources of a fleet."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._size = order.size
        self.topic = Topics(order.prefix).heartbeats
        self._chance = random.Random(order.seed)  # jitter that can be repeated
        self._ring: defaultdict[int, list[int]] = defaultdict(list)
        self._numbers = 0
        self._records = self._bytes = self._late = self._late_ms = 0
        #: Nodes and lone sources that the script hits: source number -> its outage's place in the script.
        self._hit = {_number_of(self._size, it): place for place, it in enumerate(order.outages)}
        self._last_ms = [0] * len(order.outages)
        self._back_ms = [0] * len(order.outages)
        self._ages = [
            tuple((100 * moment + 50 * app) % LONE_EVERY_MS for app in range(self._size.apps_per_node))
            for moment in range(_MOMENTS)
        ]
        self.producer: Any = None
        self._is_over = False

    def _prepare(self) -> None:
        size = self._size
        self._keys = [node_name(node).encode() for node in range(size.nodes)]
        self._keys += [lone_name(number).encode() for number in range(size.lone)]
        self._places = bytearray(partition_of(key.decode()) for key in self._keys)
        self._unchanged = [_unchanged(node) for node in range(size.nodes)]
        self._templates = [_template(size, node) for node in range(size.nodes)]
        #: Of each node: where its last full report stands (-1: not known, or it must not be named), and until when
        #: it may be named, ms of the schedule.
        self._full_at = [-1] * size.nodes
        self._full_number = [-1] * size.nodes
        self._full_until_ms = [0.0] * size.nodes
        #: Nodes that were away, until when they say all in full.
        self._back_until_ms: dict[int, int] = {}
        _check_bytes(size, self._templates)
        for source in range(size.nodes + size.lone):
            period_ms = REPORT_EVERY_MS if source < size.nodes else LONE_EVERY_MS
            self._due(source, self._chance.random() * period_ms)
        for place, outage in enumerate(self._order.outages):
            if outage.kind == "app":
                # Its agent reports at once when its age reaches the limit.
                self._due(outage.number, outage.from_ms + Policy().silence_limit_ms, again=False)
                self._last_ms[place] = outage.from_ms

    def _due(self, source: int, at_ms: float, *, again: bool = True) -> None:
        slot = int(at_ms / SLOT_MS) + (0 if again else 1)
        self._ring[slot].append(source if again else -1 - source)

    async def run(self) -> Offered:
        """Beat for the time that was ordered."""
        self._prepare()
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self._order.bootstrap,
            acks=1,
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=8 * _BATCH_BYTES,
        )
        await self.producer.start()
        self._lanes = [Lane(self, partition) for partition in range(WIDE_PARTITIONS)]
        tasks = [asyncio.create_task(lane.run()) for lane in self._lanes]
        self._began_ms = time.time_ns() // 1_000_000
        cpu_s = time.process_time()
        if self._order.is_told:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
            sys.stderr.write("beats\n")
            sys.stderr.flush()
        try:
            await self._beat(tasks)
            end_ms = time.time_ns() // 1_000_000
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.producer.stop()
        return Offered(
            truths=self._truths(),
            records=self._records,
            late=self._late,
            late_ms_max=self._late_ms,
            value_bytes=self._bytes,
            cpu_s=time.process_time() - cpu_s,
            began_ms=self._began_ms,
            end_ms=end_ms,
        )

    def _end(self) -> None:
        self._is_over = True

    async def _beat(self, tasks: list[asyncio.Task[None]]) -> None:
        """Write what is due, slot by slot; real time over `speed` is the schedule's."""
        speed, began_s = self._order.speed, time.monotonic()
        for slot in range(self._order.duration_ms // SLOT_MS):
            if self._is_over:
                break
            wait_s = slot * SLOT_MS / 1000 / speed - (time.monotonic() - began_s)
            await asyncio.sleep(max(0.0, wait_s))
            due_ms = self._began_ms + round(slot * SLOT_MS / speed)
            self._say_all(self._ring.pop(slot, []), slot * SLOT_MS, due_ms)
        while not all(lane.is_empty for lane in self._lanes):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    def _say_all(self, sources: list[int], at_ms: int, due_ms: int) -> None:
        """What is due in a slot; a lone source that nothing ever happens to with as little work as it takes."""
        nodes, hit, ring, chance = self._size.nodes, self._hit, self._ring, self._chance.random
        places, lanes, number, size = self._places, self._lanes, self._numbers, 0
        earliest_ms, range_ms = at_ms + LONE_EVERY_MS * (1 - REPORT_JITTER), LONE_EVERY_MS * 2 * REPORT_JITTER
        for source in sources:
            if source < nodes or source in hit:
                self._numbers = number
                self._say(max(source, -1 - source), at_ms, due_ms, again=source >= 0)
                number = self._numbers
                continue
            ring[int((earliest_ms + range_ms * chance()) / SLOT_MS)].append(source)
            number += 1
            # Made from numbers: bytes of each of a million would have to come from memory, which takes longer.
            key = LONE_NAME % (source - nodes)
            value = LONE_BEAT % (source - nodes, number, due_ms)
            size += len(value)
            lane = lanes[places[source]]
            if not lane.due_ms or lane.batch.append(key=key, value=value, timestamp=due_ms) is None:
                lane.put(key, value, due_ms)
        self._numbers = number
        self._bytes += size

    def _say(self, source: int, at_ms: int, due_ms: int, *, again: bool = True) -> None:
        is_node = source < self._size.nodes
        if again:
            period_ms = REPORT_EVERY_MS if is_node else LONE_EVERY_MS
            jitter = 1 + REPORT_JITTER * (2 * self._chance.random() - 1)
            self._due(source, at_ms + period_ms * jitter)
        hit = self._hit.get(source, -1)
        outage = self._order.outages[hit] if hit >= 0 else None
        is_out = outage is not None and _is_out(outage, at_ms)
        if is_out and outage is not None and outage.kind != "app":
            self._back_until_ms[source] = outage.until_ms + UNHEARD_MS
            return
        self._numbers += 1
        key = self._keys[source]
        full = None
        at_rest = is_node and self._is_at_rest(source, at_ms, outage)
        if at_rest and self._full_at[source] >= 0 and at_ms <= self._full_until_ms[source]:
            value = self._unchanged[source] % (self._numbers, due_ms, self._full_at[source])
        elif is_node:
            full = (source, self._numbers)
            self._full_at[source] = -1
            self._full_number[source] = self._numbers if at_rest else -1
            next_ms = REPORT_EVERY_MS * (1 + REPORT_JITTER)
            self._full_until_ms[source] = at_ms + full_within_ms(self._chance.random()) - next_ms
            ages = self._ages[(at_ms // 100 + source) % _MOMENTS]
            if is_out and outage is not None:
                at = outage.app
                ages = (*ages[:at], at_ms - outage.from_ms, *ages[at + 1 :])
            value = self._templates[source] % (self._numbers, due_ms, *ages)
        else:
            value = LONE_BEAT % (source - self._size.nodes, self._numbers, due_ms)
        self._bytes += len(value)
        # Of an app in trouble the first report after it tells of its beat.
        subject = -1 if outage is None else hit if outage.kind != "app" or _is_over(outage, at_ms) else -1
        self._lanes[self._places[source]].put(key, value, due_ms, subject, full)

    def _is_at_rest(self, node: int, at_ms: int, outage: Outage | None) -> bool:
        """Whether the agent of a node may say "as before" of what it says now, as `agents.reports` has it."""
        if outage is None:
            return True
        if outage.kind != "app":
            return at_ms >= self._back_until_ms.get(node, 0)
        fresh_ms = Policy().silence_limit_ms * FRESH_PERCENT // 100
        return not _is_out(outage, at_ms) or at_ms - outage.from_ms <= fresh_ms

    def stand(self, base: int, fulls: list[Full]) -> None:
        """A batch stands from this offset on: its full reports may be named."""
        for node, number, place in fulls:
            if self._full_number[node] == number:
                self._full_at[node] = base + place

    def acknowledged(self, sent: Any, count: int, due_ms: int, subjects: list[int]) -> None:
        """A batch stands; `due_ms` is when its oldest record was due."""
        late_ms = time.time_ns() // 1_000_000 - due_ms
        self._records += count
        self._late_ms = max(self._late_ms, late_ms)
        if late_ms > LATE_MS:
            self._late += count
        for place in subjects:
            outage = self._order.outages[place]
            if due_ms - self._began_ms < outage.from_ms:
                self._last_ms[place] = sent.timestamp
            elif not self._back_ms[place]:
                self._back_ms[place] = sent.timestamp

    def _truths(self) -> list[Truth]:
        truths = []
        for outage, last_ms, back_ms in zip(self._order.outages, self._last_ms, self._back_ms, strict=True):
            is_app = outage.kind == "app"
            if not last_ms:
                continue  # It never spoke before.
            truths.append(Truth(_name_of(outage), last_ms + (self._began_ms if is_app else 0), back_ms))
        return truths


def _number_of(size: Size, outage: Outage) -> int:
    return outage.number + (size.nodes if outage.kind == "lone" else 0)


def _name_of(outage: Outage) -> str:
    if outage.kind == "app":
        return app_name(outage.number, outage.app)
    return node_name(outage.number) if outage.kind == "node" else lone_name(outage.number)


def _is_out(outage: Outage, at_ms: int) -> bool:
    return outage.from_ms <= at_ms and not _is_over(outage, at_ms)


def _is_over(outage: Outage, at_ms: int) -> bool:
    return bool(outage.until_ms) and at_ms >= outage.until_ms


def _template(size: Size, node: int) -> bytes:
    apps = ",".join(
        f'["{app_name(node, app)}",{generation_of(size, node, app)},"running",%d,1,null,""]'
        for app in range(size.apps_per_node)
    )
    head = f'"r","{node_name(node)}",{registration_of(node)},{size.as_of}'
    return f"[{head},%d,%d,[{apps}],0.5,16000,8000]".encode()


def _unchanged(node: int) -> bytes:
    return f'["u","{node_name(node)}",{registration_of(node)},%d,%d,%d,0.5,16000,8000]'.encode()


def _check_bytes(size: Size, templates: list[bytes]) -> None:
    """That a template gives what an agent writes."""
    if size.nodes:
        ages = tuple(range(size.apps_per_node))
        apps = [
            AppEntry(app_name(0, app), generation_of(size, 0, app), "running", ages[app], 1)
            for app in range(size.apps_per_node)
        ]
        report = Report(node_name(0), registration_of(0), size.as_of, 7, 8, apps, 0.5, 16_000, 8_000)
        unchanged = Unchanged(node_name(0), registration_of(0), 7, 8, 9, 0.5, 16_000, 8_000)
        assert _unchanged(0) % (7, 8, 9) == encode_heartbeat(unchanged)
        assert templates[0] % (7, 8, *ages) == encode_heartbeat(report)
    assert encode_heartbeat(Beat(lone_name(1), 0, 7, 8)) == LONE_BEAT % (1, 7, 8)
    assert lone_name(1).encode() == LONE_NAME % 1


def main() -> None:
    """Obey the order on standard input and print what was done."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(Loader(order).run())))


if __name__ == "__main__":
    main()
