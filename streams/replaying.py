"""Replay: the log, or a file of it, folded with the live code, with what each event changed and why. Shell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import to_builtins
from msgspec.structs import asdict

from streams.log_source import Entry, fold_entry
from tables.fold import Outcome
from tables.rows import Row
from tables.state import State

#: Tables that every record touches: shown only on request.
COUNTED = ("counters", "requests")


class Change(NamedTuple):
    """One row that an event changed."""

    table: str
    key: str
    old: Row | None
    new: Row | None


class Step(NamedTuple):
    """One record of the log and what the fold made of it."""

    entry: Entry
    outcome: Outcome
    changes: list[Change]


class RecordingState(State):
    """A state that remembers the rows as they were before they changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    def put(self, table: str, key: str, row: Row) -> None:
        """Set a row; a row that changes is remembered."""
        old = self.tables[table].get(key)
        super().put(table, key, row)
        if old != row:
            self.changes.append(Change(table, key, old, row))

    def drop(self, table: str, key: str) -> None:
        """Remove a row and remember it."""
        old = self.tables[table].get(key)
        super().drop(table, key)
        if old is not None:
            self.changes.append(Change(table, key, old, None))


def step(state: RecordingState, entry: Entry) -> Step:
    """Fold one record and say what it did."""
    state.changes = []
    outcome = fold_entry(state, entry)
    # A row that was put twice changed once: from what it was before to what it is now.
    merged: dict[tuple[str, str], Change] = {}
    for change in state.changes:
        key = change.table, change.key
        first = merged.get(key)
        merged[key] = change if first is None else change._replace(old=first.old)
    return Step(entry, outcome, list(merged.values()))


def field_changes(change: Change) -> Iterator[tuple[str, Any, Any]]:
    """The fields of a row that differ, with the value before and after."""
    old, new = _fields(change.old), _fields(change.new)
    for field in new | old:
        if old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)


def _fields(row: Row | None) -> dict[str, Any]:
    """All fields, those that have their default value too."""
    return {} if row is None else {name: to_builtins(value) for name, value in asdict(row).items()}
