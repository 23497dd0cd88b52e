"""The core thread: reads the log, the heartbeats and what it published, and turns. Shell.

One asyncio loop in a thread of its own. Readers apply records in order; a `Round` then compares and decides. Any
error that is not about one record ends the process: its supervisor starts it again, and the log has everything.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sdk.contract.codec import Asked, encode_heartbeat
from sdk.contract.heartbeats import Beat
from sdk.contract.topics import VIEW_TABLES, WIDE_PARTITIONS, Topics, partition_of
from streams.clients import (
    RETRY_S,
    create_reader,
    create_writer,
    end_offsets,
    quieten_kafka_logs,
    start_clients,
)
from streams.core import monotonic
from streams.core.admission import Admission
from streams.core.appender import Appender
from streams.core.bridging import Bridging
from streams.core.controlling import Controlling
from streams.core.controls import Controls
from streams.core.handover import Handover
from streams.core.heartbeats import Hearing
from streams.core.inbox import Inbox, InboxReader
from streams.core.letters import Letters, decode_letter
from streams.core.pace import Pace
from streams.core.planning import Planning
from streams.core.publisher import Publisher
from streams.core.round import Round
from streams.core.snapshots import Snapshots, Turns
from streams.core.ticker import Ticker
from streams.core.viewing import Viewing
from streams.topics import TopicIds, read_topic_ids
from tables.silence import PartitionWatch
from tables.state import State
from tables.watcher import Watcher

_log = logging.getLogger(__name__)

#: How long one of the two threads may hold the interpreter while the other wants it, s. Python's 5 ms would come on
#: top of each hop of a recovery while Faust is busy writing rows.
SWITCH_S = 0.001
#: The loop turns at least this often, s: a follower writes a fact the leader left out after a turn or two.
TURN_WITHIN_S = 0.1
#: A turn that took longer, s, is followed by a pause of this share of it, at most so long, s. A tick that was sent and
#: read back passes the loop half a dozen times; with a long turn between any two of these no partition was ever fresh,
#: and a planner that sees nothing decides nothing.
LONG_TURN_S = 0.020
REST_SHARE = 0.3
REST_MAX_S = 0.050
#: State is saved this often, s. More loses nothing, it only makes the next start read more. Source: DESIGN 5.
SAVE_EVERY_S = 1.0
#: Beat of the worker itself, s. Source: DESIGN 13.
BEAT_EVERY_S = 5.0
#: Records handled before the loop lets others run.
BATCH_MAX = 1_000
#: Exit code after an error: `EX_SOFTWARE` of sysexits.h.
EXIT_BROKEN = 70


class Core:
    """Everything of one worker that is not Faust."""

    def __init__(self, *, bootstrap: str, prefix: str, name: str, handover: Handover) -> None:
        self._bootstrap = bootstrap
        self._topics = Topics(prefix)
        self._data_dir = Path()
        self._name = name
        self._handover = handover
        #: Whether the Faust processors keep up with what this thread reads.
        self.pace = Pace()
        self.writer = f"worker/{name}/{uuid.uuid4().hex[:12]}"
        self._thread = threading.Thread(target=self._main, name="core", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self.state = State()

    # --- called from the Faust thread ---------------------------------------------------------------

    def start(self, data_dir: Path) -> None:
        """Start the thread, with its disk under `data_dir`; it retries until the broker answers."""
        self._data_dir = data_dir
        sys.setswitchinterval(SWITCH_S)
        self._thread.start()

    def stop(self, within_s: float = 3.0) -> None:
        """Save, close and end the thread."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        if self._thread.is_alive():
            self._thread.join(within_s)

    async def built(self) -> None:
        """Return when the core can take requests and records; it may start later than Faust."""
        await asyncio.to_thread(self._ready.wait)

    def owner_changed(self, *, owns: bool, may_claim: bool) -> None:
        """Faust gave this worker the requests partition, took it, or is about to say which."""
        self._ready.wait()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._set_owner, owns, may_claim)

    def admit(self, asked: Asked) -> "Future[None]":
        """Append the answer to a request; done when it is acknowledged."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._admission.admit(asked), self._loop)

    def bury(self, record: object, reason: str) -> "Future[None]":
        """Write a dead letter about a record that the Faust side could not use; done when it stands."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._admission.bury(record, reason), self._loop)

    # --- the thread ---------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException:  # noqa: BLE001  # whatever it is, half a worker must not go on
            _log.exception("the core ended with an error; ending the process so that it is started again")
            logging.shutdown()
            os._exit(EXIT_BROKEN)

    async def _run(self) -> None:
        quieten_kafka_logs()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        ids = await self._read_ids()
        self._heartbeats_id = ids.heartbeats
        self._events_id = ids.events
        self._notifications_id = ids.notifications
        self._producer = create_writer(self._bootstrap)
        self._tick_producer = create_writer(self._bootstrap, acks=1)
        await start_clients(self._producer, self._tick_producer)
        self._appender = Appender(self._producer, self._topics, self.writer)
        self._snapshots = Snapshots(self._data_dir / "core")
        log = create_reader(self._bootstrap)
        await start_clients(log)
        events = TopicPartition(self._topics.events, 0)
        log_end = (await end_offsets(log, [events]))[events]
        _log.info("%s", self._snapshots.restore(self.state, topic_id=ids.events, log_end=log_end))
        self._build()
        self._ready.set()
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("log", self._read_log(log, events)),
                ("heartbeats", self._hearing.run()),
                ("read back", self._read_back()),
                ("ticks", self._ticker.run()),
                ("beats", self._beat()),
                ("bridge", self._bridging.run()),
                ("notifications", self._inbox.run()),
                ("controllers", self._controlling.run()),
                ("turns", self._turns()),
                ("stop", self._stop.wait()),
            )
        ]
        ends: list[asyncio.Future[Any]] = [*tasks, self._appender.broken]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for ended in done:
            ended.result()
        self._save(self._watcher.watches.values())
        self._snapshots.close()
        await self._appender.close()
        await asyncio.wait_for(asyncio.gather(self._producer.stop(), self._tick_producer.stop()), 2)

    def _build(self) -> None:
        state = self.state
        self._wake = asyncio.Event()
        self._rows_unsaved = state.listen()
        self._watcher = Watcher(state)
        self._ticker = Ticker(self._tick_producer, self._topics.heartbeats, self.writer, self.pace)
        self._planning = Planning(state, self._watcher, self._appender)
        self._bridging = Bridging(
            bootstrap=self._bootstrap,
            topic=self._topics.heartbeats,
            prefix=self._topics.prefix,
            name=self._name,
            watcher=self._watcher,
            planning=self._planning,
            ticker=self._ticker,
            producer=self._producer,
        )
        self._publisher = Publisher(state, self._appender, self._topics, self._events_id)
        self._letters = Letters(self._appender, self._topics)
        self._letters.restore(self._snapshots.load_letters())
        self._controls = Controls(state, self._appender, self._topics.prefix, self._events_id)
        self._controlling = Controlling(
            bootstrap=self._bootstrap,
            controls=self._controls,
            letters=self._letters,
            planning=self._planning,
            wake=self._wake.set,
        )
        self._admission = Admission(state, self._planning, self._appender, self._letters)
        self._inbox = InboxReader(
            bootstrap=self._bootstrap,
            topic=self._topics.notifications,
            inbox=Inbox(
                state=state,
                planning=self._planning,
                appender=self._appender,
                letters=self._letters,
                topic_id=self._notifications_id,
            ),
        )
        self._round = Round(
            state=state,
            watcher=self._watcher,
            planning=self._planning,
            publisher=self._publisher,
            controls=self._controls,
            letters=self._letters,
            admission=self._admission,
            ticker=self._ticker,
            appender=self._appender,
            heartbeats_id=self._heartbeats_id,
        )
        self._hearing = Hearing(
            bootstrap=self._bootstrap,
            topic=self._topics.heartbeats,
            watcher=self._watcher,
            snapshots=self._snapshots,
            letters=self._letters,
            hear_tick=self._round.hear_tick,
            wake=self._wake.set,
        )
        self._viewing = Viewing(state, self._appender, self._topics, self._handover)
        self._back_at_end = False
        self._saved_at_s = 0.0
        self._turns_to_save = Turns()
        self._handover.attach_core(asyncio.get_running_loop(), self._viewing.owner_changed)

    async def _read_ids(self) -> TopicIds:
        while True:
            try:
                return await asyncio.to_thread(read_topic_ids, self._bootstrap, self._topics.prefix)
            except (ConnectionError, KeyError, KafkaError) as error:
                _log.warning("waiting for Kafka and its topics: %s", error)
                await asyncio.sleep(RETRY_S)

    def _set_owner(self, owns: bool, may_claim: bool) -> None:
        self._planning.owns, self._planning.may_claim = owns, may_claim
        self._wake.set()

    # --- the log ------------------------------------------------------------------------------------

    async def _read_log(self, reader: AIOKafkaConsumer, events: TopicPartition) -> None:
        reader.assign([events])
        reader.seek(events, self.state.offset + 1)
        try:
            while True:
                batches = await reader.getmany(timeout_ms=1_000, max_records=BATCH_MAX)
                for record in batches.get(events, ()):
                    self.pace.saw(record.topic, record.offset)
                    self._round.fold(record)
                if batches:
                    self._round.follow_rows()
                    self._wake.set()
                    await asyncio.sleep(0)
        finally:
            await reader.stop()

    # --- heartbeats ---------------------------------------------------------------------------------

    async def _beat(self) -> None:
        source, number = f"service-{self._name}", 0
        while True:
            number += 1
            value = encode_heartbeat(Beat(source, 0, number, time.time_ns() // 1_000_000))
            put = self._tick_producer.send(
                self._topics.heartbeats, value, key=source.encode(), partition=partition_of(source)
            )
            self._appender.later(put)
            await asyncio.sleep(BEAT_EVERY_S)

    # --- what was published -------------------------------------------------------------------------

    async def _read_back(self) -> None:
        reader = create_reader(self._bootstrap)
        await start_clients(reader)
        partitions = [TopicPartition(self._topics.commands, number) for number in range(WIDE_PARTITIONS)]
        partitions += [TopicPartition(self._topics.state(table), 0) for table in VIEW_TABLES]
        partitions += [TopicPartition(self._topics.dead_letters, 0), TopicPartition(self._topics.requests, 0)]
        reader.assign(partitions)
        try:
            ends = await end_offsets(reader, partitions)
            for at, offset in (await reader.beginning_offsets(partitions)).items():
                reader.seek(at, offset)
            while True:
                batches = await reader.getmany(timeout_ms=200, max_records=BATCH_MAX)
                for records in batches.values():
                    for record in records:
                        self._take_back(record)
                if not self._back_at_end:
                    positions = {at: await reader.position(at) for at in partitions}
                    self._back_at_end = all(positions[at] >= end for at, end in ends.items())
                if batches:
                    self._wake.set()
                    await asyncio.sleep(0)
        finally:
            await reader.stop()

    def _take_back(self, record: Any) -> None:
        try:
            if record.topic == self._topics.commands:
                self._publisher.read_back(record.key, record.value)
            elif record.topic == self._topics.requests:
                self.pace.saw(record.topic, record.offset)
                self._admission.note(record)
            elif record.topic == self._topics.dead_letters:
                self._letters.read_back(decode_letter(record.value).letter_key)
            else:
                self._viewing.read_back(record.topic, record.key, record.value)
        except (ValueError, RecursionError) as error:
            self._letters.meet(record, str(error))

    # --- turns --------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        before_ms = monotonic.now_ms()
        while True:
            # Not `wait_for`: in Python 3.11 it may lose the cancellation that ends this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_WITHIN_S):
                    await self._wake.wait()
            self._wake.clear()
            now_ms = monotonic.now_ms()
            self._turn(now_ms, now_ms - before_ms)
            before_ms = now_ms
            took_s = (monotonic.now_ms() - now_ms) / 1000
            if took_s > LONG_TURN_S:
                await asyncio.sleep(min(took_s * REST_SHARE, REST_MAX_S))

    def _turn(self, now_ms: int, elapsed_ms: int) -> None:
        self._round.turn(now_ms, elapsed_ms, back_at_end=self._back_at_end)
        self._viewing.turn(readers_at_end=self._back_at_end)
        if time.monotonic() - self._saved_at_s >= SAVE_EVERY_S:
            self._save(self._turns_to_save.take(self._watcher.watches.values()))

    def _save(self, watches: Iterable[PartitionWatch]) -> None:
        self._saved_at_s = time.monotonic()
        letters = self._letters.pending
        self._snapshots.save(self.state, self._rows_unsaved, watches, letters, topic_id=self._events_id)
        self._rows_unsaved.clear()
