"""A capsule: one incident as one file, with everything that its replay needs. Shell.

1. A file holds two lines of JSON, compressed with zstd: a seal (format, SHA-256 of the second line), and the incident.
   Whatever was changed in between is found before anything is replayed.
2. Inside are the records as bytes (as text in Latin-1, which loses none), never what was made of them; what was found
   when it was saved stands beside them, so that a later replay has something to agree with.
"""

from __future__ import annotations

import hashlib
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import msgspec

from streams.commands import USAGE, CommandError
from tables.rows import decode_row

#: Format of the file; a reader knows this one and those before it.
FORMAT = 1
#: zstd at its slower end: a capsule is written once and kept for years.
_LEVEL = 19
#: A capsule of more than this, unpacked, is none of ours: 24 h of heartbeats of 100 nodes fit, in bytes.
_UNPACKED_MAX = 2 << 30


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """A record of the log or of a heartbeat partition."""

    offset: int
    append_ms: int
    #: Its bytes in Latin-1; None if it has no value.
    value: str | None

    @property
    def raw(self) -> bytes | None:
        """The bytes as they stood on the topic."""
        return None if self.value is None else self.value.encode("latin-1")

    def check(self) -> None:
        """Raise UnicodeEncodeError unless its value stands for bytes."""
        _ = self.raw


class KeptRow(msgspec.Struct, array_like=True, frozen=True):
    """A row of the fold: table, key, JSON."""

    table: str
    key: str
    row: str


class FoundFact(msgspec.Struct, array_like=True, frozen=True):
    """A fact that the watcher found, and how far the log was folded then."""

    event_id: str
    kind: str
    #: Offset folded when it was found.
    folded: int
    #: The heartbeat after which it was found; -1, -1 if a record of the log showed it.
    partition: int = -1
    offset: int = -1


class Course(msgspec.Struct, frozen=True):
    """What a replay found."""

    #: Hash of the fold after each record of the stretch, all rows but the counters', the first 16 digits.
    hashes: list[str] = []
    #: Offsets of records that the fold dropped.
    dropped: list[int] = []
    #: Facts in the order in which the watcher found them.
    found: list[FoundFact] = []
    #: Offsets of facts that count in the log and that the watcher did not find before.
    missed: list[int] = []
    #: Ids of facts that the watcher found and that the log has not.
    unwritten: list[str] = []


class Capsule(msgspec.Struct, frozen=True):
    """One incident."""

    #: Offset of the event that it is about.
    event: int
    #: First offset of the stretch, and the offset after the last.
    start: int
    end: int
    prefix: str
    #: Kafka's ids of the two topics.
    events_id: str
    heartbeats_id: str
    #: What it was made with: fold, Python.
    versions: dict[str, str]
    #: The policy in force at the start, and the offset that it came with.
    policy: dict[str, Any]
    policy_offset: int
    #: State before the first of `events`: its time, and its rows; none if `events` begin at offset 0.
    now_ms: int
    rows: list[KeptRow]
    events: list[Kept]
    #: Partition -> its records, from before the stretch to its end.
    heartbeats: dict[int, list[Kept]]
    course: Course = Course()


class _Seal(msgspec.Struct):
    capsule: int
    sha256: str


def keep(offset: int, append_ms: int, raw: bytes | None) -> Kept:
    """A record as a capsule holds it."""
    return Kept(offset, append_ms, None if raw is None else raw.decode("latin-1"))


def write_capsule(path: Path, capsule: Capsule) -> int:
    """Write a capsule, whole or not at all; its size in bytes.

    Raises:
        CommandError: the file cannot be written.
    """
    import zstandard

    body = msgspec.json.encode(capsule)
    seal = msgspec.json.encode(_Seal(FORMAT, hashlib.sha256(body).hexdigest()))
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(b"\n".join([seal, body, b""]))
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(packed)
        part.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
    return len(packed)


def read_capsule(path: Path) -> Capsule:
    """The incident in a file.

    Raises:
        CommandError: it is no capsule, one of a later format, or not as it was saved.
    """
    seal_line, _, body = _unpack(path).partition(b"\n")
    body = body.removesuffix(b"\n")
    try:
        seal = msgspec.json.decode(seal_line, type=_Seal)
    except msgspec.MsgspecError:
        raise _none(path, "it has no seal") from None
    if seal.capsule > FORMAT:
        raise CommandError(
            f"{path} is a capsule of format {seal.capsule}; this version reads up to {FORMAT}.", USAGE
        )
    if hashlib.sha256(body).hexdigest() != seal.sha256:
        raise CommandError(f"{path} was changed after it was saved: its hash is not that of its seal.", USAGE)
    try:
        capsule = msgspec.json.decode(body, type=Capsule)
        fault = _fault(capsule)
    except (msgspec.MsgspecError, UnicodeEncodeError, KeyError) as error:
        fault = str(error)
    if fault:
        raise _none(path, fault)
    return capsule


def _fault(capsule: Capsule) -> str:
    """Why a sealed incident cannot be replayed; empty if it can."""
    stretch = [record.offset for record in capsule.events if record.offset >= capsule.start]
    if not stretch or not stretch[0] <= capsule.event <= stretch[-1]:
        return f"event {capsule.event} is not among its events"
    if len(capsule.course.hashes) != len(stretch):
        return f"it has {len(capsule.course.hashes)} hashes for {len(stretch)} events"
    for place, records in (("log", capsule.events), *capsule.heartbeats.items()):
        offsets = [record.offset for record in records]
        if any(after <= before for before, after in pairwise(offsets)):
            return f"offsets do not grow in {place}"
    for record in (*capsule.events, *chain(*capsule.heartbeats.values())):
        record.check()
    for row in capsule.rows:
        decode_row(row.table, row.row.encode())
    return ""


def _unpack(path: Path) -> bytes:
    import zstandard

    try:
        packed = path.read_bytes()
        if zstandard.frame_content_size(packed) > _UNPACKED_MAX:
            raise _none(path, f"it would be larger than {_UNPACKED_MAX >> 30} GiB")
        return zstandard.ZstdDecompressor().decompress(packed)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.", USAGE) from None
    except zstandard.ZstdError:
        raise _none(path, "it is not packed with zstd, or cut short") from None


def _none(path: Path, why: str) -> CommandError:
    return CommandError(f"{path} is no capsule as `capsule save` writes them: {why}.", USAGE)
