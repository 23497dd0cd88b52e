"""The core's own disk: rows of the fold and the watcher's checkpoints, each with the offset they belong to. Shell.

Rules:
1. Rows and their offset are written in one atomic batch, so a crash between two steps leaves the older state
   whole. Everything here can be thrown away: it comes back from Kafka.
2. It belongs to one log: another topic id, an older fold, or an offset past the end of the log, and it is
   thrown away and folded again.
"""

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import msgspec
from rocksdict import AccessType, Options, Rdict, WriteBatch

from sdk.contract.policy import Policy
from streams.core.letters import DeadLetter
from tables.fold import FOLD_VERSION
from tables.heard import decode_checkpoint, encode_checkpoint
from tables.rows import Row, decode_row, encode_row
from tables.silence import PartitionWatch
from tables.state import Key, State

_log = logging.getLogger(__name__)

#: RocksDB's buffers: a fold has few rows, and a worker keeps several databases.
_WRITE_BUFFER_BYTES = 4 << 20
#: Saves until each partition has had its turn, one a second. Source: half of the 30 s that a fresh watcher counts
#: back; more would make a checkpoint worthless, less makes saving a larger part of what a watch costs.
SAVE_ALL_WITHIN = 16
_SEPARATOR = b"\0"
_HEAD = b"head"
_LETTERS = b"letters"


class Head(msgspec.Struct, frozen=True):
    """What the rows belong to."""

    topic_id: str
    fold_version: int
    offset: int
    now_ms: int


class Turns:
    """Whose checkpoint is due: a few partitions a second, so that no save holds the loop for long.

    A checkpoint that is some seconds old only makes the next start read as much more; one older than what a fresh
    watcher reads back is of no use.
    """

    def __init__(self) -> None:
        self._next = 0

    def take(self, watches: Iterable[PartitionWatch]) -> list[PartitionWatch]:
        """The partitions that are saved this time: all are within `SAVE_ALL_WITHIN` times."""
        ordered = sorted(watches, key=lambda watch: watch.partition)
        if not ordered:
            return []
        turn, self._next = self._next, (self._next + 1) % SAVE_ALL_WITHIN
        begin, end = (len(ordered) * it // SAVE_ALL_WITHIN for it in (turn, turn + 1))
        return ordered[begin:end]


class Snapshots:
    """One RocksDB folder, owned by one worker process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._open()

    def _open(self) -> Rdict:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        options.set_keep_log_file_num(2)
        options.set_max_open_files(64)
        return Rdict(str(self._folder), options=options, access_type=AccessType.read_write())

    def restore(self, state: State, *, topic_id: str, log_end: int) -> str:
        """Fill `state` from disk if what is there belongs to this log; say what was done, for people."""
        raw = self._db.get(_HEAD)
        if raw is None:
            return "nothing on disk: folding the log from its start"
        try:
            head = msgspec.json.decode(raw, type=Head)
            fault = _misfit(head, topic_id=topic_id, log_end=log_end)
            rows = [] if fault else list(self._rows())
        except (msgspec.MsgspecError, KeyError, ValueError) as error:
            fault, rows, head = f"unreadable ({error})", [], Head("", 0, -1, 0)
        if fault:
            self.clear()
            return f"state on disk thrown away, {fault}: folding the log from its start"
        state.load(rows, offset=head.offset, now_ms=head.now_ms)
        return f"{len(rows)} rows as of offset {head.offset} from disk"

    def _rows(self) -> Iterable[tuple[str, str, Row]]:
        found = []
        for key, value in cast("Iterable[tuple[bytes, bytes]]", self._db.items()):
            kind, _, rest = key.partition(_SEPARATOR)
            if kind == b"row":
                table, _, name = rest.decode().partition("\0")
                found.append((table, name, decode_row(table, value)))
        # Requests are forgotten in the order in which they came.
        return sorted(found, key=lambda row: getattr(row[2], "offset", 0))

    def save(
        self,
        state: State,
        changed: set[Key],
        watches: Iterable[PartitionWatch],
        letters: list[DeadLetter],
        *,
        topic_id: str,
    ) -> None:
        """Write the rows that changed, the offset, checkpoints and letters in one batch."""
        batch = WriteBatch(raw_mode=True)
        for table, name in changed:
            key = _SEPARATOR.join((b"row", table.encode(), name.encode()))
            row = state.tables[table].get(name)
            if row is None:
                batch.delete(key)
            else:
                batch.put(key, encode_row(row))
        head = Head(topic_id, FOLD_VERSION, state.offset, state.now_ms)
        batch.put(_HEAD, msgspec.json.encode(head))
        batch.put(_LETTERS, msgspec.json.encode(letters))
        for watch in watches:
            batch.put(_watch_key(watch.partition), encode_checkpoint(watch.dump()))
        self._db.write(batch)

    def load_letters(self) -> list[DeadLetter]:
        """Dead letters that were not written yet."""
        raw = self._db.get(_LETTERS)
        try:
            return [] if raw is None else msgspec.json.decode(raw, type=list[DeadLetter])
        except msgspec.MsgspecError as error:
            _log.warning("saved dead letters are unreadable (%s)", error)
            return []

    def load_watch(
        self, partition: int, policy: Policy, *, name_of: Callable[[str], str] = str
    ) -> PartitionWatch | None:
        """The checkpoint of a heartbeat partition, if there is one that can be read."""
        raw = self._db.get(_watch_key(partition))
        if raw is None:
            return None
        try:
            return PartitionWatch.load(decode_checkpoint(raw), policy, name_of=name_of)
        except msgspec.MsgspecError as error:
            _log.warning(
                "checkpoint of heartbeat partition %d is unreadable (%s): counting back", partition, error
            )
            return None

    def clear(self) -> None:
        """Throw everything away."""
        self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._db = self._open()

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def _watch_key(partition: int) -> bytes:
    return _SEPARATOR.join((b"watch", str(partition).encode()))


def _misfit(head: Head, *, topic_id: str, log_end: int) -> str:
    if head.topic_id != topic_id:
        return "it belongs to another log"
    if head.fold_version != FOLD_VERSION:
        return f"it was folded by version {head.fold_version}"
    if head.offset >= log_end:
        return f"it is ahead of the log (offset {head.offset}, end {log_end})"
    return ""
