"""Recordings read in order: a file of `events export --beats`, by several processes, or the platform's topics. Shell.

1. Memory does not grow with the length: a file is read line by line, Kafka in windows of about `_WINDOW` records.
2. Partitions are independent, so each process of a large file replays some of them; all fold the events.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sdk.contract.codec import DecodeError, decode_heartbeat
from sdk.contract.heartbeats import Heartbeat
from sdk.contract.topics import WIDE_PARTITIONS
from streams.commands import CommandError
from streams.log_files import BEAT_LINE, BeatRecord, decode_line, open_to_read, read_lines
from streams.log_source import Entry, LogSource, Place, ProgressCallback, entry_of, no_progress
from streams.travel.again import Changes
from streams.travel.archive import Archive
from streams.travel.logs import KafkaLog, end_at
from streams.travel.replay import Found, Replay
from tables.state import State

#: A file from this size on is read by as many processes as there are cores: below, to start one costs more. A
#: compressed one holds about fifteen times as much.
_LARGE_BYTES = 16 << 20
_LARGE_ZST_BYTES = 1 << 20
#: Processes at most: each reads the whole file, so more bring less and less.
_PROCESSES_MAX = 4
#: Lines between two looks at how far the file is read.
_LOOK_EVERY = 20_000
#: Records of Kafka held at once: some 30 MiB.
_WINDOW = 50_000
#: How many objects are made before cycles are looked for: records make none.
_GC_THRESHOLD = 100_000

#: How long heartbeats are kept, ms (DESIGN 4), and how far a watcher counts back to know who beats.
_RETAINED_MS, COUNT_BACK_MS = 86_400_000, 30_000
#: Later than anything that was recorded.
_FAR = 1 << 62


class Stretch(NamedTuple):
    """What of a recording is decided again: offsets in the log, or times; all of it if not given."""

    start: int | datetime | None = None
    end: int | datetime | None = None


class Taker:
    """Hands records to a replay, and says when the stretch begins and ends."""

    def __init__(self, replay: Replay, stretch: Stretch) -> None:
        self._replay = replay
        self._begun = False
        start, end = stretch
        self._start, self._end = start, end if isinstance(end, int) else _FAR
        self._start_ms = int(start.timestamp() * 1_000) if isinstance(start, datetime) else _FAR
        self._end_ms = int(end.timestamp() * 1_000) if isinstance(end, datetime) else _FAR

    def event(self, entry: Entry) -> bool:
        """An event; False if the stretch is over."""
        if entry.append_ms > self._end_ms or entry.offset > self._end:
            return False
        if not self._begun and (
            entry.append_ms >= self._start_ms
            or (isinstance(self._start, int) and entry.offset >= self._start)
        ):
            self._begin(entry.append_ms)
        self._replay.event(entry)
        return True

    def beat(self, partition: int, offset: int, append_ms: int, record: Heartbeat | None) -> bool:
        """A heartbeat; False if the stretch is over. Without a beginning it begins with the first."""
        if append_ms > self._end_ms:
            return False
        if not self._begun and (self._start is None or append_ms >= self._start_ms):
            self._begin(append_ms)
        self._replay.beat(partition, offset, append_ms, record)
        return True

    def _begin(self, at_ms: int) -> None:
        self._begun = True
        self._replay.begin(at_ms)


class _FastLine(msgspec.Struct, gc=False):
    """A heartbeat's line, decoded in one pass."""

    partition: int
    offset: int
    append_ms: int
    beat: Heartbeat


#: What it does not take is looked at again, step by step.
_decode_fast = msgspec.json.Decoder(_FastLine).decode


# --- files ---------------------------------------------------------------------------------------------


