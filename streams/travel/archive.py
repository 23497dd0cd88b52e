"""The archive: snapshots of the fold and histories of its rows on local disk, so that any moment is near. Shell.

Rules:
1. Everything here was made by the one fold and can be thrown away: what is missing or unreadable is folded again.
2. It belongs to one log (the id of its topic) and one version of the fold; a snapshot past the end of the log belongs
   to a log that was cut. Rows are written with the codec that the worker's own disk uses.
3. The log is cut into chapters of `CHAPTER` records. A chapter's file has the state after its last record and, row by
   row, every version that the chapter made. Files appear whole or not at all, so that two commands may write at once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from streams.log_source import Entry, ProgressCallback, fold_entry, no_progress
from streams.replaying import COUNTED, Change, RecordingState, step
from streams.travel.logs import TravelLog
from tables.fold import FOLD_VERSION
from tables.rows import Row, decode_row, encode_row

_log = logging.getLogger(__name__)

#: Records in a chapter: folding half of one takes a fifth of a second, and a million records make a hundred files.
CHAPTER = 10_000
#: Archives of logs that nobody asked for lately are thrown away beyond so many.
LOGS_MAX = 8
_SUFFIX = ".chapter"


class _Saved(msgspec.Struct, array_like=True):
    """One row as it was at some time: table, key, row as JSON, empty if it was forgotten; offset that made it so."""

    table: str
    key: str
    row: bytes
    offset: int = -1


class _Place(msgspec.Struct, array_like=True):
    """Where the history of one row lies in a chapter's file, counted from the end of its head."""

    table: str
    key: str
    at: int
    length: int


class _Head(msgspec.Struct):
    """What a chapter's file begins with."""

    log_id: str
    fold_version: int
    #: Offset and time of the state after the chapter.
    offset: int
    now_ms: int
    #: Length of the snapshot, which comes first; then the histories.
    snapshot: int
    rows: list[_Place]


class Version(NamedTuple):
    """A row as an event left it."""

    offset: int
    table: str
    key: str
    row: Row | None


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_saved = msgspec.msgpack.Decoder(list[_Saved]).decode
_UNREADABLE = (msgspec.MsgspecError, zstandard.ZstdError, OSError, KeyError, ValueError)


