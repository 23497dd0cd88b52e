"""A recorded day for benches: the log of a platform, and the heartbeats that it would have read, as one file.

The heartbeats follow the state of the log: every node that is alive reports its apps, lone services beat, and a worker
ticks in every partition. Now and then a node pauses for longer than a shorter limit would bear.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import zstandard

from bench.long_log import POOL, START_MS, LongLog
from sdk.contract import events as e
from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import AppEntry, Beat, PoolReport, Report, Tick
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from streams.log_files import entry_document
from streams.log_source import Entry

TICK_MS: Final = 250
REPORT_MS: Final = 2_500
BEAT_MS: Final = 5_000
#: A node pauses this often and leaves out two reports: silent for over 6 s and under 10 s.
PAUSE_EVERY_MS: Final = 600_000
PAUSE_MS: Final = 2 * REPORT_MS
#: Between two events of the log: about 17,000 a day.
_EVENT_MS: Final = 5_000


class Written(NamedTuple):
    """What is in the file."""

    events: int
    beats: int
    pauses: int


class _DayLog(LongLog):
    """A log with lone services, in which apps fail now and then; no node dies."""

    def __init__(self, *, nodes: int, apps: int, lone: int) -> None:
        super().__init__(nodes=nodes, apps=apps, step_ms=1)
        self.lone = [f"service-{number}" for number in range(lone)]

    def _add(self, event: e.Event) -> Entry:
        # Heartbeats stand where agents would put them.
        if isinstance(event, e.NodeRegistered | e.ProvisionerRegistered):
            reporter = event.node if isinstance(event, e.NodeRegistered) else event.pool
            event = msgspec.structs.replace(event, position=e.Position(partition_of(reporter), 0))
        return super()._add(event)

    def all(self) -> Iterator[Entry]:
        """Entries for ever."""
        yield from self._begin()
        for source in self.lone:
            yield self._add(e.SourceReturned(source, "lone", 0, "topic", partition_of(source), 0))
        self._step_ms = _EVENT_MS
        apps = list(self.state.apps)
        while True:
            yield from self._restart(self._chance.choice(apps))


def write_day(path: Path, *, hours: float, nodes: int = 100, apps: int = 300, lone: int = 160) -> Written:
    """Write a recording of so many hours to a file in the form of `events export --beats`."""
    log = _DayLog(nodes=nodes, apps=apps, lone=lone)
    end_ms = START_MS + int(hours * 3_600_000)
    beats: _Beats | None = None
    events = 0
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=1, threads=2).stream_writer(raw) as file:
        for entry in log.all():
            if beats is None and log.state.sources.keys() >= set(log.lone):
                beats = _Beats(log, entry.append_ms)
            if beats is not None:
                file.write(b"".join(beats.until(min(entry.append_ms, end_ms))))
            if entry.append_ms > end_ms:
                break
            file.write(encode(entry_document(entry)) + b"\n")
            events += 1
    assert beats is not None
    return Written(events, sum(beats.next_offset), beats.pauses)


class _Beats:
    """The heartbeats between the events, as lines."""

    def __init__(self, log: _DayLog, start_ms: int) -> None:
        self._log = log
        self._now_ms = start_ms
        self._number = 0
        self.next_offset = [0] * WIDE_PARTITIONS
        self.pauses = 0
        self._nodes = sorted(log.state.nodes)
        self._paused = ""
        self._paused_until_ms = 0
        self._next_pause_ms = start_ms + PAUSE_EVERY_MS

    def until(self, end_ms: int) -> Iterator[bytes]:
        """The lines up to a time, in steps of a tick."""
        reports = {node: self._report(node) for node in self._nodes} if end_ms > self._now_ms else {}
        while self._now_ms + TICK_MS <= end_ms:
            self._now_ms += TICK_MS
            self._number += 1
            self._pause(end_ms)
            tick = encode_heartbeat(Tick("worker-0123456789ab", self._number))
            for partition in range(WIDE_PARTITIONS):
                yield self._line(partition, tick)
            yield from self._reports(reports)
            if self._number % (REPORT_MS // TICK_MS) == 0:
                yield self._line(partition_of(POOL), self._pool_report())
            slots = BEAT_MS // TICK_MS
            for source in self._log.lone[self._number % slots :: slots]:
                beat = Beat(source, 0, self._number, self._now_ms)
                yield self._line(partition_of(source), encode_heartbeat(beat))

    def _reports(self, reports: dict[str, bytes]) -> Iterator[bytes]:
        slots = REPORT_MS // TICK_MS
        for at in range(self._number % slots, len(self._nodes), slots):
            node = self._nodes[at]
            if node != self._paused or self._now_ms >= self._paused_until_ms:
                yield self._line(self._log.state.nodes[node].partition, reports[node])

    def _pause(self, end_ms: int) -> None:
        if self._now_ms >= self._next_pause_ms and end_ms:
            self._paused = self._nodes[self.pauses % len(self._nodes)]
            self._paused_until_ms = self._now_ms + PAUSE_MS
            self._next_pause_ms += PAUSE_EVERY_MS
            self.pauses += 1

    def _report(self, node: str) -> bytes:
        state = self._log.state
        rows = [state.apps[app] for app in sorted(state.apps_of_node.get(node, ()))]
        entries = [AppEntry(row.app, row.generation, "running", 1_200, 4_711) for row in rows]
        return encode_heartbeat(
            Report(
                node, state.nodes[node].registration, state.offset, self._number, self._now_ms, entries, 0.25
            )
        )

    def _pool_report(self) -> bytes:
        state = self._log.state
        return encode_heartbeat(
            PoolReport(POOL, state.pools[POOL].registration, state.offset, self._number, self._now_ms, [])
        )

    def _line(self, partition: int, value: bytes) -> bytes:
        offset = self.next_offset[partition]
        self.next_offset[partition] += 1
        # As `beat_line` writes it, without looking at the value again.
        return b'{"partition":%d,"offset":%d,"append_ms":%d,"beat":%s}\n' % (
            partition,
            offset,
            self._now_ms,
            value,
        )
