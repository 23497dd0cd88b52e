"""The heartbeats as a worker reads them: where it begins in each partition, and every record from there on. Shell."""

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from sdk.contract.heartbeats import Tick
from sdk.contract.topics import WIDE_PARTITIONS
from streams.clients import create_reader, end_offsets, start_clients
from streams.core.batches import append_ms_of, as_record, read_batches
from streams.core.letters import Letters
from streams.core.snapshots import Snapshots
from tables.beats import apply_stretch
from tables.silence import PartitionWatch
from tables.watcher import Watcher

#: How far a watcher without a checkpoint counts back from the partition's last append, ms. Source: DESIGN 7;
#: the silence limit, settling and some.
COUNT_BACK_MS = 30_000
#: Tries to see the last record of each partition before one is read from its end, a fetch each.
_TRIES = 20
#: Batches of one fetch, each of one record or of thousands.
BATCH_MAX = 1_000
#: The loop is held no longer than this by records, s, which is looked at each so many records: a thousand full reports
#: take 40 ms, a tick of ours or an answer of the broker must not wait that long. So many take 5 ms at most.
HOLD_S = 0.010
STRETCH = 128
#: A fetch that brought so many records is followed by a pause, s, in which more gather: each fetch and each turn costs
#: a millisecond or two, as much as some hundred records. A platform of a few nodes brings fewer and is never kept
#: waiting; of the 400 ms that detection may add it takes an eighth.
BUSY = 32
REST_S = 0.050
#: One that brought so many is not: it catches up, and has enough to do.
FULL = 4_096


class Begin(NamedTuple):
    """Offsets between which a fresh watcher catches up."""

    back: int
    end: int


async def find_begin(
    reader: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> dict[TopicPartition, Begin]:
    """For each partition, where to begin: `COUNT_BACK_MS` before its last append, or its end if it is empty."""
    ends = await end_offsets(reader, partitions)
    firsts = await reader.beginning_offsets(partitions)
    last_ms = await _last_appends(reader, {at: end for at, end in ends.items() if end > firsts[at]})
    times = {at: ms - COUNT_BACK_MS for at, ms in last_ms.items()}
    found = await reader.offsets_for_times(times) if times else {}
    begins = {}
    for at in partitions:
        hit = found.get(at)
        begins[at] = Begin(hit.offset if hit is not None else ends[at], ends[at])
    return begins


async def _last_appends(
    reader: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Append time (ms) of the last record of each partition."""
    waiting = set(ends)
    seen: dict[TopicPartition, int] = {}
    for at, end in ends.items():
        reader.seek(at, end - 1)
    for _ in range(_TRIES):
        if not waiting:
            break
        for at, records in (await reader.getmany(*waiting, timeout_ms=500)).items():
            seen[at] = records[-1].timestamp
            waiting.discard(at)
    return seen


class Hearing:
    """The reader of the heartbeat partitions: of all of them, or of those that are this worker's (tables.shares)."""

    def __init__(
        self,
        *,
        bootstrap: str,
        topic: str,
        watcher: Watcher,
        snapshots: Snapshots,
        letters: Letters,
        hear_tick: Callable[[int, Tick], None],
        wake: Callable[[], None],
        partitions: Iterable[int] = range(WIDE_PARTITIONS),
    ) -> None:
        self._bootstrap = bootstrap
        self._partitions = [TopicPartition(topic, number) for number in partitions]
        self._watcher = watcher
        self._snapshots = snapshots
        self._letters = letters
        self._hear_tick = hear_tick
        self._wake = wake
        #: Until when records may hold the loop, all partitions of a fetch together.
        self._until_s = 0.0

    async def run(self) -> None:
        """Read from the checkpoints on, or counted back, until cancelled."""
        begins = await self._find_begins()
        reader = create_reader(self._bootstrap)
        await start_clients(reader)
        reader.assign(self._partitions)
        try:
            self._begin(reader, begins)
            read_batches(reader)
            while True:
                batches = await reader.getmany(timeout_ms=1_000, max_records=BATCH_MAX)
                count, self._until_s = 0, time.monotonic() + HOLD_S
                for at, of_partition in batches.items():
                    count += await self._hear(at, of_partition)
                if batches:
                    self._wake()
                    await asyncio.sleep(REST_S if BUSY <= count < FULL else 0)
        finally:
            await reader.stop()

    async def _find_begins(self) -> dict[TopicPartition, Begin]:
        # By a reader of its own: it leaves a fetch under way from the end, which the broker holds for `FETCH_WAIT_MS`,
        # and one reader has one fetch at a time.
        finder = create_reader(self._bootstrap)
        await start_clients(finder)
        finder.assign(self._partitions)
        try:
            return await find_begin(finder, self._partitions)
        finally:
            await finder.stop()

    def _begin(self, reader: AIOKafkaConsumer, begins: dict[TopicPartition, Begin]) -> None:
        policy, name_of = self._watcher.policy, self._watcher.name_of
        for at, begin in begins.items():
            watch = self._snapshots.load_watch(at.partition, policy, name_of=name_of)
            if watch is None or not begin.back <= watch.next_offset <= begin.end:
                watch = PartitionWatch(at.partition, begin=begin.back, name_of=name_of)
            self._watcher.begin(watch)
            reader.seek(at, watch.next_offset)

    async def _hear(self, at: TopicPartition, batches: list[Any]) -> int:
        """Apply batches; return how many records they had."""
        # A million sources come through here: no call that a record does not need.
        partition, watcher = at.partition, self._watcher
        watch, count = watcher.watches[partition], 0
        for batch in batches:
            append_ms, records = append_ms_of(batch), chain(batch)
            while stretch := list(islice(records, STRETCH)):
                count += len(stretch)
                left, policy = iter(stretch), watcher.policy
                while met := apply_stretch(watch, left, append_ms, policy):
                    record, what = met
                    if isinstance(what, Tick):
                        self._hear_tick(partition, what)
                    else:
                        self._letters.meet(as_record(at, record), str(what))
                if time.monotonic() >= self._until_s:
                    # A turn between two records sees the partition as it was read up to the first: no more is
                    # concluded.
                    self._wake()
                    await asyncio.sleep(0)
                    self._until_s = time.monotonic() + HOLD_S
        return count
