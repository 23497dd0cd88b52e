"""All topics of an audited platform as they stand on the broker, read to the end and decoded. Shell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from sdk.contract.codec import DecodeError, Recorded, decode_heartbeat, decode_orders, decode_request
from sdk.contract.orders import Orders
from sdk.contract.topics import WIDE_PARTITIONS
from streams.core.letters import DeadLetter, decode_letter
from streams.log_source import Place, entry_of, open_source
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


class Raw(msgspec.Struct, frozen=True):
    """A record as it was read; a line of the dump."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


async def read_records(bootstrap: str, prefix: str) -> list[Raw]:
    """Every record of the topics that are judged."""
    async with open_source(bootstrap, prefix) as source:
        names = source.topics
        found = []
        for topic, partitions in (
            (names.events, 1),
            (names.heartbeats, WIDE_PARTITIONS),
            (names.commands, WIDE_PARTITIONS),
            (names.requests, 1),
            (names.dead_letters, 1),
        ):
            places: list[Place] = [(topic, number) for number in range(partitions)]
            begins, ends = await source.begins(places), await source.ends(places)
            async for records in source.read(begins, ends):
                found += [Raw(topic, r.partition, r.offset, r.timestamp, r.key, r.value) for r in records]
        return found


def decode_topics(records: Iterable[Raw]) -> Topics:
    """The records, decoded and sorted by what they are."""
    found = Topics([], [[] for _ in range(WIDE_PARTITIONS)], {}, [], [], [])
    for record in records:
        take = _TAKES[record.topic.split(".", 1)[1]]
        try:
            take(found, record)
        except (ValueError, RecursionError):
            found.garbage.append((record.topic, record.partition, record.offset))
    return found


def dump_records(records: Iterable[Raw], path: Path) -> None:
    """Write the records, one a line, for whoever looks into a violation."""
    path.write_bytes(b"\n".join(map(msgspec.json.encode, records)))


def load_records(path: Path) -> list[Raw]:
    """The records of a dump."""
    return [msgspec.json.decode(line, type=Raw) for line in path.read_bytes().splitlines()]


def _take_event(found: Topics, record: Raw) -> None:
    entry = entry_of(record.offset, record.timestamp, record.value)
    found.events.append(Event(entry.said, Meta(entry.offset, entry.append_ms), entry.raw))
    if isinstance(entry.said, DecodeError):
        raise entry.said


def _take_heard(found: Topics, record: Raw) -> None:
    heard = Heard(record.offset, record.timestamp, None)
    partition = found.heartbeats[record.partition]
    partition.append(heard)
    partition[-1] = heard._replace(value=decode_heartbeat(record.value))


def _take_orders(found: Topics, record: Raw) -> None:
    reporter = (record.key or b"").decode()
    found.orders[reporter] = decode_orders(reporter, record.value)


def _take_request(found: Topics, record: Raw) -> None:
    found.requests.append(decode_request(record.value).id)


def _take_letter(found: Topics, record: Raw) -> None:
    # What is garbage on this topic nobody writes a letter about.
    with contextlib.suppress(ValueError):
        found.letters.append(decode_letter(record.value))


_TAKES: Final[dict[str, Callable[[Topics, Raw], None]]] = {
    "events.v1": _take_event,
    "heartbeats.v1": _take_heard,
    "commands.v1": _take_orders,
    "requests.v1": _take_request,
    "dead-letters.v1": _take_letter,
}
