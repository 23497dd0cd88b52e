"""What a rig sees: the log folded as it grows, and every report, in a thread of its own. Shell.

1. Conditions are asked under the lock after each batch, so they see the state between two records.
2. Append times are the broker's; with `LogAppendTime` they are when a record could first be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from sdk.contract.codec import DecodeError, Recorded, decode_heartbeat, encode_request, event_name
from sdk.contract.heartbeats import Beat, Heartbeat, Hello, PoolReport, Report, Tick, Unchanged, spell_out
from sdk.contract.requests import Request
from sdk.contract.topics import WIDE_PARTITIONS, Topics
from streams.clients import create_reader, create_writer, quieten_kafka_logs
from streams.log_source import entry_of, fold_entry
from tables.fold import Outcome
from tables.state import State

T = TypeVar("T")

#: Events quoted when a wait fails.
_QUOTED: Final = 25
_RETRY_S: Final = 0.2


class Seen(NamedTuple):
    """One record of the log and what the fold made of it."""

    offset: int
    append_ms: int
    said: Recorded | DecodeError
    outcome: Outcome
    raw: bytes | None = None

    def __str__(self) -> str:
        """The record in a line."""
        if isinstance(self.said, DecodeError):
            return f"{self.offset} {self.append_ms} undecodable: {str(self.said)[:100]}"
        fate = f" DROPPED: {self.outcome.dropped}" if self.outcome.dropped else ""
        return f"{self.offset} {self.append_ms} {event_name(self.said.event)} {self.said.event!r:.300}{fate}"


class Heard(NamedTuple):
    """One record of the heartbeats topic that is not a tick."""

    partition: int
    offset: int
    append_ms: int
    said: Report | PoolReport | Hello | Beat


class RigLog:
    """A thread that reads and folds; everything public may be called from any other thread."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._bootstrap = bootstrap
        self._topics = Topics(prefix)
        self._changed = threading.Condition()
        self._state = State()
        self._seen: list[Seen] = []
        self._heard: list[Heard] = []
        self._newest: dict[str, Heard] = {}
        #: Node -> its newest full report.
        self._full: dict[str, Report] = {}
        #: Request id -> the event that answered it.
        self.answers: dict[str, Seen] = {}
        #: Append time of the newest record of any heartbeat partition.
        self.tick_ms = 0
        self._loop = asyncio.new_event_loop()
        self._fault: BaseException | None = None
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._writer: Any = None
        self._thread = threading.Thread(target=self._main, name="rig log", daemon=True)

    def start(self) -> None:
        """Begin to read; returns once the writer is connected."""
        self._thread.start()
        self._ready.wait()
        self._check()

    def close(self) -> None:
        """Stop reading."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(10.0)

    # --- looking ------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[State], T | None], *, within_s: float, what: str = "") -> T:
        """The first true answer of `condition`; it is asked under the lock and must not keep the state.

        Raises:
            TimeoutError: naming what was waited for, with the last events.
        """
        deadline_s = time.monotonic() + within_s
        with self._changed:
            while not (answer := condition(self._state)):
                self._check()
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(
                        f"{what or condition}: not within {within_s:g} s; the log ends with\n{self._tail()}"
                    )
                # Some conditions look at processes too, which no record announces.
                self._changed.wait(min(left_s, 0.05))
            return answer

    def copy_state(self) -> State:
        """The state as of the last record read; the caller's own."""
        with self._changed:
            copy = State()
            copy.load(list(self._state.all_rows()), offset=self._state.offset, now_ms=self._state.now_ms)
            return copy

    def events(self, since: int = 0) -> list[Seen]:
        """What was read of the log from offset `since` on."""
        with self._changed:
            return [seen for seen in self._seen if seen.offset >= since]

    def reports(self, since_ms: int = 0) -> list[Heard]:
        """What was read of the heartbeats, ticks apart, from append time `since_ms` on."""
        with self._changed:
            return [heard for heard in self._heard if heard.append_ms >= since_ms]

    def newest(self, reporter: str) -> Heard | None:
        """The newest report or hello of a node or pool, the newest beat of a lone source."""
        with self._changed:
            return self._newest.get(reporter)

    @property
    def offset(self) -> int:
        """Offset of the last record folded."""
        return self._state.offset

    def _tail(self) -> str:
        return "\n".join(str(seen) for seen in self._seen[-_QUOTED:])

    def _check(self) -> None:
        if self._fault is not None:
            raise RuntimeError(f"the rig's reader ended: {self._fault!r}") from self._fault

    # --- writing ------------------------------------------------------------------------------------

    def ask(self, request: Request) -> str:
        """Send a request, however long the broker is away, and return its id; `answers` will have the answer."""
        request_id = str(uuid.uuid4())
        value = encode_request(request, request_id=request_id, asker="rig", at_ms=time.time_ns() // 1_000_000)
        self.put(self._topics.requests, value, key=request_id.encode())
        return request_id

    def put(self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int = 0) -> int:
        """Write one record, trying until it is acknowledged, and return its offset."""
        return self._do(self._put(topic, value, key, partition))

    def put_many(self, records: list[tuple[str, bytes | None, bytes | None, int]]) -> list[int]:
        """Write records (topic, value, key, partition) without waiting in between and return their offsets."""
        return self._do(self._put_many(records))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _put(self, topic: str, value: bytes | None, key: bytes | None, partition: int) -> int:
        while True:
            try:
                done = await self._writer.send_and_wait(topic, value, key=key, partition=partition)
            except KafkaError:
                await asyncio.sleep(_RETRY_S)
            else:
                return int(done.offset)

    async def _put_many(self, records: list[tuple[str, bytes | None, bytes | None, int]]) -> list[int]:
        sent = [
            await self._writer.send(topic, value, key=key, partition=partition)
            for topic, value, key, partition in records
        ]
        return [int(done.offset) for done in await asyncio.gather(*sent)]

    # --- the thread ---------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._run())
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            self._fault = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _run(self) -> None:
        quieten_kafka_logs()
        self._writer = create_writer(self._bootstrap)
        await self._writer.start()
        reader = create_reader(self._bootstrap)
        await reader.start()
        try:
            places = [TopicPartition(self._topics.events, 0)]
            places += [TopicPartition(self._topics.heartbeats, number) for number in range(WIDE_PARTITIONS)]
            reader.assign(places)
            for place in places:
                reader.seek(place, 0)
            self._ready.set()
            reading = asyncio.ensure_future(self._read(reader))
            over = asyncio.ensure_future(self._over.wait())
            await asyncio.wait([reading, over], return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        finally:
            await reader.stop()
            await self._writer.stop()

    async def _read(self, reader: Any) -> None:
        while True:
            batches = await reader.getmany(timeout_ms=500)
            if not batches:
                continue
            with self._changed:
                for place, records in batches.items():
                    for record in records:
                        if place.topic == self._topics.events:
                            self._fold(record)
                        else:
                            self._hear(record)
                self._changed.notify_all()

    def _fold(self, record: Any) -> None:
        entry = entry_of(record.offset, record.timestamp, record.value)
        seen = Seen(entry.offset, entry.append_ms, entry.said, fold_entry(self._state, entry), entry.raw)
        self._seen.append(seen)
        if isinstance(entry.said, Recorded) and entry.said.cause and seen.outcome.accepted:
            self.answers.setdefault(entry.said.cause, seen)

    def _hear(self, record: Any) -> None:
        self.tick_ms = max(self.tick_ms, record.timestamp)
        try:
            said: Heartbeat = decode_heartbeat(record.value)
        except DecodeError:
            return
        if isinstance(said, Tick):
            return
        if isinstance(said, Unchanged):
            # For whoever reads along it is the report that it stands for.
            said = spell_out(said, self._full.get(said.reporter) or _empty(said))
        elif isinstance(said, Report):
            self._full[said.reporter] = said
        heard = Heard(record.partition, record.offset, record.timestamp, said)
        self._heard.append(heard)
        self._newest[said.source if isinstance(said, Beat) else said.reporter] = heard


def _empty(said: Unchanged) -> Report:
    """The report of somebody whose full one came before reading began."""
    return Report(said.reporter, said.registration, 0, said.number, said.sent_at_ms, [])