class Archive:
    """The chapters of one log."""

    def __init__(self, root: Path, log: TravelLog, *, chapter: int = CHAPTER) -> None:
        self._log = log
        #: Records in a chapter.
        self.chapter = chapter
        self._folder = root / "travel" / f"{log.log_id}-v{FOLD_VERSION}-{chapter}"
        self._folder.mkdir(parents=True, exist_ok=True)
        # The folder's time says when it was asked for last.
        self._folder.touch()
        _forget_old(root / "travel", keep=self._folder)
        #: Chapters that were read from disk and written to it.
        self.read = self.written = 0

    # --- the state at a moment ----------------------------------------------------------------------

    async def state_at(self, end: int, progress: ProgressCallback = no_progress) -> RecordingState:
        """The state after the record before `end`, from the nearest snapshot on; chapters on the way are kept."""
        state = self._nearest(end)
        if end < (state.offset + 1) // self.chapter * self.chapter + self.chapter:
            # No chapter ends on the way, so nobody wants to know what each record changed.
            async for entries in self._log.batches(state.offset + 1, end, progress):
                for entry in entries:
                    fold_entry(state, entry)
                state.changes.clear()
            return state
        async for _ in self.fold_on(state, end, progress):
            pass
        return state

    async def fold_on(
        self, state: RecordingState, end: int, progress: ProgressCallback = no_progress
    ) -> AsyncIterator[list[tuple[Entry, list[Change]]]]:
        """Fold on to before `end`, batch by batch, with what each record changed; whole chapters are kept."""
        history: list[Version] | None = [] if (state.offset + 1) % self.chapter == 0 else None
        async for entries in self._log.batches(state.offset + 1, end, progress):
            done: list[tuple[Entry, list[Change]]] = []
            for entry in entries:
                changes = step(state, entry).changes
                done.append((entry, changes))
                if history is not None:
                    history += (
                        Version(entry.offset, change.table, change.key, change.new)
                        for change in changes
                        if change.table not in COUNTED
                    )
                if (entry.offset + 1) % self.chapter == 0:
                    if history is not None and not self._path(state.offset + 1).exists():
                        self._write(state, history)
                    history = []
            yield done

    async def complete(self, progress: ProgressCallback = no_progress) -> None:
        """Make every chapter that the log has by now."""
        last = self._log.end // self.chapter * self.chapter
        missing = [end for end in self._ends(last) if not self._path(end).exists()]
        if missing:
            first = min(missing) - self.chapter
            state = self._nearest(first)
            async for _ in self.fold_on(state, last, progress):
                pass

    def _nearest(self, end: int) -> RecordingState:
        """A state at or before `end` from disk, empty if there is none."""
        newest = min(end, self._log.end)
        for at in range(newest // self.chapter * self.chapter, 0, -self.chapter):
            state = self._restore(at)
            if state is not None:
                return state
        return RecordingState()

    def _restore(self, end: int) -> RecordingState | None:
        opened = self._open(end)
        if opened is None:
            return None
        head, body = opened
        state = RecordingState()
        try:
            rows = [
                (saved.table, saved.key, decode_row(saved.table, saved.row))
                for saved in _unpack(body[: head.snapshot])
            ]
            state.load(rows, offset=head.offset, now_ms=head.now_ms)
        except _UNREADABLE as error:
            self._throw_away(end, error)
            return None
        state.changes = []
        self.read += 1
        return state

    # --- versions of rows ---------------------------------------------------------------------------

    def chapter_ends(self) -> list[int]:
        """The offsets after the chapters that are on disk."""
        last = self._log.end // self.chapter * self.chapter
        return [end for end in self._ends(last) if self._path(end).exists()]

    def versions(self, end: int, keys: set[tuple[str, str]]) -> list[Version] | None:
        """What the chapter that ends before `end` made of some rows, in order; None if it cannot be read."""
        opened = self._open(end)
        if opened is None:
            return None
        head, body = opened
        found: list[Version] = []
        try:
            for place in head.rows:
                if (place.table, place.key) in keys:
                    begin = head.snapshot + place.at
                    for saved in _unpack(body[begin : begin + place.length]):
                        row = decode_row(saved.table, saved.row) if saved.row else None
                        found.append(Version(saved.offset, saved.table, saved.key, row))
        except _UNREADABLE as error:
            self._throw_away(end, error)
            return None
        self.read += 1
        return sorted(found, key=lambda version: version.offset)

    # --- files --------------------------------------------------------------------------------------

    def _ends(self, last: int) -> range:
        return range(self.chapter, last + 1, self.chapter)

    def _path(self, end: int) -> Path:
        return self._folder / f"{end:015d}{_SUFFIX}"

    def _write(self, state: RecordingState, history: list[Version]) -> None:
        pack = zstandard.ZstdCompressor(level=1).compress
        rows = [_Saved(table, key, encode_row(row)) for table, key, row in state.all_rows()]
        snapshot = pack(_encode(rows))
        by_row: dict[tuple[str, str], list[_Saved]] = {}
        for offset, table, key, row in history:
            saved = _Saved(table, key, encode_row(row) if row is not None else b"", offset)
            by_row.setdefault((table, key), []).append(saved)
        places, parts, at = [], [], 0
        for (table, key), versions in by_row.items():
            part = pack(_encode(versions))
            places.append(_Place(table, key, at, len(part)))
            parts.append(part)
            at += len(part)
        head = _encode(
            _Head(self._log.log_id, FOLD_VERSION, state.offset, state.now_ms, len(snapshot), places)
        )
        path = self._path(state.offset + 1)
        part_path = path.with_suffix(f".{id(state)}.part")
        part_path.write_bytes(b"".join([len(head).to_bytes(4, "big"), head, snapshot, *parts]))
        part_path.replace(path)
        self.written += 1

    def _open(self, end: int) -> tuple[_Head, memoryview] | None:
        path = self._path(end)
        try:
            raw = memoryview(path.read_bytes())
        except FileNotFoundError:
            return None
        try:
            length = int.from_bytes(raw[:4], "big")
            head = _decode_head(raw[4 : 4 + length])
        except _UNREADABLE as error:
            self._throw_away(end, error)
            return None
        if (head.log_id, head.fold_version, head.offset) != (self._log.log_id, FOLD_VERSION, end - 1):
            self._throw_away(end, "it belongs elsewhere")
            return None
        return head, raw[4 + length :]

    def _throw_away(self, end: int, why: object) -> None:
        _log.warning("chapter before offset %d thrown away (%s): it is folded again", end, why)
        self._path(end).unlink(missing_ok=True)


def _unpack(raw: memoryview) -> list[_Saved]:
    return _decode_saved(zstandard.ZstdDecompressor().decompress(raw))


def _forget_old(travel: Path, *, keep: Path) -> None:
    folders = sorted(
        (each for each in travel.iterdir() if each.is_dir()), key=lambda each: -each.stat().st_mtime
    )
    for folder in folders[LOGS_MAX:]:
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
