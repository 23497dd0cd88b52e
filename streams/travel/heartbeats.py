"""Recorded heartbeats, read in blocks as somebody asks for them: from Kafka, or from memory. Shell."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sdk.contract import events as e
from sdk.contract.topics import WIDE_PARTITIONS
from streams.log_source import LogSource, Place, open_source
from streams.travel.checker import Checker, Heard

if TYPE_CHECKING:
    from streams.settings import Settings

#: Partition, first and last offset of heartbeats that somebody reads.
Stretch = tuple[int, int, int]
#: Records of one partition read at once: a fetch of a megabyte or less, 10 to 20 s of a partition of 100 nodes.
BLOCK = 1_000
#: Blocks kept: 400,000 records, some 80 MiB.
BLOCKS_MAX = 400


class Heartbeats(Protocol):
    """Heartbeats of the past."""

    #: Kafka's id of their topic, empty if there are none.
    topic_id: str

    @property
    def ends(self) -> Mapping[int, int]:
        """Partition -> the offset after its last record, where that is known."""

    @property
    def beats(self) -> Mapping[int, Mapping[int, Heard]]:
        """Partition -> offset -> record, as far as it was asked for."""

    async def need(self, stretches: Iterable[Stretch]) -> None:
        """Make sure that what is retained of some stretches is in `beats`."""


def cited_by(event: Any, checker: Checker) -> list[Stretch]:
    """The heartbeats that an event rests on, of which the checker has read everything before it."""
    if isinstance(event, e.SourceReturned):
        return [(event.partition, event.offset, event.offset)]
    if isinstance(event, e.SourceFellSilent):
        return [(event.partition, max(event.from_offset, 0), event.until_offset)]
    if isinstance(event, e.NodeDeclaredDown) and event.fence is not None:
        silences = checker.silences.get((event.node, event.registration), ())
        begin = max((beat for _, beat, fell in silences if fell), default=event.fence.offset)
        return [(event.fence.partition, begin + 1, event.fence.offset)]
    places = [getattr(event, "position", None), *(each.measured for each in getattr(event, "ranking", []))]
    return [(at.partition, at.offset, at.offset) for at in places if at is not None]


class HeldHeartbeats:
    """Heartbeats in memory: those of a capsule, or none."""

    def __init__(
        self,
        topic_id: str = "",
        beats: Mapping[int, Mapping[int, Heard]] | None = None,
        ends: Mapping[int, int] | None = None,
    ) -> None:
        self.topic_id = topic_id
        self.ends = ends or {}
        self.beats: Mapping[int, Mapping[int, Heard]] = beats or {}

    async def need(self, stretches: Iterable[Stretch]) -> None:
        """Everything is there already."""


class KafkaHeartbeats:
    """The heartbeats topic of a platform."""

    def __init__(
        self, source: LogSource, topic_id: str, begins: Mapping[int, int], ends: Mapping[int, int]
    ) -> None:
        self.topic_id = topic_id
        #: First offset retained, and the offset after the last, by partition.
        self.begins, self.ends = dict(begins), dict(ends)
        self.beats: dict[int, dict[int, Heard]] = {partition: {} for partition in ends}
        self._source = source
        self._blocks: OrderedDict[tuple[int, int], None] = OrderedDict()

    async def need(self, stretches: Iterable[Stretch]) -> None:
        """Read the blocks that some stretches lie in, unless they are there."""
        wanted = [
            (partition, block)
            for partition, first, last in stretches
            if partition in self.ends
            for block in range(first // BLOCK, min(last, self.ends[partition] - 1) // BLOCK + 1)
        ]
        for key in wanted:
            if key in self._blocks:
                self._blocks.move_to_end(key)
            elif (key[1] + 1) * BLOCK > self.begins[key[0]]:
                await self._fetch(*key)
        while len(self._blocks) > max(BLOCKS_MAX, len(wanted)):
            (partition, block), _ = self._blocks.popitem(last=False)
            for offset in range(block * BLOCK, (block + 1) * BLOCK):
                self.beats[partition].pop(offset, None)

    async def _fetch(self, partition: int, block: int) -> None:
        place: Place = (self._source.topics.heartbeats, partition)
        start = max(block * BLOCK, self.begins[partition])
        end = min((block + 1) * BLOCK, self.ends[partition])
        async for records in self._source.read({place: start}, {place: end}):
            held = self.beats[partition]
            for record in records:
                held[record.offset] = record.timestamp, record.value
        self._blocks[partition, block] = None


@contextlib.asynccontextmanager
async def open_heartbeats(settings: Settings) -> AsyncIterator[KafkaHeartbeats]:
    """The heartbeats of the platform, as far as they are retained.

    Raises:
        CommandError: no Kafka answers, or there is no platform under this prefix.
    """
    from streams.topics import read_topic_ids

    async with open_source(settings.bootstrap, settings.prefix) as source:
        ids = await asyncio.to_thread(read_topic_ids, settings.bootstrap, settings.prefix)
        places: list[Place] = [(source.topics.heartbeats, number) for number in range(WIDE_PARTITIONS)]
        begins, ends = await source.begins(places), await source.ends(places)
        yield KafkaHeartbeats(
            source,
            ids.heartbeats,
            {partition: at for (_, partition), at in begins.items()},
            {partition: at for (_, partition), at in ends.items()},
        )