def replay_file(
    path: Path,
    rules: list[Changes],
    stretch: Stretch,
    progress: ProgressCallback = no_progress,
    *,
    processes: int = 0,
) -> list[Found]:
    """What a replay finds, by group of partitions; as many processes as the size is worth if not given.

    Raises:
        CommandError: the file cannot be read, or holds no heartbeats of the stretch.
    """
    if not processes:
        cores = min(len(os.sched_getaffinity(0)), _PROCESSES_MAX)
        large = _LARGE_ZST_BYTES if path.suffix == ".zst" else _LARGE_BYTES
        processes = cores if path.stat().st_size >= large else 1
    groups = [list(range(first, WIDE_PARTITIONS, processes)) for first in range(processes)]
    with contextlib.ExitStack() as stack:
        others = []
        if processes > 1:
            pool = stack.enter_context(ProcessPoolExecutor(processes - 1, mp_context=get_context("spawn")))
            others = [pool.submit(replay_partitions, path, rules, stretch, group) for group in groups[1:]]
        found = [replay_partitions(path, rules, stretch, groups[0], progress)]
        found += [other.result() for other in others]
    if not sum(each.beats for each in found):
        raise CommandError(
            f"{path} holds no heartbeats of this stretch; `events export --beats` writes them beside the log."
        )
    return found


def replay_partitions(
    path: Path,
    rules: list[Changes],
    stretch: Stretch,
    partitions: list[int],
    progress: ProgressCallback = no_progress,
) -> Found:
    """What a replay of some partitions of a file finds."""
    replay = Replay(rules, partitions=partitions)
    threshold = gc.get_threshold()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        _replay_lines(path, replay, stretch, progress)
    finally:
        gc.set_threshold(*threshold)
    return replay.finish()


