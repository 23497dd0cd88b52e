"""Where a fresh watcher begins to read each heartbeat partition. Shell."""

from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.clients import end_offsets

#: How far a watcher without a checkpoint counts back from the partition's last append, ms. Source: DESIGN 7;
#: the silence limit, settling and some.
COUNT_BACK_MS = 30_000
#: Tries to see the last record of each partition before one is read from its end, a fetch each.
_TRIES = 20


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
