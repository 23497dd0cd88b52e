"""Two moments compared: rows and fields that differ, with the events that made them differ. Shell."""

from __future__ import annotations

from typing import Any, NamedTuple

from streams.log_source import ProgressCallback, no_progress
from streams.replaying import COUNTED, Change, field_changes
from streams.travel.archive import Archive
from tables.rows import Row


class FieldDifference(NamedTuple):
    """A field of a row that is not what it was."""

    field: str
    old: Any
    new: Any
    #: Offsets of the events that changed it, oldest first, whether or not a later one changed it back.
    offsets: list[int]


class RowDifference(NamedTuple):
    """A row that is not what it was."""

    table: str
    key: str
    #: Whether it was there before, and whether it is there now.
    was: bool
    is_now: bool
    fields: list[FieldDifference]


class _Watched:
    """What is known of one row between the two moments."""

    def __init__(self, first: Row | None) -> None:
        self.first = first
        self.last: Row | None = first
        self.offsets: dict[str, list[int]] = {}


async def compare(
    archive: Archive,
    *,
    start: int,
    end: int,
    counters: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[RowDifference]:
    """What differs between the state before the record `start` and the state before the record `end`."""
    state = await archive.state_at(start, progress)
    watched: dict[tuple[str, str], _Watched] = {}
    async for batch in archive.fold_on(state, end, progress):
        for entry, changes in batch:
            for change in changes:
                if counters or change.table not in COUNTED:
                    _note(watched, change, entry.offset)
    found = [_difference(table, key, seen) for (table, key), seen in sorted(watched.items())]
    return [difference for difference in found if difference.fields]


def _note(watched: dict[tuple[str, str], _Watched], change: Change, offset: int) -> None:
    place = (change.table, change.key)
    if place not in watched:
        watched[place] = _Watched(change.old)
    seen = watched[place]
    seen.last = change.new
    for field, _, _ in field_changes(change):
        seen.offsets.setdefault(field, []).append(offset)


def _difference(table: str, key: str, seen: _Watched) -> RowDifference:
    fields = [
        FieldDifference(field, old, new, seen.offsets.get(field, []))
        for field, old, new in field_changes(Change(table, key, seen.first, seen.last))
    ]
    return RowDifference(table, key, seen.first is not None, seen.last is not None, fields)
