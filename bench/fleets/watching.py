"""The heartbeat plane of one worker, alone: `python -m bench.fleets.watching` with its order on stdin, until that ends.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.fleets.crowd import Size, create_state
from bench.fleets.judge import Found
from bench.processes import resident_mib
from sdk.contract.codec import Recorded, encode_event, event_name
from sdk.contract.events import SourceFellSilent, SourceReturned
from sdk.contract.heartbeats import Tick
from sdk.contract.topics import Topics
from streams.clients import create_writer, quieten_kafka_logs, start_clients
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


class Watching:
    """One run."""

    def __init__(self, order: Order, folder: Path) -> None:
        self._order = order
        self._topics = Topics(order.prefix)
        self._state = create_state(order.size)
        self._rows_changed = self._state.listen()
        self._watcher = Watcher(self._state)
        self._snapshots = Snapshots(folder / "core")
        self._turns_to_save = Turns()
        self._outbox = FactOutbox()
        self._found: list[Found] = []
        self._looks: list[Look] = []
        self._held_s = self._held_cpu_s = 0.0

    async def run(self) -> Watched:
        """Watch until standard input ends."""
        quieten_kafka_logs()
        self._producer = create_writer(self._order.bootstrap)
        ticks = create_writer(self._order.bootstrap, acks=1)
        await start_clients(self._producer, ticks)
        self._wake = asyncio.Event()
        self._ticker = Ticker(ticks, self._topics.heartbeats, "worker/fleet/1", Pace())
        hearing = Hearing(
            bootstrap=self._order.bootstrap,
            topic=self._topics.heartbeats,
            watcher=self._watcher,
            snapshots=self._snapshots,
            letters=Letters(Appender(self._producer, self._topics, "worker/fleet/1"), self._topics),
            hear_tick=self._hear_tick,
            wake=self._wake.set,
        )
        gc.collect()
        # The made-up log is no part of what is measured, and a collector that goes through it would be.
        gc.freeze()
        before_mib = resident_mib(os.getpid())
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_wait_for_end, args=(loop, end), daemon=True).start()
        works = (hearing.run(), self._ticker.run(), self._turns(), self._look(), self._probe(), end.wait())
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
            facts = find_facts(self._watcher, topic_id=_TOPIC_ID, leads=True)
            is_part = self._watcher.slices.is_over
            due = self._outbox.due(facts, now_ms=now_ms, leads=True, is_part=is_part)
            if due:
                await self._append(due)
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
            recorded = Recorded(fact.event_id, event_name(fact.event), "", "bench", fact.event)
            meta = Meta(self._order.size.as_of + 1 + stands.offset, stands.timestamp)
            outcome = fold(self._state, recorded, meta)
            self._outbox.read_back(fact.event_id, accepted=outcome.accepted)
            if isinstance(fact.event, SourceFellSilent | SourceReturned):
                is_return = isinstance(fact.event, SourceReturned)
                self._found.append(Found(fact.event.source, is_return, stands.timestamp))
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
        watching = Watching(order, Path(folder))
        sys.stderr.write("ready\n")
        sys.stderr.flush()
        watched = asyncio.run(watching.run())
    sys.stdout.buffer.write(msgspec.json.encode(watched))


if __name__ == "__main__":
    main()
