"""The log as a file: one JSON document per line, compressed if the name ends in `.zst`. Shell.

`{"offset": 7, "append_ms": 1700000000000, "event": {...}}`, with `garbage` (base64) in the place of `event` for
records that are none of ours. `events export` and `events tail -o json` write such files, `events import` and every
command with `--file` read them.

`events export --beats` puts the heartbeats of a stretch between the events, in the order in which Kafka got them:
`{"partition": 3, "offset": 12, "append_ms": 1700000000000, "beat": [...]}`. Who asks for the log only skips them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec

from sdk.contract.codec import DecodeError, decode_heartbeat
from streams.commands import CommandError
from streams.log_source import Entry, entry_of

#: Compression level: 3 is zstd's own default; higher ones cost more time than they save disk on JSON lines.
_LEVEL = 3
#: How the line of a heartbeat begins, so that who looks for others need not decode it.
BEAT_LINE = b'{"partition":'


class BeatRecord(NamedTuple):
    """One record of the heartbeats topic as it was read."""

    partition: int
    offset: int
    #: Append time of the broker, ms UTC.
    append_ms: int
    raw: bytes | None


def entry_document(entry: Entry) -> dict[str, Any]:
    """A record of the log as a document that `read_file` reads back."""
    document: dict[str, Any] = {"offset": entry.offset, "append_ms": entry.append_ms}
    if isinstance(entry.said, DecodeError):
        garbage = None if entry.raw is None else base64.b64encode(entry.raw).decode()
        return document | {"garbage": garbage, "fault": str(entry.said)}
    return document | {"event": msgspec.Raw(entry.raw or b"null")}


def beat_line(record: BeatRecord) -> bytes:
    """A heartbeat as a line of a file; what is no JSON array of ours stands there as it is, in base64."""
    head = b'%s%d,"offset":%d,"append_ms":%d,' % (BEAT_LINE, *record[:3])
    if record.raw is None:
        return head + b'"garbage":null}'
    try:
        decode_heartbeat(record.raw)
    except DecodeError:
        return head + b'"garbage":"%s"}' % base64.b64encode(record.raw)
    return head + b'"beat":%s}' % record.raw.replace(b"\n", b" ").replace(b"\r", b" ")


class Line(msgspec.Struct, gc=False):
    """One line of a file."""

    offset: int
    append_ms: int
    #: Of a heartbeat.
    partition: int = -1
    event: msgspec.Raw = msgspec.Raw(b"")
    beat: msgspec.Raw = msgspec.Raw(b"")
    garbage: str | None = None

    @property
    def raw(self) -> bytes | None:
        """The record as it stood on the log."""
        stood = bytes(self.event) or bytes(self.beat)
        if stood or self.garbage is None:
            return stood or None
        return base64.b64decode(self.garbage, validate=True)


_decode_line = msgspec.json.Decoder(Line).decode
_NOT_A_LINE = (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error)


def read_file(path: Path) -> Iterator[Entry]:
    """The records in a file, in its order.

    Raises:
        CommandError: a line is not a record, or it does not follow the one before; the message says which.
    """
    before = -1
    with open_to_read(path) as (file, _):
        for number, text in enumerate(read_lines(file, path), start=1):
            if text.startswith(BEAT_LINE) or not text.strip():
                continue
            line, raw = decode_line(text, path, number)
            if line.partition >= 0:
                continue
            if line.offset <= before:
                raise CommandError(
                    f"{path}, line {number}: offset {line.offset} after {before}; offsets only grow in a log."
                )
            before = line.offset
            yield entry_of(line.offset, line.append_ms, raw)


def decode_line(text: bytes, path: Path, number: int) -> tuple[Line, bytes | None]:
    """One line of a file and the record in it.

    Raises:
        CommandError: it holds none; the message says where.
    """
    try:
        line = _decode_line(text)
        raw = line.raw
    except _NOT_A_LINE as error:
        raise CommandError(
            f"{path}, line {number}: not a record as `events export` writes them ({error})."
        ) from None
    return line, raw


class FileWriter:
    """Writes entries to a file that appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._encode = msgspec.json.Encoder().encode
        #: How many events were written, and how many heartbeats.
        self.count = self.beats = 0

    def __enter__(self) -> FileWriter:  # noqa: PYI034  # nobody inherits from it
        """Open the file.

        Raises:
            CommandError: it cannot be written.
        """
        try:
            raw = self._part.open("wb")
        except OSError as error:
            raise CommandError(f"{self._path} cannot be written: {error.strerror}.") from None
        self._file: IO[bytes] = raw
        if self._path.suffix == ".zst":
            import zstandard

            self._file = zstandard.ZstdCompressor(level=_LEVEL).stream_writer(raw)
        return self

    def write(self, entries: Iterable[Entry | BeatRecord]) -> None:
        """Append entries of the log, and heartbeats."""
        lines = []
        for entry in entries:
            if isinstance(entry, BeatRecord):
                lines.append(beat_line(entry))
                self.beats += 1
            else:
                lines.append(self._encode(entry_document(entry)))
                self.count += 1
        if lines:
            self._file.write(b"\n".join(lines) + b"\n")

    def __exit__(self, kind: object, *_: object) -> None:
        """Close; the file gets its name if nothing went wrong, and is removed otherwise."""
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


@contextlib.contextmanager
def open_to_read(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A file, unpacked if it is compressed, and the bytes on disk, whose position says how far that is."""
    with path.open("rb") as raw:
        if path.suffix != ".zst":
            yield raw, raw
            return
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
            yield io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20), raw


def read_lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file; what is broken inside a compressed one is one plain sentence."""
    import zstandard

    try:
        yield from file
    except zstandard.ZstdError as error:
        raise CommandError(f"{path}: not a whole zstd file ({error}).") from None
