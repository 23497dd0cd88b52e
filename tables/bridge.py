"""What a bridge writes: a beat for each source whose topic has got more records. Pure.

Rules:
1. A bridge begins where the last one ended: at the count in the newest bridged beat of the same expectation. Where
   there is none it begins with what the topic holds now, and the next record is the first beat.
2. Several records read at once are one beat. A count that fell is a topic that was made anew: it begins there.
3. Of a sensor a beat is enough for a quarter of its limit: one that speaks a hundred times a second writes no more
   beats than one that speaks once. So its silence is found up to a quarter of the limit later, and never sooner.
4. A beat that may not have been written is written again: twice is harmless, a beat too late is not a beat too few.
"""

from typing import NamedTuple

from sdk.contract.devices import device_topic
from sdk.contract.heartbeats import Beat
from sdk.contract.topics import partition_of
from tables.watcher import Watcher

#: Beats of a sensor within its limit. Source: reports of an agent come at a quarter of theirs.
BEATS_PER_LIMIT = 4
_LONG_AGO_MS = 1 << 60


class Wanted(NamedTuple):
    """What is to be bridged as of one offset of the log."""

    as_of: int
    #: Source -> its topic and expectation.
    sources: dict[str, tuple[str, int]]
    #: Sensor -> its limit, ms.
    limits: dict[str, int]
    #: Topics that nobody makes for their sensors: somebody named them, and they are there or not.
    foreign: frozenset[str]

    @property
    def topics(self) -> set[str]:
        """The topics to read."""
        return {topic for topic, _ in self.sources.values()}


class Bridge:
    """What one bridge knows of the topics it reads."""

    def __init__(self, watcher: Watcher, prefix: str) -> None:
        self._watcher = watcher
        #: Of the platform: sensors that name no topic have one under it.
        self._prefix = prefix
        #: Source and expectation -> records its topic had had when it was bridged last, or when bridging began.
        self._counts: dict[tuple[str, int], int] = {}
        #: Sensor and expectation -> when its last beat was written, on the clock of `beats_due`.
        self._written_ms: dict[tuple[str, int], int] = {}
        #: When the beats were due that are being written.
        self._due_ms = 0

    def wanted(self) -> Wanted:
        """What is to be bridged now."""
        state = self._watcher.state
        rows = (state.sources[source] for source in sorted(state.bridged))
        sources = {row.source: (row.topic, row.expectation) for row in rows}
        limits, foreign = {}, set()
        for sensor in sorted(state.judged):
            device = state.devices[sensor]
            topic = device_topic(self._prefix, device.device)
            sources[sensor], limits[sensor] = (topic, device.expectation), device.limit_ms
            if device.device.topic:
                foreign.add(topic)
        return Wanted(state.offset, sources, limits, frozenset(foreign))

    def forget(self) -> None:
        """Another may bridge from here on: what this one knows grows old."""
        self._counts.clear()
        self._written_ms.clear()

    def beats_due(self, wanted: Wanted, counts: dict[str, int], *, now_ms: int, clock_ms: int) -> list[Beat]:
        """The beats to write, given how many records each wanted topic has had.

        Args:
            wanted: What was wanted when they were counted.
            counts: Topic -> records it has ever had.
            now_ms: Time of the day; only ever shown.
            clock_ms: A clock that goes forward, the same for all calls.
        """
        known, self._due_ms = self._counts, clock_ms
        self._counts, due = {}, []
        for source, (topic, expectation) in wanted.sources.items():
            key, count = (source, expectation), counts[topic]
            before = known.get(key)
            if before is None:
                before = self._bridged_before(source, expectation)
            if before is None or count < before:
                before = count
            self._counts[key] = before
            since_ms = clock_ms - self._written_ms.get(key, clock_ms - _LONG_AGO_MS)
            if count > before and since_ms >= wanted.limits.get(source, 0) // BEATS_PER_LIMIT:
                due.append(Beat(source, 0, count, now_ms, expectation))
        return due

    def written(self, beat: Beat) -> None:
        """A beat stands in the partition of its source."""
        if (beat.source, beat.expectation) in self._counts:
            self._counts[beat.source, beat.expectation] = beat.number
            self._written_ms[beat.source, beat.expectation] = self._due_ms

    def _bridged_before(self, source: str, expectation: int) -> int | None:
        watch = self._watcher.watches.get(partition_of(source))
        session = watch.sessions.get(source) if watch is not None else None
        bridging = session.bridging if session is not None else None
        if bridging is None or bridging.expectation != expectation or not bridging.number:
            return None
        return bridging.number
