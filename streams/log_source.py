"""Short-lived readers of our topics, for the command line and for programs beside it. Shell.

1. One consumer per call: assigned, never subscribed, with explicit positions and ends, so a read is a few
   round trips and leaves nothing behind on the broker.
2. A broker that does not answer within `CONNECT_WITHIN_S` is away: one plain sentence and exit code 5.
3. aiokafka is imported when a reader is opened: `--help` and usage errors do without.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from sdk.contract.codec import DecodeError, Recorded, decode_event
from sdk.contract.topics import Topics, topic_specs
from streams.commands import CANNOT_REACH_KAFKA, UNHEALTHY, CommandError
from tables.fold import Meta, Outcome, fold, fold_garbage
from tables.state import State

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

#: A broker that has not let us in by then is away. Source: a person waits no longer for a plain answer.
CONNECT_WITHIN_S = 3.0
#: A read that brings nothing for so long although the end is not reached has lost its broker: longer than a
#: broker restart after `kill -9` takes to answer again (4.7 s).
STALLED_AFTER_S = 8.0
#: How long the broker may hold a fetch; a read to a known end needs none, so an unlucky one costs this much.
FETCH_WAIT_MS = 10
#: The same for somebody who waits for what comes next; it answers at once when something does.
FOLLOW_WAIT_MS = 500

#: Topic and partition.
Place: TypeAlias = tuple[str, int]
#: Told how far a long read is: done, in all.
ProgressCallback: TypeAlias = Callable[[int, int], None]


class Entry(msgspec.Struct, frozen=True):
    """One record of the log as it was read."""

    offset: int
    #: Append time of the broker, ms UTC.
    append_ms: int
    #: The event, or why it is none of ours.
    said: Recorded | DecodeError
    raw: bytes | None


def no_progress(_done: int, _total: int) -> None:
    """Show nothing."""


def away(bootstrap: str) -> CommandError:
    """The error of a Kafka that does not answer."""
    return CommandError(
        f"No Kafka answers at {bootstrap}; start it with `python cli.py up`, or set KAFKA_BOOTSTRAP_SERVERS.",
        CANNOT_REACH_KAFKA,
    )


class LogSource:
    """A connected reader; `open_source` makes one."""

    def __init__(self, consumer: AIOKafkaConsumer, bootstrap: str, prefix: str) -> None:
        self._consumer = consumer
        self.bootstrap = bootstrap
        self.topics = Topics(prefix)

    async def locate(self) -> None:
        """Learn where the topics are, all at once; left alone, the client asks topic by topic, 0.1 s each.

        Raises:
            CommandError: there is no platform under this prefix.
        """
        names = [spec.name for spec in topic_specs(self.topics.prefix)]
        # First whether they exist: to ask about a missing topic may create it.
        missing = set(names) - await self._answer(self._consumer.topics())
        if self.topics.events in missing:
            raise CommandError(
                f"There is no platform with the prefix `{self.topics.prefix}` on the Kafka at "
                f"{self.bootstrap}; start one with `python cli.py up`."
            )
        if missing:
            raise CommandError(
                f"{', '.join(sorted(missing))} missing on the Kafka at {self.bootstrap}; "
                "`python cli.py up` creates what is missing.",
                UNHEALTHY,
            )
        # `assign` would do the same in the background.
        await self._answer(self._consumer._client.set_topics(names))  # noqa: SLF001  # there is no public way

    async def ends(self, places: list[Place]) -> dict[Place, int]:
        """The offset after the last record of each place, asked in one request."""
        return _by_place(await self._answer(self._consumer.end_offsets(_partitions(places))))

    async def begins(self, places: list[Place]) -> dict[Place, int]:
        """The offset of the first record of each place."""
        return _by_place(await self._answer(self._consumer.beginning_offsets(_partitions(places))))

    async def offsets_at(self, places: list[Place], at_ms: int) -> dict[Place, int | None]:
        """The first offset appended at or after `at_ms`, None where there is none."""
        wanted = dict.fromkeys(_partitions(places), max(0, at_ms))
        found = await self._answer(self._consumer.offsets_for_times(wanted))
        return {(p.topic, p.partition): None if hit is None else hit.offset for p, hit in found.items()}

    async def read(
        self, starts: Mapping[Place, int], ends: Mapping[Place, int], progress: ProgressCallback = no_progress
    ) -> AsyncIterator[list[Any]]:
        """Batches of records of one place each, from `starts` to before `ends`."""
        _assign(self._consumer, {place: at for place, at in starts.items() if at < ends[place]})
        left = {
            partition: ends[partition.topic, partition.partition] for partition in self._consumer.assignment()
        }
        total = sum(ends[place] - at for place, at in starts.items() if at < ends[place])
        last_s, done = time.monotonic(), 0
        while left:
            batches = await self._consumer.getmany(timeout_ms=200)
            for partition, records in batches.items():
                wanted = [record for record in records if record.offset < left.get(partition, -1)]
                done += len(wanted)
                if wanted:
                    yield wanted
            for partition in list(left):
                if await self._consumer.position(partition) >= left[partition]:
                    del left[partition]
                    self._consumer.pause(partition)
            progress(total if not left else min(done, total), total)
            now_s = time.monotonic()
            if batches:
                last_s = now_s
            elif now_s - last_s > STALLED_AFTER_S:
                raise CommandError(f"The Kafka at {self.bootstrap} stopped answering.", CANNOT_REACH_KAFKA)

    async def read_log(
        self, start: int, end: int | None = None, progress: ProgressCallback = no_progress
    ) -> AsyncIterator[Entry]:
        """The log from offset `start` to before `end`; without an end it goes on for ever."""
        place = (self.topics.events, 0)
        if end is not None:
            async for records in self.read({place: start}, {place: end}, progress):
                for record in records:
                    yield entry_of(record.offset, record.timestamp, record.value)
            return
        async for records in self._follow(place, start):
            for record in records:
                yield entry_of(record.offset, record.timestamp, record.value)

    async def _follow(self, place: Place, start: int) -> AsyncIterator[list[Any]]:
        """Batches of records from `start` on, for ever, over a connection of its own that may wait longer."""
        async with _open_consumer(self.bootstrap, wait_ms=FOLLOW_WAIT_MS) as consumer:
            _assign(consumer, {place: start})
            while True:
                for records in (await consumer.getmany(timeout_ms=FOLLOW_WAIT_MS)).values():
                    yield records

    async def _answer(self, question: Any) -> Any:
        from aiokafka.errors import KafkaError

        try:
            return await asyncio.wait_for(question, CONNECT_WITHIN_S)
        except (TimeoutError, KafkaError, OSError):
            raise away(self.bootstrap) from None


@contextlib.asynccontextmanager
async def open_source(bootstrap: str, prefix: str) -> AsyncIterator[LogSource]:
    """A reader of the platform's topics.

    Raises:
        CommandError: no Kafka answers, or there is no platform under this prefix.
    """
    async with _open_consumer(bootstrap, wait_ms=FETCH_WAIT_MS) as consumer:
        source = LogSource(consumer, bootstrap, prefix)
        await source.locate()
        yield source


async def check_reachable(bootstrap: str) -> None:
    """Raise unless a Kafka answers.

    Raises:
        CommandError: none does.
    """
    async with _open_consumer(bootstrap, wait_ms=FETCH_WAIT_MS):
        pass


@contextlib.asynccontextmanager
async def _open_consumer(bootstrap: str, *, wait_ms: int) -> AsyncIterator[AIOKafkaConsumer]:
    from aiokafka import AIOKafkaConsumer
    from aiokafka.errors import KafkaError

    try:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=wait_ms,
            max_partition_fetch_bytes=4 << 20,
            request_timeout_ms=int(CONNECT_WITHIN_S * 1000),
        )
    except (KafkaError, ValueError):
        raise away(bootstrap) from None
    try:
        try:
            await asyncio.wait_for(consumer.start(), CONNECT_WITHIN_S)
        except (TimeoutError, KafkaError, OSError, ValueError):
            raise away(bootstrap) from None
        yield consumer
    finally:
        await consumer.stop()


def _assign(consumer: AIOKafkaConsumer, starts: Mapping[Place, int]) -> None:
    from aiokafka import TopicPartition

    consumer.assign([TopicPartition(*place) for place in starts])
    # Without an await in between, so that nothing asks for a default position first.
    for place, at in starts.items():
        consumer.seek(TopicPartition(*place), at)


def entry_of(offset: int, append_ms: int, raw: bytes | None) -> Entry:
    """A record of the log, decoded."""
    try:
        return Entry(offset, append_ms, decode_event(raw), raw)
    except DecodeError as error:
        return Entry(offset, append_ms, error, raw)


def fold_entry(state: State, entry: Entry) -> Outcome:
    """Fold one record of the log, garbage included."""
    meta = Meta(entry.offset, entry.append_ms)
    if isinstance(entry.said, DecodeError):
        return fold_garbage(state, meta, str(entry.said))
    return fold(state, entry.said, meta)


def _partitions(places: list[Place]) -> list[Any]:
    from aiokafka import TopicPartition

    return [TopicPartition(*place) for place in places]


def _by_place(found: Mapping[Any, int]) -> dict[Place, int]:
    return {(partition.topic, partition.partition): offset for partition, offset in found.items()}
