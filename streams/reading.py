"""State as people and programs read it: the published view and the tail of the log on top. Shell.

1. What is read is exact as of the end of the log, with every worker down too: rows of the view count only
   as far as `progress` covers every one of them, and the rest is folded from the log itself.
2. The machine's clock is compared with append times only to say how long ago the last tick was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from sdk.contract.codec import DecodeError, decode_heartbeat
from sdk.contract.heartbeats import Beat, Heartbeat, Tick
from sdk.contract.topics import VIEW_TABLES, WIDE_PARTITIONS
from streams.log_source import Entry, LogSource, Place, ProgressCallback, fold_entry, no_progress, open_source
from tables.rows import Row
from tables.state import State
from tables.views import PROGRESS_KEY, ViewKey, decode_progress, decode_view

#: How long a view that is ahead of its progress is read again before the whole log is folded instead, s.
VIEW_WITHIN_S = 1.0
#: Records read back per heartbeat partition to find the last tick: a few seconds of ticks and reports.
_TAIL_RECORDS = 20
#: Nobody watches if the last tick is older, ms: twelve ticks.
UNWATCHED_AFTER_MS = 3_000

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Reading(msgspec.Struct, frozen=True):
    """The platform as of the end of the log."""

    state: State
    #: How far the published view was complete, -1 without one.
    progress: int
    #: The offset after the last record of the log when it was read.
    end: int
    #: Append time of the newest tick seen; None if the records read back held none.
    last_tick_ms: int | None
    #: Records of the state topics that are no rows.
    skipped: int
    #: Append time of the oldest heartbeat read back: without a tick, nobody has watched since before then.
    oldest_beat_ms: int | None = None


class Views:
    """The newest row under each key of the state topics, and how far they are complete."""

    def __init__(self) -> None:
        self.rows: dict[ViewKey, bytes | None] = {}
        self.progress = -1
        #: Records without a usable key or progress, and keys whose newest row is unreadable.
        self._garbled = 0
        self._unreadable = 0
        #: Where reading goes on.
        self.starts: dict[Place, int] = {}

    def apply(self, table: str, key: bytes | None, value: bytes | None) -> None:
        """Take one record of a state topic; the newest under a key counts."""
        try:
            view = ViewKey(table, (key or b"").decode())
            if view == ViewKey("platform", PROGRESS_KEY):
                self.progress = decode_progress(value or b"")
            else:
                self.rows[view] = value
        except _UNREADABLE:
            self._garbled += 1

    @property
    def skipped(self) -> int:
        """Records that are no rows of anybody, as far as they were decoded."""
        return self._garbled + self._unreadable

    def decode(self) -> tuple[list[tuple[str, str, Row]], int]:
        """Rows to load into a state, oldest request first, and their largest `as_of`."""
        found: list[tuple[str, str, Row]] = []
        newest = -1
        self._unreadable = 0
        for view, value in self.rows.items():
            try:
                decoded = None if value is None else decode_view(value)
            except _UNREADABLE:
                self._unreadable += 1
                continue
            if decoded is None:
                continue
            as_of, table, row = decoded
            newest = max(newest, as_of)
            found.append((table, view.key.partition("/")[2] if view.table == "platform" else view.key, row))
        return sorted(found, key=lambda row: getattr(row[2], "offset", 0)), newest


async def read_platform(bootstrap: str, prefix: str, progress: ProgressCallback = no_progress) -> Reading:
    """The state as of the end of the log.

    Raises:
        CommandError: no Kafka answers, or there is no platform.
    """
    async with open_source(bootstrap, prefix) as source:
        return await read_from(source, progress)


async def read_from(source: LogSource, progress: ProgressCallback = no_progress) -> Reading:
    """The same, over a reader that is open."""
    views = Views()
    ticks = await read_views(source, views, with_beats=True)
    rows, newest = views.decode()
    deadline_s = time.monotonic() + VIEW_WITHIN_S
    while newest > views.progress >= 0 and time.monotonic() < deadline_s:
        await asyncio.sleep(0.05)
        await read_views(source, views)
        rows, newest = views.decode()
    log: Place = (source.topics.events, 0)
    end = (await source.ends([log]))[log]
    state = State()
    if 0 <= views.progress < end and newest <= views.progress:
        await _fold_on_top(source, state, rows, views.progress, end)
    else:
        async for entry in source.read_log(0, end, progress):
            fold_entry(state, entry)
    return Reading(
        state=state,
        progress=views.progress,
        end=end,
        last_tick_ms=max((at for at, record in ticks if isinstance(record, Tick)), default=None),
        skipped=views.skipped,
        oldest_beat_ms=min((at for at, _ in ticks), default=None),
    )


async def _fold_on_top(
    source: LogSource, state: State, rows: list[tuple[str, str, Row]], progress: int, end: int
) -> None:
    """Load the view and fold what it does not cover; the record at `progress` itself tells the time."""
    loaded = False
    async for entry in source.read_log(progress, end):
        if not loaded:
            state.load(rows, offset=progress, now_ms=entry.append_ms)
            loaded = True
        fold_entry(state, entry)


async def read_views(
    source: LogSource, views: Views, *, with_beats: bool = False
) -> list[tuple[int, Heartbeat]]:
    """Bring `views` up to the ends of the state topics; also the last heartbeats if asked.

    The end of the platform topic, where `progress` stands, is asked first: every row that it covers lies
    before the ends of the other topics that are asked later.
    """
    names = {source.topics.state(table): table for table in VIEW_TABLES}
    platform: Place = (source.topics.state("platform"), 0)
    ends = await source.ends([platform])
    places: list[Place] = [(name, 0) for name in names if name != platform[0]]
    if with_beats:
        places += [(source.topics.heartbeats, partition) for partition in range(WIDE_PARTITIONS)]
    ends |= await source.ends(places)
    starts = {
        place: max(0, end - _TAIL_RECORDS) if place[0] not in names else views.starts.get(place, 0)
        for place, end in ends.items()
    }
    beats: list[tuple[int, Heartbeat]] = []
    async for records in source.read(starts, ends):
        table = names.get(records[0].topic)
        for record in records:
            if table is not None:
                views.apply(table, record.key, record.value)
                continue
            beats += _beat_of(record.timestamp, record.value)
    views.starts = {place: end for place, end in ends.items() if place[0] in names}
    return beats


def _beat_of(append_ms: int, value: bytes | None) -> list[tuple[int, Heartbeat]]:
    try:
        return [(append_ms, decode_heartbeat(value))]
    except DecodeError:
        return []


class Heard(msgspec.Struct, frozen=True):
    """Who was heard in the last stretch of the heartbeats, by append time (ms)."""

    #: Reporters and lone sources.
    sources: dict[str, int]
    #: Writers of ticks.
    tickers: dict[str, int]

    @property
    def last_tick_ms(self) -> int | None:
        """The newest tick, None if there was none."""
        return max(self.tickers.values(), default=None)


async def read_heard(source: LogSource, window_ms: int) -> Heard:
    """Who was heard within `window_ms` before the newest heartbeat of all."""
    places: list[Place] = [(source.topics.heartbeats, partition) for partition in range(WIDE_PARTITIONS)]
    ends = await source.ends(places)
    newest = 0
    async for records in source.read({place: max(0, ends[place] - 1) for place in places}, ends):
        newest = max(newest, records[-1].timestamp)
    found = await source.offsets_at(places, newest - window_ms)
    starts = {place: ends[place] if (at := found[place]) is None else at for place in places}
    heard = Heard({}, {})
    async for records in source.read(starts, ends):
        for at, beat in (pair for record in records for pair in _beat_of(record.timestamp, record.value)):
            if isinstance(beat, Tick):
                heard.tickers[beat.writer] = max(at, heard.tickers.get(beat.writer, 0))
            else:
                name = beat.source if isinstance(beat, Beat) else beat.reporter
                heard.sources[name] = max(at, heard.sources.get(name, 0))
    return heard


async def fold_log(
    bootstrap: str,
    prefix: str,
    *,
    until_offset: int | None = None,
    until_ms: int | None = None,
    progress: ProgressCallback = no_progress,
) -> State:
    """The state folded from the start of the log, up to and with an offset or an append time.

    Raises:
        CommandError: no Kafka answers, or there is no platform.
    """
    state = State()
    async with open_source(bootstrap, prefix) as source:
        log: Place = (source.topics.events, 0)
        end = (await source.ends([log]))[log]
        if until_offset is not None:
            end = min(end, until_offset + 1)
        async for entry in source.read_log(0, end, progress):
            if until_ms is not None and entry.append_ms > until_ms:
                break
            fold_entry(state, entry)
    return state


async def events(
    bootstrap: str, prefix: str, *, start: int = 0, end: int | None = None, follow: bool = False
) -> AsyncIterator[Entry]:
    """The log from `start` to before `end` (its end now if None), and on from there if asked to follow.

    Raises:
        CommandError: no Kafka answers, or there is no platform.
    """
    async with open_source(bootstrap, prefix) as source:
        if end is None and not follow:
            log: Place = (source.topics.events, 0)
            end = (await source.ends([log]))[log]
        async for entry in source.read_log(start, end):
            yield entry
