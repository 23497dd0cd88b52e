"""Replay: the log, or a file of it, folded with the live code, with what each event changed and why. Shell.

A file has one JSON document per line, as `events tail -o json` prints them:
`{"offset": 7, "append_ms": 1700000000000, "event": {...}}`, with `garbage` (base64) in the place of `event` for
records that are none of ours.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import to_builtins
from msgspec.structs import asdict

from sdk.contract.codec import DecodeError
from streams.commands import CommandError
from streams.log_source import Entry, entry_of, fold_entry
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
        first = merged.get((change.table, change.key), change)
        merged[change.table, change.key] = change._replace(old=first.old)
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


def entry_document(entry: Entry) -> dict[str, Any]:
    """A record of the log as a document that `read_file` reads back."""
    document: dict[str, Any] = {"offset": entry.offset, "append_ms": entry.append_ms}
    if isinstance(entry.said, DecodeError):
        garbage = None if entry.raw is None else base64.b64encode(entry.raw).decode()
        return document | {"garbage": garbage, "fault": str(entry.said)}
    return document | {"event": msgspec.Raw(entry.raw or b"null")}


class _Line(msgspec.Struct):
    """One line of a file."""

    offset: int
    append_ms: int
    event: msgspec.Raw = msgspec.Raw(b"")
    garbage: str | None = None


def read_file(path: Path) -> Iterator[Entry]:
    """The records in a file.

    Raises:
        CommandError: a line is not a record; the message says which.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                line = msgspec.json.decode(text, type=_Line)
                raw = bytes(line.event) or (
                    None if line.garbage is None else base64.b64decode(line.garbage, validate=True)
                )
            except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error) as error:
                raise CommandError(
                    f"{path}, line {number}: not a record as `events tail -o json` prints them ({error})."
                ) from None
            yield entry_of(line.offset, line.append_ms, raw)
