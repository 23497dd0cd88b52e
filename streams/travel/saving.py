"""An incident read from a platform: which records its capsule needs, and where they begin. Shell."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.contract import events as e
from sdk.contract.codec import Recorded
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from streams.commands import NOT_FOUND, CommandError
from streams.log_source import Entry, Place, ProgressCallback, fold_entry, no_progress
from streams.travel.capsules import FORMAT, Capsule, Kept, KeptRow, keep
from streams.travel.checker import Checker
from streams.travel.heartbeats import Stretch, cited_by
from streams.travel.incidents import replay
from tables.fold import FOLD_VERSION
from tables.rows import encode_row
from tables.state import State

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.travel.archive import Archive
    from streams.travel.logs import KafkaLog

#: A log that is no longer than this before the stretch is kept from its beginning: then nothing is taken on trust.
FROM_BEGINNING_MAX = 1_000
#: How far before the stretch heartbeats are read, as a fresh watcher counts back (architecture, section 7).
COUNT_BACK_MS = 30_000


async def make_capsule(
    settings: Settings,
    log: KafkaLog,
    archive: Archive,
    entry: Entry,
    *,
    before_ms: int,
    after_ms: int,
    progress: ProgressCallback = no_progress,
) -> Capsule:
    """The incident around a record of the platform's log.

    Raises:
        CommandError: its heartbeats are not retained any more.
    """
    from streams.topics import read_topic_ids

    start = await log.offset_at(entry.append_ms - before_ms)
    end = max(await log.offset_at(entry.append_ms + after_ms + 1), entry.offset + 1)
    start = min(start, entry.offset)
    is_whole = start <= FROM_BEGINNING_MAX
    state = State() if is_whole else await archive.state_at(start, progress)
    rows = [KeptRow(table, key, encode_row(row).decode()) for table, key, row in state.all_rows()]
    now_ms = state.now_ms
    events: list[Entry] = []
    async for batch in log.batches(0 if is_whole else start, end, progress):
        events += batch
    for each in events:
        if each.offset < start:
            fold_entry(state, each)
    stretch = [each for each in events if each.offset >= start]
    ids = await asyncio.to_thread(read_topic_ids, settings.bootstrap, settings.prefix)
    capsule = Capsule(
        event=entry.offset,
        start=start,
        end=end,
        prefix=settings.prefix,
        events_id=ids.events,
        heartbeats_id=ids.heartbeats,
        versions={"capsule": str(FORMAT), "fold": str(FOLD_VERSION), "python": platform.python_version()},
        policy=msgspec.to_builtins(state.policy),
        policy_offset=state.policy_row.offset,
        now_ms=now_ms,
        rows=[] if is_whole else rows,
        events=[keep(each.offset, each.append_ms, each.raw) for each in events],
        heartbeats=await _read_heartbeats(log, stretch, _cited(events, start), progress),
    )
    return msgspec.structs.replace(capsule, course=replay(capsule).course)


def _cited(events: Iterable[Entry], start: int) -> list[Stretch]:
    """The heartbeats that the records of the stretch rest on."""
    checker = Checker("")
    cited: list[Stretch] = []
    for each in events:
        if each.offset >= start and isinstance(each.said, Recorded):
            cited += cited_by(each.said.event, checker)
        checker.check(each.offset, each.append_ms, each.raw, {})
    return cited


def partitions_concerned(stretch: Iterable[Entry], cited: Iterable[Stretch]) -> list[int]:
    """The heartbeat partitions that the records of a stretch rest on or speak of; all, if the brake is among it."""
    found = {partition for partition, _, _ in cited}
    for entry in stretch:
        if not isinstance(entry.said, Recorded):
            continue
        event: Any = entry.said.event
        if isinstance(event, e.OverdueShareChanged | e.BrakeEngaged | e.BrakeReleased):
            return list(range(WIDE_PARTITIONS))
        names = {getattr(event, field, "") for field in ("node", "pool", "source")}
        found |= {partition_of(name) for name in names if name}
    return sorted(found)


async def _read_heartbeats(
    log: KafkaLog, stretch: list[Entry], cited: list[Stretch], progress: ProgressCallback
) -> dict[int, list[Kept]]:
    """The records of the partitions concerned, from a fresh watcher's beginning or the first one cited."""
    source, topic = log.source, log.source.topics.heartbeats
    places: list[Place] = [(topic, number) for number in partitions_concerned(stretch, cited)]
    if not places:
        return {}
    retained, ends = await source.begins(places), await source.ends(places)
    firsts = await source.offsets_at(places, stretch[0].append_ms - COUNT_BACK_MS)
    lasts = await source.offsets_at(places, stretch[-1].append_ms + 1)
    starts, stops = {}, {}
    for place in places:
        rests_on = [first for partition, first, _ in cited if partition == place[1]]
        until = [last + 1 for partition, _, last in cited if partition == place[1]]
        first, last = firsts[place], lasts[place]
        starts[place] = max(
            min([ends[place] if first is None else first, *rests_on], default=0), retained[place]
        )
        stops[place] = min(max([ends[place] if last is None else last, *until]), ends[place])
        if rests_on and min(rests_on) < retained[place] and max(until) <= retained[place]:
            raise CommandError(
                f"The heartbeats around event {stretch[0].offset} are not retained any more: partition "
                f"{place[1]} begins at offset {retained[place]}, and {max(until) - 1} is needed. "
                "A capsule is saved within a day.",
                NOT_FOUND,
            )
    heard: dict[int, list[Kept]] = {number: [] for _, number in places}
    async for records in source.read(starts, stops, progress):
        for record in records:
            heard[record.partition].append(keep(record.offset, record.timestamp, record.value))
    return heard
