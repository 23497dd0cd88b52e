"""What a bridge writes: a beat for each source whose topic has got more records. Pure.

Rules:
1. A bridge begins where the last one ended: at the count in the newest bridged beat of the same expectation. Where
   there is none it begins with what the topic holds now, and the next record is the first beat.
2. Several records read at once are one beat. A count that fell is a topic that was made anew: it begins there.
3. A beat that may not have been written is written again: twice is harmless, a beat too late is not a beat too few.
"""

from typing import NamedTuple

from sdk.contract.heartbeats import Beat
from sdk.contract.topics import partition_of
from tables.watcher import Watcher


class Wanted(NamedTuple):
    """What is to be bridged as of one offset of the log."""

    as_of: int
    #: Source -> its topic and expectation.
    sources: dict[str, tuple[str, int]]

    @property
    def topics(self) -> set[str]:
        """The topics to read."""
        return {topic for topic, _ in self.sources.values()}


class Bridge:
    """What one bridge knows of the topics it reads."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        #: Source and expectation -> records its topic had had when it was bridged last, or when bridging began.
        self._counts: dict[tuple[str, int], int] = {}

    def wanted(self) -> Wanted:
        """What is to be bridged now."""
        state = self._watcher.state
        rows = (state.sources[source] for source in sorted(state.bridged))
        return Wanted(state.offset, {row.source: (row.topic, row.expectation) for row in rows})

    def forget(self) -> None:
        """Another may bridge from here on: what this one knows grows old."""
        self._counts.clear()

    def beats_due(self, wanted: Wanted, counts: dict[str, int], *, now_ms: int) -> list[Beat]:
        """The beats to write, given how many records each wanted topic has had; `now_ms` is only ever shown."""
        known = self._counts
        self._counts, due = {}, []
        for source, (topic, expectation) in wanted.sources.items():
            key, count = (source, expectation), counts[topic]
            before = known.get(key)
            if before is None:
                before = self._bridged_before(source, expectation)
            if before is None or count < before:
                before = count
            self._counts[key] = before
            if count > before:
                due.append(Beat(source, 0, count, now_ms, expectation))
        return due

    def written(self, beat: Beat) -> None:
        """A beat stands in the partition of its source."""
        if (beat.source, beat.expectation) in self._counts:
            self._counts[beat.source, beat.expectation] = beat.number

    def _bridged_before(self, source: str, expectation: int) -> int | None:
        watch = self._watcher.watches.get(partition_of(source))
        session = watch.sessions.get(source) if watch is not None else None
        bridging = session.bridging if session is not None else None
        if bridging is None or bridging.expectation != expectation or not bridging.number:
            return None
        return bridging.number
