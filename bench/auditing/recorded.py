"""All topics of an audited platform as they stand on the broker, read to the end and decoded. Shell."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from sdk.contract.codec import DecodeError, Recorded, decode_heartbeat, decode_orders, decode_request
from sdk.contract.orders import Orders
from sdk.contract.topics import WIDE_PARTITIONS
from streams.core.letters import DeadLetter, decode_letter
from streams.log_source import LogSource, Place, entry_of, open_source
from tables.fold import Meta


class Event(NamedTuple):
    """A record of the log."""

    said: Recorded | DecodeError
    meta: Meta
    raw: bytes | None


class Heard(NamedTuple):
    """A record of the heartbeats; the value is None if it is garbage."""

    offset: int
    timestamp: int
    value: Any


class Topics(NamedTuple):
    """Everything that the judges read."""

    events: list[Event]
    #: Partition -> records; the one of offset n at n, because nothing is deleted within a day.
    heartbeats: list[list[Heard]]
    #: Newest orders of each node and pool.
    orders: dict[str, Orders]
    #: Ids of the requests that can be read.
    requests: list[str]
    letters: list[DeadLetter]
    #: Where garbage stands: topic, partition, offset.
    garbage: list[Place3]


Place3 = tuple[str, int, int]


async def read_topics(bootstrap: str, prefix: str) -> Topics:
    """Read everything there is."""
    async with open_source(bootstrap, prefix) as source:
        names = source.topics
        found = Topics([], [[] for _ in range(WIDE_PARTITIONS)], {}, [], [], [])
        for topic, partitions, take in (
            (names.events, 1, _take_event),
            (names.heartbeats, WIDE_PARTITIONS, _take_heard),
            (names.commands, WIDE_PARTITIONS, _take_orders),
            (names.requests, 1, _take_request),
            (names.dead_letters, 1, _take_letter),
        ):
            async for record in _all(source, topic, partitions):
                try:
                    take(found, record)
                except (ValueError, RecursionError):
                    found.garbage.append((topic, record.partition, record.offset))
        return found


def _take_event(found: Topics, record: Any) -> None:
    entry = entry_of(record.offset, record.timestamp, record.value)
    found.events.append(Event(entry.said, Meta(entry.offset, entry.append_ms), entry.raw))
    if isinstance(entry.said, DecodeError):
        raise entry.said


def _take_heard(found: Topics, record: Any) -> None:
    heard = Heard(record.offset, record.timestamp, None)
    partition = found.heartbeats[record.partition]
    partition.append(heard)
    partition[-1] = heard._replace(value=decode_heartbeat(record.value))


def _take_orders(found: Topics, record: Any) -> None:
    reporter = (record.key or b"").decode()
    found.orders[reporter] = decode_orders(reporter, record.value)


def _take_request(found: Topics, record: Any) -> None:
    found.requests.append(decode_request(record.value).id)


def _take_letter(found: Topics, record: Any) -> None:
    # What is garbage on this topic nobody writes a letter about.
    with contextlib.suppress(ValueError):
        found.letters.append(decode_letter(record.value))


async def _all(source: LogSource, topic: str, partitions: int) -> Any:
    places: list[Place] = [(topic, number) for number in range(partitions)]
    begins, ends = await source.begins(places), await source.ends(places)
    async for records in source.read(begins, ends):
        for record in records:
            yield record
