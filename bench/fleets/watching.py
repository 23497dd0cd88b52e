"""The heartbeat plane of one worker, alone: `python -m bench.fleets.watching` with its order on stdin, until that ends.

It says `ready` on stderr when its imports and the log in memory are made. If the order says so it begins with the next
line on stdin, and says in a line of JSON (`Fresh`) when a first correct fact is possible in every partition.

What runs here is the product's: its reader, its ticker, its watcher, its facts with their outbox, its disk. Left out
are planner, views and Faust. The log that it compares with is made in memory (`bench.fleets.crowd`); the facts it
finds are appended to a real topic, and folded when they are acknowledged, at the offset after the made-up log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from bench.fleets.crowd import Size, create_state
from bench.fleets.judge import Found
from bench.processes import resident_mib
from sdk.contract.codec import Recorded, decode_event, encode_event, event_name
from sdk.contract.events import SourceFellSilent, SourceReturned
from sdk.contract.heartbeats import Tick
from sdk.contract.topics import WIDE_PARTITIONS, Topics
from streams.clients import create_reader, create_writer, quieten_kafka_logs, start_clients
from streams.core import monotonic
from streams.core.appender import Appender
from streams.core.core import SAVE_EVERY_S, SWITCH_S, TURN_WITHIN_S
from streams.core.heartbeats import Hearing
from streams.core.letters import Letters
from streams.core.pace import Pace
from streams.core.snapshots import Snapshots, Turns
from streams.core.ticker import Ticker
from tables.facts import Fact, FactOutbox, find_facts
from tables.fold import Meta, fold
from tables.silence import PartitionWatch
from tables.state import State
from tables.watcher import Watcher

_TOPIC_ID: Final = "fleet"
#: How often it is looked what the process costs, and whether its loop is held, s.
_LOOK_EVERY_S: Final = 1.0
_PROBE_EVERY_S: Final = 0.005


class Order(msgspec.Struct, frozen=True):
    """What a watcher shall do."""

    bootstrap: str
    prefix: str
    size: Size
    #: Where its disk is, to be found again by the next; empty: a folder of its own.
    folder: str = ""
    #: Begin with the next line on standard input.
    waits: bool = False
    #: What it watches; empty: everything.
    partitions: list[int] = []
    writer: str = "worker/fleet/1"
    leads: bool = True
    #: Fold what stands on the log, whoever wrote it, and not what this one wrote when it is acknowledged.
    reads_log: bool = False


class Fresh(msgspec.Struct, frozen=True):
    """All partitions are caught up and fresh, and a turn has compared them with the log."""

    #: Since watching began.
    ms: int
    #: Since then, of this process.
    cpu_ms: int
    #: Read since then.
    records: int
    #: Partitions taken from the disk.
    from_disk: int


class Look(msgspec.Struct, frozen=True):
    """What the process had cost at one moment."""

    at_ms: int
    cpu_s: float
    resident_mib: float
    records: int
    #: Longest time the loop was held since the look before, ms.
    held_ms: float
    #: CPU time of the loop's thread in such a time, ms: what it was held by itself, not by what else the machine does.
    held_cpu_ms: float
    #: How old the newest record is that was read, ms, in the partition where it is oldest.
    lag_ms: int


class Watched(msgspec.Struct, frozen=True):
    """All that a watcher found and cost."""

    found: list[Found]
    looks: list[Look]
    #: Before the first record was read.
    resident_mib: float
    sessions: int


class _Noting(Watcher):
    """Notes from where each partition is read."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.first: dict[int, int] = {}

    def begin(self, watch: PartitionWatch) -> None:
        """Take over a partition."""
        self.first[watch.partition] = watch.next_offset
        super().begin(watch)