def _replay_lines(path: Path, replay: Replay, stretch: Stretch, progress: ProgressCallback) -> None:
    taker, size = Taker(replay, stretch), path.stat().st_size
    others = tuple(
        BEAT_LINE + b"%d," % number for number in range(WIDE_PARTITIONS) if number not in replay.mine
    )
    with open_to_read(path) as (file, raw):
        for number, text in enumerate(read_lines(file, path), start=1):
            if number % _LOOK_EVERY == 0:
                progress(raw.tell(), size)
            if text.startswith(others):
                continue
            try:
                fast = _decode_fast(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                goes_on = _take_line(taker, text, replay, (path, number))
            else:
                goes_on = taker.beat(fast.partition, fast.offset, fast.append_ms, fast.beat)
            if not goes_on:
                break
    progress(size, size)


def _take_line(taker: Taker, text: bytes, replay: Replay, place: tuple[Path, int]) -> bool:
    """Hand on what a line holds that is no heartbeat, or a strange one; False if the stretch is over."""
    if not text.strip():
        return True
    line, raw = decode_line(text, *place)
    if line.partition < 0:
        return taker.event(entry_of(line.offset, line.append_ms, raw))
    if line.partition not in replay.mine:
        return True
    return taker.beat(line.partition, line.offset, line.append_ms, decoded(raw))


def decoded(raw: bytes | None) -> Heartbeat | None:
    """A heartbeat, None for what is none of ours."""
    try:
        return decode_heartbeat(raw)
    except DecodeError:
        return None


# --- Kafka ---------------------------------------------------------------------------------------------


async def replay_kafka(
    archive: Archive,
    log: KafkaLog,
    rules: list[Changes],
    stretch: Stretch,
    progress: ProgressCallback = no_progress,
) -> list[Found]:
    """What a replay of the platform's own topics finds, as far as the heartbeats are retained.

    Raises:
        CommandError: no heartbeats of the stretch are retained.
    """
    from_ms, to_ms = await span_of(log, stretch)
    first, last = await log.offset_at(from_ms), await end_at(log, stretch.end)
    before = await archive.state_at(first)
    state = State()
    state.load(before.all_rows(), offset=before.offset, now_ms=before.now_ms)
    replay = Replay(rules, state=state)
    taker = Taker(replay, stretch)
    async for items in recorded_on(log.source, (first, last), from_ms, to_ms, progress):
        for item in items:
            if isinstance(item, BeatRecord):
                taker.beat(item.partition, item.offset, item.append_ms, decoded(item.raw))
            else:
                taker.event(item)
    if not replay.beats:
        raise CommandError("No heartbeats of this stretch are retained; they are kept for 24 hours.")
    return [replay.finish()]


async def span_of(log: KafkaLog, stretch: Stretch) -> tuple[int, int]:
    """The times between which heartbeats are read: counted back from the beginning as live watchers do."""
    newest_ms, end_ms = time.time_ns() // 1_000_000, _FAR
    start_ms = newest_ms - _RETAINED_MS
    if isinstance(stretch.start, datetime):
        start_ms = int(stretch.start.timestamp() * 1_000)
    elif stretch.start is not None:
        start_ms = await _append_ms(log, stretch.start, newest_ms)
    if isinstance(stretch.end, datetime):
        end_ms = int(stretch.end.timestamp() * 1_000)
    elif stretch.end is not None:
        end_ms = await _append_ms(log, stretch.end, newest_ms)
    return max(start_ms - COUNT_BACK_MS, newest_ms - _RETAINED_MS), min(end_ms, newest_ms)


async def _append_ms(log: KafkaLog, offset: int, otherwise: int) -> int:
    async for entries in log.batches(offset, min(offset + 1, log.end)):
        return entries[0].append_ms
    return otherwise


async def recorded_on(
    source: LogSource,
    events: tuple[int, int],
    from_ms: int,
    to_ms: int,
    progress: ProgressCallback = no_progress,
) -> AsyncIterator[list[Entry | BeatRecord]]:
    """Events between two offsets with the heartbeats between two times, in the order of append times."""
    log: Place = (source.topics.events, 0)
    places: list[Place] = [(source.topics.heartbeats, number) for number in range(WIDE_PARTITIONS)]
    ends = await source.ends(places)
    first = await source.offsets_at(places, from_ms)
    last = await source.offsets_at(places, to_ms + 1)
    at = {place: _known(first[place], ends[place]) for place in places}
    stop = {place: _known(last[place], ends[place]) for place in places}
    at[log], stop[log] = events
    total = done = sum(stop[place] - at[place] for place in at) or 1
    beats = sum(stop[place] - at[place] for place in places)
    step_ms = max(1_000, (to_ms - from_ms) * _WINDOW // max(beats, 1))
    now_ms, left = from_ms, total
    while any(at[place] < stop[place] for place in at):
        now_ms += step_ms
        over = await source.offsets_at(list(at), now_ms)
        until = {place: min(stop[place], _known(over[place], stop[place])) for place in at}
        streams: dict[Place, list[Entry | BeatRecord]] = {}
        async for records in source.read(at, until):
            place = (records[0].topic, records[0].partition)
            streams.setdefault(place, []).extend(_items(place == log, records))
        at = {place: max(at[place], until[place]) for place in at}
        left = sum(stop[place] - at[place] for place in at)
        progress(done - left, total)
        yield list(_merge(streams.values()))


def _known(offset: int | None, otherwise: int) -> int:
    return otherwise if offset is None else offset


def _items(is_log: bool, records: Iterable[Any]) -> Iterator[Entry | BeatRecord]:
    for record in records:
        if is_log:
            yield entry_of(record.offset, record.timestamp, record.value)
        else:
            yield BeatRecord(record.partition, record.offset, record.timestamp, record.value)


def _merge(streams: Iterable[list[Entry | BeatRecord]]) -> Iterator[Entry | BeatRecord]:
    """In the order of append times; a clock that stepped back does not change the order in a partition."""
    for _, _, _, item in heapq.merge(*(_keyed(at, stream) for at, stream in enumerate(streams))):
        yield item


def _keyed(at: int, stream: list[Entry | BeatRecord]) -> Iterator[tuple[int, int, int, Entry | BeatRecord]]:
    newest = 0
    for number, item in enumerate(stream):
        newest = max(newest, item.append_ms)
        yield newest, at, number, item
