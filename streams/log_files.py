"""The log as a file: one JSON document per line, compressed if the name ends in `.zst`. Shell.

`{"offset": 7, "append_ms": 1700000000000, "event": {...}}`, with `garbage` (base64) in the place of `event` for
records that are none of ours. `events export` and `events tail -o json` write such files, `events import` and every
command with `--file` read them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from sdk.contract.codec import DecodeError
from streams.commands import CommandError
from streams.log_source import Entry, entry_of

#: Compression level: 3 is zstd's own default; higher ones cost more time than they save disk on JSON lines.
_LEVEL = 3


def entry_document(entry: Entry) -> dict[str, Any]:
    """A record of the log as a document that `read_file` reads back."""
    document: dict[str, Any] = {"offset": entry.offset, "append_ms": entry.append_ms}
    if isinstance(entry.said, DecodeError):
        garbage = None if entry.raw is None else base64.b64encode(entry.raw).decode()
        return document | {"garbage": garbage, "fault": str(entry.said)}
    return document | {"event": msgspec.Raw(entry.raw or b"null")}


class _Line(msgspec.Struct, gc=False):
    """One line of a file."""

    offset: int
    append_ms: int
    event: msgspec.Raw = msgspec.Raw(b"")
    garbage: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


def read_file(path: Path) -> Iterator[Entry]:
    """The records in a file, in its order.

    Raises:
        CommandError: a line is not a record, or it does not follow the one before; the message says which.
    """
    before = -1
    with _open_to_read(path) as file:
        for number, text in enumerate(_lines(file, path), start=1):
            if not text.strip():
                continue
            try:
                line = _decode_line(text)
                raw = bytes(line.event) or (
                    None if line.garbage is None else base64.b64decode(line.garbage, validate=True)
                )
            except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error) as error:
                raise CommandError(
                    f"{path}, line {number}: not a record as `events export` writes them ({error})."
                ) from None
            if line.offset <= before:
                raise CommandError(
                    f"{path}, line {number}: offset {line.offset} after {before}; offsets only grow in a log."
                )
            before = line.offset
            yield entry_of(line.offset, line.append_ms, raw)


class FileWriter:
    """Writes entries to a file that appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._encode = msgspec.json.Encoder().encode
        #: How many were written.
        self.count = 0

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

    def write(self, entries: Iterable[Entry]) -> None:
        """Append entries."""
        lines = [self._encode(entry_document(entry)) for entry in entries]
        self.count += len(lines)
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
def _open_to_read(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        if path.suffix != ".zst":
            yield raw
            return
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
            yield io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20)


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file; what is broken inside a compressed one is one plain sentence."""
    import zstandard

    try:
        yield from file
    except zstandard.ZstdError as error:
        raise CommandError(f"{path}: not a whole zstd file ({error}).") from None