class Watching:
    """One run."""

    def __init__(self, order: Order, folder: Path) -> None:
        self._order = order
        self._topics = Topics(order.prefix)
        self._state = create_state(order.size)
        self._rows_changed = self._state.listen()
        self._watcher = _Noting(self._state)
        self._folder = folder
        if not order.waits:
            self._open_disk()
        self._turns_to_save = Turns()
        self._outbox = FactOutbox()
        self._found: list[Found] = []
        self._looks: list[Look] = []
        self._held_s = self._held_cpu_s = 0.0
        self._partitions = set(order.partitions or range(WIDE_PARTITIONS))
        self._is_told = not order.waits

    async def run(self) -> Watched:
        """Watch until standard input ends."""
        self._began_s, self._began_cpu_s = time.monotonic(), time.process_time()
        quieten_kafka_logs()
        if self._order.waits:
            # Another had it until now.
            self._open_disk()
        self._producer = create_writer(self._order.bootstrap)
        ticks = create_writer(self._order.bootstrap, acks=1)
        await start_clients(self._producer, ticks)
        self._wake = asyncio.Event()
        self._ticker = Ticker(ticks, self._topics.heartbeats, self._order.writer, Pace())
        hearing = Hearing(
            bootstrap=self._order.bootstrap,
            topic=self._topics.heartbeats,
            watcher=self._watcher,
            snapshots=self._snapshots,
            letters=Letters(Appender(self._producer, self._topics, self._order.writer), self._topics),
            hear_tick=self._hear_tick,
            wake=self._wake.set,
            partitions=sorted(self._partitions),
        )
        gc.collect()
        # The made-up log is no part of what is measured, and a collector that goes through it would be.
        gc.freeze()
        before_mib = resident_mib(os.getpid())
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_wait_for_end, args=(loop, end), daemon=True).start()
        works: list[Coroutine[Any, Any, Any]] = [
            hearing.run(),
            self._ticker.run(),
            self._turns(),
            self._look(),
        ]
        works += [self._probe(), end.wait(), *([self._read_log()] if self._order.reads_log else [])]
        tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(work) for work in works]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        pending: Iterable[asyncio.Task[Any]] = tasks
        while pending:
            # Again: `wait_for` of Python 3.11 loses a cancellation that comes together with what it waits for.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1.0)
        for ended in done:
            ended.result()
        self._snapshots.close()
        await asyncio.gather(self._producer.stop(), ticks.stop())
        sessions = sum(len(watch.sessions) for watch in self._watcher.watches.values())
        return Watched(self._found, self._looks, before_mib, sessions)

    def _open_disk(self) -> None:
        self._snapshots = Snapshots(self._folder / "core")

    def _tell_if_fresh(self) -> None:
        """Say once that from now on every fact is possible; looked at after a turn."""
        watcher = self._watcher
        if self._is_told or not all(watcher.is_fresh(at) for at in self._partitions):
            return
        self._is_told = True
        watches = watcher.watches.values()
        said = Fresh(
            ms=round(1000 * (time.monotonic() - self._began_s)),
            cpu_ms=round(1000 * (time.process_time() - self._began_cpu_s)),
            records=sum(watch.next_offset - watcher.first[watch.partition] for watch in watches),
            from_disk=sum(watcher.first[watch.partition] != watch.begin for watch in watches),
        )
        sys.stderr.write(msgspec.json.encode(said).decode() + "\n")
        sys.stderr.flush()

    def _hear_tick(self, partition: int, tick: Tick) -> None:
        sent_ms = self._ticker.read(partition, tick)
        if sent_ms is not None:
            first = partition not in self._watcher.fresh_at_ms
            self._watcher.fresh_at_ms[partition] = sent_ms
            if first:
                self._watcher.caught_up(partition)

    async def _turns(self) -> None:
        saved_s = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TURN_WITHIN_S)
            self._wake.clear()
            self._watcher.now_ms = now_ms = monotonic.now_ms()
            facts = find_facts(self._watcher, topic_id=_TOPIC_ID, leads=self._order.leads)
            is_part = self._watcher.slices.is_over
            due = self._outbox.due(facts, now_ms=now_ms, leads=self._order.leads, is_part=is_part)
            if due:
                await self._append(due)
            self._tell_if_fresh()
            if time.monotonic() - saved_s >= SAVE_EVERY_S:
                saved_s = time.monotonic()
                watches = self._turns_to_save.take(self._watcher.watches.values())
                self._snapshots.save(self._state, set(), watches, [], topic_id=_TOPIC_ID)

    async def _append(self, facts: list[Fact]) -> None:
        at_ms = time.time_ns() // 1_000_000
        sent = [
            await self._producer.send(
                self._topics.events,
                encode_event(fact.event, event_id=fact.event_id, cause="", writer="bench", at_ms=at_ms),
                partition=0,
            )
            for fact in facts
        ]
        for fact, put in zip(facts, sent, strict=True):
            stands = await put
            if self._order.reads_log:
                continue
            recorded = Recorded(fact.event_id, event_name(fact.event), "", "bench", fact.event)
            self._fold(recorded, stands.offset, stands.timestamp)
            if isinstance(fact.event, SourceFellSilent | SourceReturned):
                is_return = isinstance(fact.event, SourceReturned)
                self._found.append(Found(fact.event.source, is_return, stands.timestamp))
        self._follow()

    async def _read_log(self) -> None:
        """Fold what stands on the log after the made-up part, whoever wrote it."""
        reader = create_reader(self._order.bootstrap)
        await start_clients(reader)
        at = TopicPartition(self._topics.events, 0)
        reader.assign([at])
        reader.seek(at, 0)
        try:
            while True:
                batches = await reader.getmany(timeout_ms=1_000)
                for record in batches.get(at, ()):
                    self._fold(decode_event(record.value), record.offset, record.timestamp)
                self._follow()
                self._wake.set()
        finally:
            await reader.stop()

    def _fold(self, recorded: Recorded, offset: int, append_ms: int) -> None:
        outcome = fold(self._state, recorded, Meta(self._order.size.as_of + 1 + offset, append_ms))
        self._outbox.read_back(recorded.id, accepted=outcome.accepted)

    def _follow(self) -> None:
        for table, key in self._rows_changed:
            self._watcher.row_changed(table, key)
        self._rows_changed.clear()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now_ms = time.time_ns() // 1_000_000
            watches = self._watcher.watches.values()
            self._looks.append(
                Look(
                    at_ms=now_ms,
                    cpu_s=time.process_time(),
                    resident_mib=resident_mib(os.getpid()),
                    records=sum(watch.next_offset - watch.begin for watch in watches),
                    held_ms=self._held_s * 1000,
                    held_cpu_ms=self._held_cpu_s * 1000,
                    lag_ms=max((now_ms - (watch.append_ms or now_ms) for watch in watches), default=0),
                )
            )
            self._held_s = self._held_cpu_s = 0.0

    async def _probe(self) -> None:
        """How much later than it asked a task is run that asks often."""
        while True:
            began_s, began_cpu_s = time.monotonic(), time.thread_time()
            await asyncio.sleep(_PROBE_EVERY_S)
            self._held_cpu_s = max(self._held_cpu_s, time.thread_time() - began_cpu_s)
            self._held_s = max(self._held_s, time.monotonic() - began_s - _PROBE_EVERY_S)


def _wait_for_end(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(end.set)


def main() -> None:
    """Obey the order in the first line on standard input and print what was found."""
    sys.setswitchinterval(SWITCH_S)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder:
        watching = Watching(order, Path(order.folder or folder))
        if order.waits:
            gc.collect()
            gc.freeze()
        sys.stderr.write("ready\n")
        sys.stderr.flush()
        if order.waits and not sys.stdin.buffer.readline():
            return
        watched = asyncio.run(watching.run())
    sys.stdout.buffer.write(msgspec.json.encode(watched))


if __name__ == "__main__":
    main()
