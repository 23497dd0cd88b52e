"""The heartbeats that a recording holds beside its log (`events export --beats`), as far as they are cited. Shell.

Rules:
1. A file is read in its order and knows no other way, so what many events cite is looked up first and read in one go
   (`foresee`); memory holds what is cited and not the night.
2. A file does not say which topic its heartbeats stood in. They were exported from the one that was there, so it is the
   one that the last fact names; facts about another are `recorded` as ever.
3. Where the heartbeats of a partition ended is not known: a recording ends when somebody wanted it to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdk.contract.codec import Recorded
from sdk.contract.events import SourceFellSilent, SourceReturned
from streams.log_files import BEAT_LINE, decode_line, open_to_read, read_lines
from streams.log_source import ProgressCallback, no_progress
from streams.travel.checker import Checker, Heard
from streams.travel.heartbeats import Stretch, cited_by
from streams.travel.logs import TravelLog

#: Lines between two looks at how far the file is read.
_LOOK_EVERY = 20_000


class FileHeartbeats:
    """The heartbeats in a file."""

    def __init__(self, path: Path, topic_id: str) -> None:
        self.topic_id = topic_id
        self.ends: Mapping[int, int] = {}
        self.beats: dict[int, dict[int, Heard]] = {}
        self._path = path
        self._known: set[Stretch] = set()

    async def foresee(
        self, log: TravelLog, start: int, end: int, progress: ProgressCallback = no_progress
    ) -> None:
        """Read at once what the events from `start` to before `end` cite."""
        checker, cited = Checker(self.topic_id), set[Stretch]()
        async for batch in log.batches(0, end, lambda done, total: progress(done, 2 * total)):
            for entry in batch:
                if entry.offset >= start and isinstance(entry.said, Recorded):
                    cited.update(cited_by(entry.said.event, checker))
                checker.check(entry.offset, entry.append_ms, entry.raw, {})
        await self.need(cited, lambda done, total: progress(total + done, 2 * total))

    async def need(self, stretches: Iterable[Stretch], progress: ProgressCallback = no_progress) -> None:
        """Read the file for the heartbeats of some stretches, unless they were looked for before.

        Raises:
            CommandError: a line is not a record; the message says which.
        """
        wanted = set(stretches) - self._known
        if wanted:
            self._read(_merged(wanted), progress)
            self._known |= wanted

    def _read(self, wanted: Mapping[int, list[tuple[int, int]]], progress: ProgressCallback) -> None:
        lines = tuple(BEAT_LINE + b"%d," % partition for partition in wanted)
        size = self._path.stat().st_size
        with open_to_read(self._path) as (file, raw):
            for number, text in enumerate(read_lines(file, self._path), start=1):
                if number % _LOOK_EVERY == 0:
                    progress(raw.tell(), size)
                if not text.startswith(lines):
                    continue
                line, value = decode_line(text, self._path, number)
                stretches = wanted[line.partition]
                at = bisect_right(stretches, (line.offset, 1 << 62)) - 1
                if at >= 0 and line.offset <= stretches[at][1]:
                    self.beats.setdefault(line.partition, {})[line.offset] = line.append_ms, value
        progress(size, size)


def _merged(stretches: Iterable[Stretch]) -> dict[int, list[tuple[int, int]]]:
    """Partition -> first and last offsets, in order and apart from each other."""
    merged: dict[int, list[tuple[int, int]]] = {}
    for partition, first, last in sorted(stretches):
        held = merged.setdefault(partition, [])
        if held and first <= held[-1][1] + 1:
            held[-1] = held[-1][0], max(last, held[-1][1])
        else:
            held.append((first, last))
    return merged


async def open_file(path: Path, log: TravelLog) -> FileHeartbeats:
    """The heartbeats of a file, of which `log` is the log."""
    topic_id = ""
    async for batch in log.batches(0, log.end):
        for entry in batch:
            event = entry.said.event if isinstance(entry.said, Recorded) else None
            if isinstance(event, SourceFellSilent | SourceReturned):
                topic_id = event.topic_id
    return FileHeartbeats(path, topic_id)
