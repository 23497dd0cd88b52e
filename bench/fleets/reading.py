"""One way of reading a topic of beats to its end: `python -m bench.fleets.reading` with its order on stdin.

- `watch`: the heartbeat plane of a worker (`bench.fleets.watching`) without its ticker: the ticks that stand between
  the beats are taken for its own, so that it compares and saves as it does when it is up to date.
- `raw`: nothing but `getmany` of the same reader.
- `confluent`: nothing but `consume` of confluent-kafka, if that is installed.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from operator import ge
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.fleets import watching
from bench.fleets.crowd import Size
from bench.fleets.filling import Filled
from sdk.contract.heartbeats import Tick
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS, Topics
from streams.clients import create_reader, create_writer, quieten_kafka_logs, start_clients
from streams.core import heartbeats, monotonic
from streams.core.appender import Appender
from streams.core.core import SWITCH_S
from streams.core.heartbeats import BATCH_MAX, Hearing
from streams.core.letters import Letters
from tables.rows import ONLY, PolicyRow

Way = Literal["watch", "raw", "confluent"]
#: However long the filling took, its beginning is read and nobody in it is over the limit, ms.
_LONG_MS: Final = 3_600_000
#: Who does not get to the end within this time never will, s.
_WITHIN_S: Final = 300.0
#: How often it is looked whether everybody was compared, s.
_WAIT_S: Final = 0.01


class Order(msgspec.Struct, frozen=True):
    """What is to be read, and how."""

    bootstrap: str
    prefix: str
    lone: int
    filled: Filled
    way: Way


class Read(msgspec.Struct, frozen=True):
    """What the measured part cost."""

    records: int
    cpu_s: float
    wall_s: float
    #: Sources that were known at its end, and facts that were found; 0 of those who only read.
    sessions: int = 0
    found: int = 0


class Marks:
    """What it costs to read on from where the measured part begins, to its end."""

    def __init__(self, filled: Filled) -> None:
        self._filled = filled
        self._begin: tuple[int, float, float] | None = None
        self.done: Read | None = None

    def before(self, offsets: Sequence[int]) -> list[int]:
        """Partitions that are still read up to where it begins."""
        return [at for at, begin in enumerate(self._filled.begins) if offsets[at] < begin]

    def begin(self, offsets: Sequence[int]) -> None:
        """From here on it is measured."""
        gc.collect()
        self._begin = sum(offsets), time.process_time(), time.monotonic()

    def look(self, offsets: Sequence[int]) -> bool:
        """Take note of the offsets that come next; whether all is read."""
        if self._begin is not None and all(map(ge, offsets, self._filled.ends)):
            count, cpu_s, at_s = self._begin
            self.done = Read(sum(offsets) - count, time.process_time() - cpu_s, time.monotonic() - at_s)
        return self.done is not None


class Gate(AIOKafkaConsumer):  # type: ignore[misc]  # has no types
    """A reader that reads every partition to where the measured part begins, and waits there until it may go on."""

    marks: Marks
    topic: str
    #: The offset that comes next, by partition.
    offsets: Callable[[], Sequence[int]]
    may_begin: Callable[[], bool]
    is_open = False

    async def getmany(self, *partitions: TopicPartition, **how: Any) -> Any:
        """As before, of who is not there yet."""
        if self.is_open or partitions:
            return await super().getmany(*partitions, **how)
        if left := self.marks.before(self.offsets()):
            # Batch by batch: no further than there.
            places = [TopicPartition(self.topic, at) for at in left]
            return await super().getmany(*places, timeout_ms=1_000, max_records=1)
        while not self.may_begin():
            await asyncio.sleep(_WAIT_S)
        self.is_open = True
        for at, offset in enumerate(self.offsets()):
            # What was fetched ahead is fetched again: others pay for that too.
            self.seek(TopicPartition(self.topic, at), offset)
        self.marks.begin(self.offsets())
        return await super().getmany(**how)


class Reading(watching.Watching):
    """The heartbeat plane over what stands there."""

    def __init__(self, order: Order, folder: Path) -> None:
        super().__init__(watching.Order(order.bootstrap, order.prefix, Size(0, 0, order.lone)), folder)
        self._marks = Marks(order.filled)
        policy = msgspec.structs.replace(Policy(), silence_limit_ms=_LONG_MS)
        self._state.put("policy", ONLY, PolicyRow(policy, 0))
        self._end = asyncio.Event()

    async def read(self) -> Read:
        """Read to the end."""
        quieten_kafka_logs()
        heartbeats.COUNT_BACK_MS = _LONG_MS
        heartbeats.create_reader = self._create_gate  # type: ignore[attr-defined]  # the only way in
        self._producer = create_writer(self._order.bootstrap)
        await start_clients(self._producer)
        self._wake = asyncio.Event()
        hearing = Hearing(
            bootstrap=self._order.bootstrap,
            topic=self._topics.heartbeats,
            watcher=self._watcher,
            snapshots=self._snapshots,
            letters=Letters(Appender(self._producer, self._topics, "worker/fleet/1"), self._topics),
            hear_tick=self._hear_tick,
            wake=self._note,
        )
        gc.collect()
        # The made-up log is no part of what is measured, and a collector that goes through it would be.
        gc.freeze()
        works = (hearing.run(), self._turns(), asyncio.wait_for(self._end.wait(), _WITHIN_S))
        tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(work) for work in works]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1.0)
        for ended in done:
            ended.result()
        self._snapshots.close()
        await self._producer.stop()
        read = self._marks.done
        assert read is not None
        sessions = sum(len(watch.sessions) for watch in self._watcher.watches.values())
        return msgspec.structs.replace(read, sessions=sessions, found=len(self._found))

    def _hear_tick(self, partition: int, tick: Tick) -> None:  # noqa: ARG002  # it is taken for one of ours
        first = partition not in self._watcher.fresh_at_ms
        self._watcher.fresh_at_ms[partition] = monotonic.now_ms()
        if first:
            self._watcher.caught_up(partition)

    def _create_gate(self, bootstrap: str) -> Any:
        gate: Any = create_reader(bootstrap)
        gate.__class__ = Gate
        gate.marks, gate.topic = self._marks, self._topics.heartbeats
        gate.offsets, gate.may_begin = self._offsets, self._is_at_rest
        return gate

    def _offsets(self) -> list[int]:
        watches = self._watcher.watches
        return [watches[at].next_offset for at in range(WIDE_PARTITIONS)]

    def _is_at_rest(self) -> bool:
        """Everybody who was heard is compared with the log."""
        for at, watch in self._watcher.watches.items():
            self._watcher.fresh_at_ms[at] = monotonic.now_ms()
            if watch.heard:
                self._wake.set()
                return False
        return True

    def _note(self) -> None:
        self._wake.set()
        if self._marks.look(self._offsets()):
            self._end.set()


async def _read_raw(order: Order) -> Read:
    quieten_kafka_logs()
    partitions = [TopicPartition(Topics(order.prefix).heartbeats, at) for at in range(WIDE_PARTITIONS)]
    reader, marks, offsets = create_reader(order.bootstrap), Marks(order.filled), list(order.filled.begins)
    await start_clients(reader)
    reader.assign(partitions)
    for at in partitions:
        reader.seek(at, offsets[at.partition])
    marks.begin(offsets)
    try:
        async with asyncio.timeout(_WITHIN_S):
            while not marks.look(offsets):
                for at, records in (await reader.getmany(timeout_ms=1_000, max_records=BATCH_MAX)).items():
                    offsets[at.partition] += len(records)
    finally:
        await reader.stop()
    assert marks.done is not None
    return marks.done


def _read_confluent(order: Order) -> Read:
    import confluent_kafka  # type: ignore[import-not-found,unused-ignore]  # an extra of the bench

    reader: Any = confluent_kafka.Consumer(
        {
            "bootstrap.servers": order.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 10,
        }
    )
    topic, marks, offsets = Topics(order.prefix).heartbeats, Marks(order.filled), list(order.filled.begins)
    marks.begin(offsets)
    reader.assign([confluent_kafka.TopicPartition(topic, at, offset) for at, offset in enumerate(offsets)])
    until_s = time.monotonic() + _WITHIN_S
    while not marks.look(offsets):
        if time.monotonic() > until_s:
            raise TimeoutError
        for message in reader.consume(BATCH_MAX, timeout=1.0):
            if message.error() is None:
                offsets[message.partition()] += 1
    reader.close()
    assert marks.done is not None
    return marks.done


def main() -> None:
    """Obey the order on standard input and print what it cost."""
    sys.setswitchinterval(SWITCH_S)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if order.way == "watch":
        with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder:
            read = asyncio.run(_read_watching(order, Path(folder)))
    elif order.way == "raw":
        read = asyncio.run(_read_raw(order))
    else:
        read = _read_confluent(order)
    sys.stdout.buffer.write(msgspec.json.encode(read))


async def _read_watching(order: Order, folder: Path) -> Read:
    return await Reading(order, folder).read()


if __name__ == "__main__":
    main()
