"""A simulated Kafka: partitions with append time, producers that retry, readers. Part of the simulator.

Modelled: at-least-once with lost acknowledgements (a retry doubles the batch), one batch in flight per partition
and producer, requests that a stopped broker executes when it goes on (after their sender gave up), a broker that
is away, changes of leader that step its clock, compaction.
"""

import bisect
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.simulation.loop import Loop, Process, Work

Place = tuple[str, int]
Done = Callable[[int | None], None]

#: One way through the network, ms.
LATENCY_MS = (1, 3)
#: A request without an answer is given up, and a batch expires, after this long: `SEND_WITHIN_MS` of the clients.
GIVE_UP_MS = 3_000
RETRY_MS = 100
#: A reader that cannot reach the broker tries again.
READ_AGAIN_MS = 300


class Record(NamedTuple):
    """A record as a reader gets it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    #: Bytes; on the heartbeats the decoded record, or bytes that are garbage.
    value: Any


class Partition:
    """One partition: records in offset order, with holes where it was compacted."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.end = 0
        self.readers: list[Reader] = []

    def since(self, offset: int) -> list[Record]:
        """Records from `offset` on."""
        records = self.records
        if not records or records[-1].offset < offset:
            return []
        if len(records) == self.end:
            return records[offset:]
        return records[bisect.bisect_left(records, offset, key=lambda record: record.offset) :]

    def compact(self, keep_tail: int) -> None:
        """Drop what a newer record of the same key replaces, the newest few apart."""
        last = {record.key: record.offset for record in self.records}
        horizon = self.end - keep_tail
        self.records = [
            record
            for record in self.records
            if record.offset >= horizon or last[record.key] == record.offset
        ]


class Broker:
    """The broker, its clock and its logs."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.alive = True
        self.paused = False
        #: Its clock against true time.
        self.shift_ms = 0
        #: Share of produce requests that are executed but answered with a lost connection.
        self.lost_acks = 0.0
        #: Extra latency, ms at most.
        self.slow_ms = 0
        self.logs: dict[Place, Partition] = {}
        self._parked: list[Work] = []
        #: Called with each record right after it was appended.
        self.on_append: Callable[[Record], None] = lambda _: None

    def log(self, topic: str, partition: int = 0) -> Partition:
        """One partition."""
        place = (topic, partition)
        found = self.logs.get(place)
        if found is None:
            found = self.logs[place] = Partition()
        return found

    def latency(self) -> int:
        """One way through the network."""
        chance = self.loop.chance
        return chance.randint(*LATENCY_MS) + (chance.randint(0, self.slow_ms) if self.slow_ms else 0)

    def pause(self) -> None:
        """SIGSTOP: what arrives waits in its sockets."""
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.paused = False
        parked, self._parked = self._parked, []
        for work in parked:
            self.loop.after(0, work)
        self._wake_readers()

    def start(self) -> None:
        """It is back."""
        self.alive = True
        self._wake_readers()

    def stop(self) -> None:
        """It is away; what waited in its sockets is lost."""
        self.alive = False
        self._parked.clear()

    def _wake_readers(self) -> None:
        for log in self.logs.values():
            for reader in log.readers:
                reader.wake()

    def produce(
        self,
        process: Process,
        place: Place,
        batch: list[tuple[bytes | None, Any]],
        answer: Callable[[int | None], None],
    ) -> None:
        """A produce request; `answer` gets the first offset, or None for a connection that broke."""

        def arrive() -> None:
            if process.machine.cut_up:
                return
            if not self.alive:
                back(None)
            elif self.paused:
                self._parked.append(execute)
            else:
                execute()

        def execute() -> None:
            if not self.alive:
                return
            first = self.append(place, batch)
            lost = self.lost_acks and self.loop.chance.random() < self.lost_acks
            back(None if lost else first)

        def back(first: int | None) -> None:
            if not process.machine.cut_down:
                process.after(self.latency(), lambda: answer(first))

        self.loop.after(self.latency(), arrive)

    def append(self, place: Place, batch: list[tuple[bytes | None, Any]]) -> int:
        """Append records; the first offset."""
        log = self.log(*place)
        first = log.end
        stamp = self.loop.now_ms + self.shift_ms
        for key, value in batch:
            record = Record(*place, log.end, stamp, key, value)
            log.records.append(record)
            log.end += 1
            self.on_append(record)
        for reader in log.readers:
            reader.wake()
        return first


class Producer:
    """A producer of one process."""

    def __init__(self, process: Process, broker: Broker) -> None:
        self._process = process
        self._broker = broker
        self._queues: dict[Place, deque[tuple[bytes | None, Any, Done, int]]] = {}
        self._busy: set[Place] = set()

    def send(self, place: Place, key: bytes | None, value: Any, done: Done) -> None:
        """Send one record; `done` gets its offset, or None if the outcome is unknown."""
        self._queues.setdefault(place, deque()).append((key, value, done, self._process.loop.now_ms))
        self._process.after(0, lambda: self._pump(place))

    @property
    def queued(self) -> int:
        """Records that wait."""
        return sum(len(queue) for queue in self._queues.values())

    def _pump(self, place: Place) -> None:
        queue = self._queues[place]
        if place in self._busy or not queue:
            return
        self._busy.add(place)
        batch = list(queue)
        queue.clear()
        self._try(place, batch)

    def _try(self, place: Place, batch: list[tuple[bytes | None, Any, Done, int]]) -> None:
        if self._process.loop.now_ms - batch[0][3] >= GIVE_UP_MS:
            self._end(place, batch, None)
            return
        open_ = [True]

        def answer(first: int | None) -> None:
            if not open_[0]:
                return
            open_[0] = False
            if first is None:
                self._process.after(RETRY_MS, lambda: self._try(place, batch))
            else:
                self._end(place, batch, first)

        self._broker.produce(self._process, place, [(key, value) for key, value, _, _ in batch], answer)
        self._process.after(GIVE_UP_MS, lambda: answer(None))

    def _end(
        self, place: Place, batch: list[tuple[bytes | None, Any, Done, int]], first: int | None
    ) -> None:
        self._busy.discard(place)
        for index, (_, _, done, _) in enumerate(batch):
            done(None if first is None else first + index)
        self._pump(place)


class Reader:
    """A reader of one process, assigned to partitions."""

    def __init__(
        self,
        process: Process,
        broker: Broker,
        positions: dict[Place, int],
        take: Callable[[dict[Place, list[Record]]], None],
    ) -> None:
        self._process = process
        self._broker = broker
        self._positions = positions
        self._take = take
        self._planned = False
        self.closed = False
        for place in positions:
            broker.log(*place).readers.append(self)
        self.wake()

    def close(self) -> None:
        """Read no more."""
        self.closed = True
        for place in self._positions:
            readers = self._broker.log(*place).readers
            if self in readers:
                readers.remove(self)

    def wake(self) -> None:
        """There may be something."""
        if not self._planned:
            self._planned = True
            self._process.after(self._broker.latency(), self._poll)

    def _poll(self) -> None:
        self._planned = False
        if self.closed:
            return
        broker = self._broker
        if self._process.machine.is_cut or not broker.alive or broker.paused:
            self._planned = True
            self._process.after(READ_AGAIN_MS, self._poll)
            return
        batches = {}
        for place, position in self._positions.items():
            log = broker.log(*place)
            if log.end > position:
                found = log.since(position)
                self._positions[place] = log.end
                if found:
                    batches[place] = found
        if batches:
            self._take(batches)
