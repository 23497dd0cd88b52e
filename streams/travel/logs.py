"""A log to travel in: the platform's on Kafka, or a file of it. Shell.

Both give the same entries in the same batches, so that nothing after this module knows where they came from.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from streams.log_files import read_file
from streams.log_source import (
    Entry,
    LogSource,
    Place,
    ProgressCallback,
    away,
    entry_of,
    no_progress,
    open_source,
)

if TYPE_CHECKING:
    from streams.settings import Settings

#: Entries of a file handed on at once: enough that the loop around them costs nothing.
_BATCH = 1_000
#: Bytes of a file that name it, with its size: the first records, which have ids of their own.
_NAMING_BYTES = 1 << 16


class TravelLog(Protocol):
    """A log whose records can be read from any offset."""

    @property
    def log_id(self) -> str:
        """Names this log and no other: Kafka's id of the topic, or a hash of the file."""

    @property
    def end(self) -> int:
        """The offset after its last record."""

    def batches(
        self, start: int, end: int, progress: ProgressCallback = no_progress
    ) -> AsyncIterator[list[Entry]]:
        """Entries from `start` to before `end`, in order."""

    async def offset_at(self, at_ms: int) -> int:
        """The first offset appended at or after `at_ms`; the end if there is none."""


class KafkaLog:
    """The platform's log."""

    def __init__(self, source: LogSource, log_id: str, end: int) -> None:
        self.source = source
        self.log_id = log_id
        self.end = end
        self._place: Place = (source.topics.events, 0)

    async def batches(
        self, start: int, end: int, progress: ProgressCallback = no_progress
    ) -> AsyncIterator[list[Entry]]:
        """Entries from `start` to before `end`, in order."""
        if start >= end:
            return
        async for records in self.source.read({self._place: start}, {self._place: end}, progress):
            yield [entry_of(record.offset, record.timestamp, record.value) for record in records]

    async def offset_at(self, at_ms: int) -> int:
        """The first offset appended at or after `at_ms`; the end if there is none."""
        found = (await self.source.offsets_at([self._place], at_ms))[self._place]
        return self.end if found is None else min(found, self.end)


class FileLog:
    """A log in a file. It is read from its beginning each time: a compressed one knows no other way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            name = hashlib.sha256(b"%d/" % size + file.read(_NAMING_BYTES)).hexdigest()
        self.log_id = f"file-{name[:32]}"
        self._end = -1

    @property
    def end(self) -> int:
        """The offset after its last record."""
        if self._end < 0:
            self._end = max((entry.offset for entry in read_file(self._path)), default=-1) + 1
        return self._end

    async def batches(
        self, start: int, end: int, progress: ProgressCallback = no_progress
    ) -> AsyncIterator[list[Entry]]:
        """Entries from `start` to before `end`, in order."""
        total = max(end - start, 1)
        for batch in _batches(self._path, start, end):
            yield batch
            progress(batch[-1].offset - start + 1, total)

    async def offset_at(self, at_ms: int) -> int:
        """The first offset appended at or after `at_ms`; the end if there is none."""
        found = (entry.offset for entry in read_file(self._path) if entry.append_ms >= at_ms)
        return next(found, self.end)


def _batches(path: Path, start: int, end: int) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    for entry in read_file(path):
        if entry.offset >= end:
            break
        if entry.offset >= start:
            batch.append(entry)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


@contextlib.asynccontextmanager
async def open_log(settings: Settings, path: Path | None = None) -> AsyncIterator[TravelLog]:
    """The log in a file, or that of the platform.

    Raises:
        CommandError: no Kafka answers, or there is no platform under this prefix.
    """
    if path is not None:
        yield FileLog(path)
        return
    from streams.topics import KafkaAwayError, read_topic_ids

    async with open_source(settings.bootstrap, settings.prefix) as source:
        try:
            ids = await asyncio.to_thread(read_topic_ids, settings.bootstrap, settings.prefix)
        except KafkaAwayError:
            raise away(settings.bootstrap) from None
        log: Place = (source.topics.events, 0)
        yield KafkaLog(source, ids.events, (await source.ends([log]))[log])


async def end_at(log: TravelLog, position: int | datetime | None) -> int:
    """The offset after a moment: after that offset, or after the last record appended by that time."""
    if position is None:
        return log.end
    if isinstance(position, int):
        return min(position + 1, log.end)
    return await log.offset_at(int(position.timestamp() * 1_000) + 1)


async def begin_at(log: TravelLog, position: int | datetime | None) -> int:
    """The first offset of a stretch that begins at an offset or a time."""
    if position is None:
        return 0
    if isinstance(position, int):
        return min(position, log.end)
    return await log.offset_at(int(position.timestamp() * 1_000))
