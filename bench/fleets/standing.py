"""What stands on the log at the end, whoever wrote it, folded once."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition

from bench.fleets.crowd import Size, create_state
from bench.fleets.judge import Found
from sdk.contract.codec import decode_event
from sdk.contract.events import SourceFellSilent, SourceReturned
from sdk.contract.topics import Topics
from streams.clients import create_reader, end_offsets, start_clients
from tables.fold import Meta, fold


def read_found(bootstrap: str, prefix: str, size: Size) -> tuple[list[Found], int]:
    """The facts about silence that counted, and how many records were dropped: second facts of other watchers."""
    return asyncio.run(_read(bootstrap, prefix, size))


async def _read(bootstrap: str, prefix: str, size: Size) -> tuple[list[Found], int]:
    state, at = create_state(size), TopicPartition(Topics(prefix).events, 0)
    found: list[Found] = []
    dropped = 0
    reader = create_reader(bootstrap)
    await start_clients(reader)
    try:
        reader.assign([at])
        reader.seek(at, 0)
        end = (await end_offsets(reader, [at]))[at]
        while await reader.position(at) < end:
            for record in (await reader.getmany(at, timeout_ms=1_000)).get(at, ()):
                recorded = decode_event(record.value)
                meta = Meta(size.as_of + 1 + record.offset, record.timestamp)
                if not fold(state, recorded, meta).accepted:
                    dropped += 1
                elif isinstance(recorded.event, SourceFellSilent | SourceReturned):
                    returned = isinstance(recorded.event, SourceReturned)
                    found.append(Found(recorded.event.source, returned, record.timestamp))
    finally:
        await reader.stop()
    return found, dropped
