"""Which partitions a worker reads, and what its watcher says of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from aiokafka import AIOKafkaProducer, TopicPartition

from sdk.contract.topics import WIDE_PARTITIONS, Topics
from streams.core.appender import Appender
from streams.core.heartbeats import Hearing, find_begin
from streams.core.letters import Letters
from streams.core.snapshots import Snapshots
from tables.shares import share_out
from tables.state import State
from tables.watcher import Watcher

_TOPICS = Topics("hearing")


class _EmptyTopic:
    """A reader of a topic in which nothing stands."""

    def __init__(self) -> None:
        self.sought: dict[int, int] = {}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.sought[at.partition] = offset


async def _begin(folder: Path, **options: Any) -> tuple[Watcher, _EmptyTopic]:
    watcher, reader, snapshots = Watcher(State()), _EmptyTopic(), Snapshots(folder / "core")
    appender = Appender(cast("AIOKafkaProducer", None), _TOPICS, "worker/test/1")
    hearing = Hearing(
        bootstrap="127.0.0.1:1",
        topic=_TOPICS.heartbeats,
        watcher=watcher,
        snapshots=snapshots,
        letters=Letters(appender, _TOPICS),
        hear_tick=lambda _partition, _tick: None,
        wake=lambda: None,
        **options,
    )
    empty = cast("Any", reader)
    hearing._begin(empty, await find_begin(empty, hearing._partitions))
    snapshots.close()
    watcher.fresh_at_ms = dict.fromkeys(watcher.watches, watcher.now_ms)
    return watcher, reader


def test_worker_reads_every_partition_unless_told_otherwise(tmp_path: Path) -> None:
    """And is fresh everywhere once each was read to its end."""
    watcher, reader = asyncio.run(_begin(tmp_path))

    assert set(watcher.watches) == set(reader.sought) == set(range(WIDE_PARTITIONS))
    assert watcher.is_fresh_everywhere()


def test_worker_with_a_share_reads_that_and_says_nothing_of_all(tmp_path: Path) -> None:
    """Of its own partitions it knows; of the share of overdue nodes among all it does not."""
    share = share_out(["worker/a", "worker/b", "worker/c"])["worker/a"]
    watcher, reader = asyncio.run(_begin(tmp_path, partitions=share))

    assert sorted(watcher.watches) == sorted(reader.sought) == share
    assert 0 < len(share) < WIDE_PARTITIONS
    assert all(watcher.is_fresh(partition) == (partition in share) for partition in range(WIDE_PARTITIONS))
    assert not watcher.is_fresh_everywhere()
    assert watcher.count_overdue() is None
