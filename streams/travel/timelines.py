"""What happened to one node, app, pool or source: every change of its rows, with how long each lasted. Shell."""

from __future__ import annotations

from typing import NamedTuple

from sdk.contract.codec import DecodeError
from streams.log_source import Entry, ProgressCallback, no_progress
from streams.replaying import COUNTED
from streams.travel.archive import Archive, Version
from streams.travel.logs import TravelLog
from tables.rows import TABLES, AppRow, NodeRow, PoolRow, Row, SourceRow

#: Tables whose keys are ids of things that a person asks about.
_ASKED = ("nodes", "apps", "pools", "sources", "pauses", "bindings", "devices")
_NODE_FLAGS = ("silent", "draining", "emptying", "cordoned", "quarantined", "spare")
_APP_FLAGS = ("silent", "restarting", "moving", "gave_up")
#: Offsets this close are read in one go: a fetch costs as much as decoding so many records.
_TOGETHER = 500


class Moment(NamedTuple):
    """Something that happened to it."""

    entry: Entry
    #: What it was from then on, in words.
    status: str
    #: How long that lasted, ms; to the last record looked at for the newest.
    lasted_ms: int


class Timeline(NamedTuple):
    """All that happened to it in a stretch of the log."""

    moments: list[Moment]
    #: Status -> ms in all.
    in_all_ms: dict[str, int]


async def read_timeline(
    log: TravelLog,
    archive: Archive,
    name: str,
    *,
    start: int,
    end: int,
    progress: ProgressCallback = no_progress,
) -> Timeline:
    """What happened to `name` from `start` to before `end`."""
    await archive.complete(progress)
    places = {(table, name) for table in _ASKED if table in TABLES}
    versions = await _versions(archive, places, start, end, progress)
    entries = await _entries(log, [*dict.fromkeys(version.offset for version in versions)])
    until_ms = (await _entries(log, [end - 1]))[end - 1].append_ms if end else 0
    rows: dict[str, Row] = {}
    statuses: dict[int, str] = {}
    for version in versions:
        if version.row is None:
            rows.pop(version.table, None)
        else:
            rows[version.table] = version.row
        statuses[version.offset] = ", ".join(filter(None, map(status_words, rows.values()))) or "unknown"
    offsets = list(statuses)
    times = [entries[offset].append_ms for offset in offsets] + [until_ms]
    moments = [
        Moment(entries[offset], statuses[offset], max(0, after - at))
        for offset, at, after in zip(offsets, times, times[1:], strict=False)
    ]
    in_all: dict[str, int] = {}
    for moment in moments:
        in_all[moment.status] = in_all.get(moment.status, 0) + moment.lasted_ms
    return Timeline(moments, in_all)


async def _versions(
    archive: Archive, places: set[tuple[str, str]], start: int, end: int, progress: ProgressCallback
) -> list[Version]:
    """Every version of the rows, from chapters on disk and what comes after them."""
    found: list[Version] = []
    done = start // archive.chapter * archive.chapter
    for at in archive.chapter_ends():
        if at <= done:
            continue
        versions = archive.versions(at, places) if at - done == archive.chapter and at <= end else None
        if versions is None:
            break
        found += versions
        done = at
    state = await archive.state_at(done, progress)
    async for batch in archive.fold_on(state, end, progress):
        for entry, changes in batch:
            found += (
                Version(entry.offset, change.table, change.key, change.new)
                for change in changes
                if (change.table, change.key) in places and change.table not in COUNTED
            )
    return [version for version in found if start <= version.offset < end]


async def _entries(log: TravelLog, offsets: list[int]) -> dict[int, Entry]:
    """The records at some offsets, read in as few stretches as that takes."""
    found: dict[int, Entry] = {}
    wanted = set(offsets)
    at = 0
    while at < len(offsets):
        last = at
        while last + 1 < len(offsets) and offsets[last + 1] - offsets[last] < _TOGETHER:
            last += 1
        async for batch in log.batches(offsets[at], offsets[last] + 1):
            found.update((entry.offset, entry) for entry in batch if entry.offset in wanted)
        at = last + 1
    return found


def status_words(row: Row) -> str:
    """What a row says of its subject, in a few words."""
    match row:
        case NodeRow():
            return " ".join([row.status, *(flag for flag in _NODE_FLAGS if getattr(row, flag))])
        case AppRow():
            words: list[str] = [row.phase]
            if row.phase in ("placed", "running", "condemned"):
                words.append(f"on {row.node}")
            if row.standby is not None:
                words.append(f"with a standby on {row.standby.node}")
            flags = (flag.replace("_", "-") for flag in _APP_FLAGS if getattr(row, flag))
            return " ".join([*words, *flags])
        case PoolRow():
            who = "silent" if row.silent else "served" if row.registration else "unserved"
            return f"{who}, wants {row.nodes} nodes" + (", degraded" if row.degraded else "")
        case SourceRow():
            return "silent" if row.silent else "active" if row.seen >= 0 else "expected"
        case _:
            return ""


def event_name(entry: Entry) -> str:
    """The type of the event in an entry, in short."""
    if isinstance(entry.said, DecodeError):
        return "garbage"
    return type(entry.said.event).__name__
