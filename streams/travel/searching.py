"""The first event after which an expression holds: through histories of rows, or by halving over snapshots. Shell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.commands import CommandError
from streams.log_source import ProgressCallback, no_progress
from streams.replaying import RecordingState
from streams.travel.archive import Archive, Version
from tables.expressions import Expression, Place
from tables.rows import TABLES, Row
from tables.state import State


class Found(NamedTuple):
    """Where an expression began to hold."""

    #: Offset of the first event after which it holds; -1 if none was found.
    offset: int
    #: It held already after the record before the stretch.
    held_before: bool = False
    #: Moments that were looked at.
    tried: int = 0


async def find_first(
    archive: Archive,
    expression: Expression,
    *,
    start: int,
    end: int,
    progress: ProgressCallback = no_progress,
) -> Found:
    """The first event from `start` to before `end` after which the expression holds.

    The chapters of the archive are made first where they are missing. Then an expression about rows that it names
    needs nothing but the histories of these rows; one that counts is tried after each event that changed a row.
    """
    await archive.complete(progress)
    state = await archive.state_at(start, progress)
    if expression.holds(state.tables):
        return Found(state.offset, held_before=True, tried=1)
    if expression.places is None:
        return await _find_by_folding(archive, state, expression, end, progress)
    return await _find_in_histories(archive, state, expression, expression.places, start, end, progress)


async def _find_in_histories(
    archive: Archive,
    state: State,
    expression: Expression,
    places: frozenset[Place],
    start: int,
    end: int,
    progress: ProgressCallback,
) -> Found:
    rows = _rows_of(state, places)
    tried = 1
    ends = [at for at in archive.chapter_ends() if start < at]
    done = start
    for number, at in enumerate(ends):
        if done >= end or at - done > archive.chapter:
            break
        versions = archive.versions(at, set(places))
        if versions is None:
            break
        offset, count = _first_of(rows, (v for v in versions if start <= v.offset < end), expression)
        tried += count
        if offset >= 0:
            return Found(offset, tried=tried)
        done = at
        progress(number + 1, len(ends))
    if done >= end:
        return Found(-1, tried=tried)
    # What no chapter has is folded: the tail of the log.
    tail = await archive.state_at(done, progress)
    found = await _find_by_folding(archive, tail, expression, end, progress)
    return found._replace(tried=found.tried + tried)


def _first_of(
    rows: dict[str, dict[str, Row]], versions: Iterable[Version], expression: Expression
) -> tuple[int, int]:
    """The offset of the first version after which the expression holds, -1 if none; and how many were tried."""
    tried = 0
    pending: list[Version] = []
    for version in versions:
        # Rows of one event change together.
        if pending and pending[-1].offset != version.offset:
            tried += 1
            if _apply(rows, pending, expression):
                return pending[-1].offset, tried
            pending = []
        pending.append(version)
    if pending and _apply(rows, pending, expression):
        return pending[-1].offset, tried + 1
    return -1, tried


def _apply(rows: dict[str, dict[str, Row]], versions: list[Version], expression: Expression) -> bool:
    for _, table, key, row in versions:
        if row is None:
            rows[table].pop(key, None)
        else:
            rows[table][key] = row
    return expression.holds(rows)


def _rows_of(state: State, places: frozenset[Place]) -> dict[str, dict[str, Row]]:
    rows: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
    for table, key in places:
        row = state.tables[table].get(key)
        if row is not None:
            rows[table][key] = row
    return rows


async def _find_by_folding(
    archive: Archive, state: RecordingState, expression: Expression, end: int, progress: ProgressCallback
) -> Found:
    tried = 0
    copy: dict[str, dict[str, Row]] = {table: dict(rows) for table, rows in state.tables.items()}
    async for batch in archive.fold_on(state, end, progress):
        for entry, changes in batch:
            if not changes:
                continue
            tried += 1
            versions = [Version(entry.offset, each.table, each.key, each.new) for each in changes]
            if _apply(copy, versions, expression):
                return Found(entry.offset, tried=tried)
    return Found(-1, tried=tried)


async def halve(
    archive: Archive,
    expression: Expression,
    *,
    good: int,
    bad: int,
    progress: ProgressCallback = no_progress,
) -> Found:
    """An event between two offsets after which the expression holds and before which it does not.

    It must not hold after the record `good` and hold after `bad`. Moments are halved over the snapshots until one
    chapter is left, which is folded event by event.

    Raises:
        CommandError: it holds after `good`, or does not after `bad`.
    """
    if good >= bad:
        raise CommandError(f"--good {good} must lie before --bad {bad}.")
    await archive.complete(progress)
    tried = 2
    if expression.holds((await archive.state_at(good + 1, progress)).tables):
        raise CommandError(f"The expression holds after offset {good} already; choose an earlier --good.")
    if not expression.holds((await archive.state_at(bad + 1, progress)).tables):
        raise CommandError(f"The expression does not hold after offset {bad}; choose another --bad.")
    low, high = good + 1, bad + 1
    ends = [at for at in archive.chapter_ends() if low < at < high]
    while ends:
        middle = ends[len(ends) // 2]
        tried += 1
        if expression.holds((await archive.state_at(middle)).tables):
            high, ends = middle, ends[: len(ends) // 2]
        else:
            low, ends = middle, ends[len(ends) // 2 + 1 :]
    state = await archive.state_at(low, progress)
    found = await _find_by_folding(archive, state, expression, high, progress)
    return found._replace(tried=found.tried + tried)
