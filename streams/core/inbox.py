"""The notifications topic as the leader reads it: what came since becomes one event, at most two a second. Shell.

1. Only the leader reads, from where the fold has read to; an event that another wrote meanwhile moves that place, and
   then what was read is thrown away.
2. One event is under way at a time. It counts only if it begins where the fold has read to, so one that was written
   twice, or by two workers, counts once.
3. A record that is none of ours becomes a dead letter; only when that stands is the record passed over.

`Inbox` waits for nothing and reads nothing itself, so that the simulated worker has the same one; `InboxReader` does.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sdk.contract.ids import derive_id
from sdk.contract.notifications import decode_notification
from streams.clients import create_reader, end_offsets, start_clients
from streams.core import monotonic
from streams.core.appender import Appender
from streams.core.letters import Letters
from streams.core.planning import Planning
from tables.notices import Met, gather
from tables.state import State

_log = logging.getLogger(__name__)

#: Between two events, ms: a flood costs the log two records a second. Source: a person sees no difference.
EVERY_MS = 500
#: An event that was not read back within this time is written again, ms; the same for one that was not acknowledged.
AGAIN_MS = 8_000
FAILED_AGAIN_MS = 1_000
#: While a dead letter is on its way, ms: a turn of the core.
LETTERS_MS = 100
#: Records taken at once: ten floods of one key each, and 50 ms of the core.
BATCH_MAX = 5_000
#: How often a reader that gets nothing asks whether the topic begins or ends elsewhere, s.
BOUNDS_EVERY_S = 10.0
#: How often it is looked whether there is something to read for, s.
LOOK_EVERY_S = 0.05
#: How long the broker may hold a fetch, ms.
_POLL_MS = 500


class _Flight(NamedTuple):
    """An event on its way to the log and back."""

    start: int
    term: int
    again_ms: int


class Inbox:
    """What is to be read, and what becomes of it."""

    def __init__(
        self, *, state: State, planning: Planning, appender: Appender, letters: Letters, topic_id: str
    ) -> None:
        self._state = state
        self._planning = planning
        self._appender = appender
        self._letters = letters
        self._topic_id = topic_id
        self._flight: _Flight | None = None
        self._next_ms = 0

    def due(self, now_ms: int) -> int | None:
        """The offset to read from now; None if this worker does not lead, or has to wait."""
        if not self._planning.leads:
            self._flight = None
            return None
        start, flight = self._start, self._flight
        if flight is not None and (flight.start, flight.term) != (start, self._state.term.term):
            flight = self._flight = None
        if now_ms < self._next_ms or (flight is not None and now_ms < flight.again_ms):
            return None
        return start

    @property
    def _start(self) -> int:
        inbox = self._state.inbox
        return inbox.next_offset if inbox.topic_id == self._topic_id else 0

    def take(self, records: Sequence[Any], *, start: int, begin: int, end: int, now_ms: int) -> None:
        """Write the event about `records`, which were read from `start` on.

        Args:
            records: As Kafka's client gives them, in their order.
            start: What `due` said before they were read.
            begin: The first offset that the topic has.
            end: The offset after its last record.
            now_ms: The shell's clock.
        """
        if self.due(now_ms) != start:
            return
        term = self._state.term.term
        event = gather(
            self._state, self._met(records), term=term, topic_id=self._topic_id, begin=begin, end=end
        )
        if event is None:
            if records:
                self._next_ms = now_ms + LETTERS_MS
            return
        if event.lost:
            _log.warning("%d notifications were cut off before anybody read them", event.lost)
        self._next_ms = now_ms + EVERY_MS
        self._flight = flight = _Flight(start, term, now_ms + AGAIN_MS)
        event_id = derive_id("notifications-read", term, self._topic_id, start, event.to_offset)
        work = self._appender.append([(event_id, event, self._planning.last_id)])
        self._appender.later(work, lambda: self._failed(flight, now_ms))

    def _met(self, records: Sequence[Any]) -> list[Met]:
        met = []
        for record in records:
            try:
                said = decode_notification(record.value)
            except ValueError as error:
                if not self._letters.is_written(self._letters.meet(record, str(error))):
                    break
                said = None
            met.append(Met(record.offset, record.timestamp, said))
        return met

    def _failed(self, flight: _Flight, now_ms: int) -> None:
        """Nobody knows whether it stands: again in a second; twice is harmless."""
        if self._flight is flight:
            self._flight = flight._replace(again_ms=now_ms + FAILED_AGAIN_MS)


class InboxReader:
    """The reader of a worker's inbox."""

    def __init__(self, *, bootstrap: str, topic: str, inbox: Inbox) -> None:
        self._bootstrap = bootstrap
        self._inbox = inbox
        self._at = TopicPartition(topic, 0)
        self._position = -1
        self._bounds_s = 0.0
        #: What was read last: while a dead letter is awaited, or one event had no room for all, it is not read again.
        self._kept: list[Any] = []

    async def run(self) -> None:
        """Read until cancelled."""
        reader: AIOKafkaConsumer | None = None
        try:
            while True:
                start = self._inbox.due(monotonic.now_ms())
                if start is None:
                    await asyncio.sleep(LOOK_EVERY_S)
                    continue
                if reader is None:
                    reader = create_reader(self._bootstrap)
                    await start_clients(reader)
                    reader.assign([self._at])
                await self._read(reader, start)
        finally:
            if reader is not None:
                await reader.stop()

    async def _read(self, reader: AIOKafkaConsumer, start: int) -> None:
        kept = self._kept
        if kept and kept[0].offset <= start <= kept[-1].offset:
            left = [record for record in kept if record.offset >= start]
            end = kept[-1].offset + 1
            self._inbox.take(left, start=start, begin=start, end=end, now_ms=monotonic.now_ms())
            await asyncio.sleep(0)
            return
        if self._position != start:
            reader.seek(self._at, start)
            self._position = start
        batches = await reader.getmany(self._at, timeout_ms=_POLL_MS, max_records=BATCH_MAX)
        records = batches.get(self._at, [])
        begin, end = start, start
        if records:
            end = self._position = records[-1].offset + 1
        loop_s = asyncio.get_running_loop().time()
        is_elsewhere = bool(records) and records[0].offset != start
        if is_elsewhere or (not records and loop_s >= self._bounds_s):
            self._bounds_s = loop_s + BOUNDS_EVERY_S
            try:
                begin = (await reader.beginning_offsets([self._at]))[self._at]
                end = (await end_offsets(reader, [self._at]))[self._at]
            except KafkaError as error:
                _log.debug("the bounds of the notifications topic are unknown: %r", error)
                return
        self._inbox.take(records, start=start, begin=begin, end=end, now_ms=monotonic.now_ms())
        self._kept = [] if is_elsewhere else records
        if is_elsewhere:
            # Whatever comes next is read from where the fold has read to.
            self._position = -1
