"""A log in memory to travel in, made of what goes wrong on a platform. A test helper."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from bench.long_log import LongLog
from streams.log_source import Entry, ProgressCallback, fold_entry, no_progress
from tables.state import State


class MemoryLog:
    """Entries that are read as those of a file or of Kafka are."""

    def __init__(self, entries: Sequence[Entry], log_id: str = "memory") -> None:
        self.entries = list(entries)
        self.log_id = log_id
        #: Offsets at which somebody began to read.
        self.reads: list[int] = []

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.entries[-1].offset + 1 if self.entries else 0

    async def batches(
        self, start: int, end: int, progress: ProgressCallback = no_progress
    ) -> AsyncIterator[list[Entry]]:
        """Seven at a time, so that batches end in the middle of chapters."""
        progress(0, 1)
        self.reads.append(start)
        wanted = [entry for entry in self.entries if start <= entry.offset < end]
        for at in range(0, len(wanted), 7):
            yield wanted[at : at + 7]

    async def offset_at(self, at_ms: int) -> int:
        """The first offset appended at or after a time."""
        return next((entry.offset for entry in self.entries if entry.append_ms >= at_ms), self.end)


def long_log(count: int, *, seed: int = 1) -> MemoryLog:
    """A log of a small platform on which something always goes wrong."""
    return MemoryLog(list(LongLog(nodes=4, apps=9, seed=seed).entries(count)))


def folded(log: MemoryLog, end: int) -> State:
    """The state before the record `end`, from the beginning."""
    state = State()
    for entry in log.entries[:end]:
        fold_entry(state, entry)
    return state
