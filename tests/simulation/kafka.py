"""A simulated Kafka: partitions with append time, producers that retry, readers. Part of the simulator.

Modelled: at-least-once with lost acknowledgements (a retry doubles the batch), one batch in flight per partition
and producer, requests that a stopped broker executes when it goes on (after their sender gave up), a broker that
is away, changes of leader that step its clock, compaction.
"""

import bisect
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tests.simulation.loop import Loop, Process, Work

Place = tuple[str, int]
Done = Callable[[int | None], None]
Batch = list[tuple[bytes | None, Any]]
Request = list[tuple[Place, Batch]]

#: One way through the network, ms.
LATENCY_MS = (1, 3)
#: A request without an answer is given up, and a batch expires, after this long: `SEND_WITHIN_MS` of the clients.
GIVE_UP_MS = 3_000
RETRY_MS = 100
#: Time of a late request: what came in between may be newer, also from the same producer.
LATE_MS = (500, 9_000)
#: Append times this far apart are no news: ticks are, at the most. The smallest step of the broker's clock is more.
DOZE_STEP_MS = 800
#: A reader that cannot reach the broker tries again.
READ_AGAIN_MS = 300


class Record(msgspec.Struct, frozen=True):
    """A record as a reader gets it; a struct, because hundreds are made in a simulated second."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    #: Bytes; on the heartbeats the decoded record, or bytes that are garbage.
    value: Any
    #: Offset of an earlier report that says the same, ages apart; -1 if nobody knows of one.
    same_as: int = -1


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

    def retain(self, since_ms: int) -> None:
        """Drop the oldest records, those appended before `since_ms`."""
        for reader in self.readers:
            reader.settle()
        keep = next((at for at, record in enumerate(self.records) if record.timestamp >= since_ms), None)
        self.records = [] if keep is None else self.records[keep:]

    def compact(self, keep_tail: int) -> None:
        """Drop what a newer record of the same key replaces, the newest few apart."""
        last = {record.key: record.offset for record in self.records}
        horizon = self.end - keep_tail
        self.records = [
            record for record in self.records if record.offset >= horizon or last[record.key] == record.offset
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
        #: Share of produce requests that arrive only after seconds, perhaps after their sender gave up.
        self.late_share = 0.0
        #: Until when requests that are late already may still arrive, at the most.
        self.late_until_ms = 0
        #: Extra latency, ms at most.
        self.slow_ms = 0
        self.logs: dict[Place, Partition] = {}
        self._parked: list[Work] = []
        #: Called before it does not answer any more, and when it does again.
        self.on_turn: Callable[[], None] = lambda: None
        #: Called with each record right after it was appended.
        self.on_append: Callable[[Record], None] = lambda _: None
        #: A topic on which not everything is news, and what is: by partition, offset and value.
        self.quiet_topic = ""
        self.news_of: Callable[[int, int, Any], tuple[bool, int]] = lambda _partition, _offset, _: (True, -1)
        #: Called when a producer of a worker is handed a record, and when a writer hears where its records stand.
        self.on_send: Callable[[Process, Place], None] = lambda _process, _place: None
        self.on_ack: Callable[[Request, list[int]], None] = lambda _request, _firsts: None

    def log(self, topic: str, partition: int = 0) -> Partition:
        """One partition."""
        place = (topic, partition)
        found = self.logs.get(place)
        if found is None:
            found = self.logs[place] = Partition()
        return found

    def latency(self) -> int:
        """One way through the network."""
        (low, high), random = LATENCY_MS, self.loop.chance.random
        way_ms = int(low + random() * (high + 1 - low)) if low < high else low
        return way_ms + int(random() * (self.slow_ms + 1)) if self.slow_ms else way_ms

    @property
    def is_calm(self) -> bool:
        """Whether nothing is wrong with it: then what is sent stands, and is acknowledged, at once."""
        return self.alive and not (self.paused or self.slow_ms or self.lost_acks or self.late_share)

    def pause(self) -> None:
        """SIGSTOP: what arrives waits in its sockets."""
        self.on_turn()
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.on_turn()
        self.paused = False
        parked, self._parked = self._parked, []
        for work in parked:
            self.loop.after(0, work)
        self._wake_readers()

    def start(self) -> None:
        """It is back."""
        self.on_turn()
        self.alive = True
        self._wake_readers()

    def stop(self) -> None:
        """It is away; what waited in its sockets is lost."""
        self.on_turn()
        self.alive = False
        self._parked.clear()

    def _wake_readers(self) -> None:
        for log in self.logs.values():
            for reader in log.readers:
                reader.wake()

    def produce(self, process: Process, request: Request, answer: Callable[[list[int] | None], None]) -> None:
        """A produce request; `answer` gets the first offset of each batch, or None if the connection broke."""

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
            firsts = [self.append(place, batch) for place, batch in request]
            lost = self.lost_acks and self.loop.chance.random() < self.lost_acks
            back(None if lost else firsts)

        def back(firsts: list[int] | None) -> None:
            if not process.machine.cut_down:
                process.after(self.latency(), lambda: self._reach(request, firsts, answer))

        is_late = self.late_share and self.loop.chance.random() < self.late_share
        if is_late:
            self.late_until_ms = self.loop.now_ms + LATE_MS[1]
        self.loop.after(self.loop.chance.randint(*LATE_MS) if is_late else self.latency(), arrive)

    def _reach(
        self, request: Request, firsts: list[int] | None, answer: Callable[[list[int] | None], None]
    ) -> None:
        if firsts is not None:
            self.on_ack(request, firsts)
        answer(firsts)

    def append(self, place: Place, batch: Batch) -> int:
        """Append records; the first offset.

        Who dozes is woken by news only, and by a step of the clock: what it waits for was counted without one.
        """
        log = self.logs.get(place) or self.log(*place)
        records, first = log.records, log.end
        stamp = self.loop.now_ms + self.shift_ms
        is_quiet = place[0] == self.quiet_topic
        wakes = not is_quiet or (records and not 0 <= stamp - records[-1].timestamp <= DOZE_STEP_MS)
        for key, value in batch:
            same_as = -1
            if is_quiet:
                is_news, same_as = self.news_of(place[1], log.end, value)
                wakes = wakes or is_news
            record = Record(*place, log.end, stamp, key, value, same_as)
            records.append(record)
            log.end += 1
            self.on_append(record)
        for reader in log.readers:
            if wakes or not reader.dozes:
                reader.wake()
        return first


class Item(NamedTuple):
    """A record that waits to be sent."""

    key: bytes | None
    value: Any
    done: Done
    born_ms: int


class Producer:
    """A producer of one process: one request for all partitions, one batch in flight for each."""

    def __init__(self, process: Process, broker: Broker) -> None:
        self._process = process
        self._broker = broker
        self._queues: dict[Place, list[Item]] = {}
        self._busy: set[Place] = set()
        self._planned = False

    def send(self, place: Place, key: bytes | None, value: Any, done: Done) -> None:
        """Send one record; `done` gets its offset, or None if the outcome is unknown."""
        self._queues.setdefault(place, []).append(Item(key, value, done, self._process.loop.now_ms))
        self._plan()
        self._broker.on_send(self._process, place)

    def write(self, place: Place, value: Any, *, at_once: bool) -> None:
        """Send a record whose outcome nobody waits for; `at_once` if nothing can hold it up."""
        machine = self._process.machine
        is_free = not (self._queues or self._busy or machine.cut_up or machine.cut_down)
        if at_once and is_free and self._broker.is_calm:
            self._broker.append(place, [(None, value)])
        else:
            self.send(place, None, value, lambda _: None)

    @property
    def queued(self) -> int:
        """Records that wait."""
        return sum(len(queue) for queue in self._queues.values())

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._process.after(0, self._pump)

    def _pump(self) -> None:
        self._planned = False
        batches = {}
        for place in [place for place in self._queues if place not in self._busy]:
            batches[place] = self._queues.pop(place)
        if batches:
            self._busy.update(batches)
            self._try(batches)

    def _try(self, batches: dict[Place, list[Item]]) -> None:
        oldest_ms = min(items[0].born_ms for items in batches.values())
        if self._process.loop.now_ms - oldest_ms >= GIVE_UP_MS:
            self._end(batches, None)
            return
        open_ = True

        def answer(firsts: list[int] | None) -> None:
            nonlocal open_
            if not open_:
                return
            open_ = False
            if firsts is None:
                self._process.after(RETRY_MS, lambda: self._try(batches))
            else:
                self._end(batches, firsts)

        request = [(place, [(item.key, item.value) for item in items]) for place, items in batches.items()]
        self._broker.produce(self._process, request, answer)
        self._process.after(GIVE_UP_MS, lambda: answer(None))

    def _end(self, batches: dict[Place, list[Item]], firsts: list[int] | None) -> None:
        self._busy.difference_update(batches)
        for number, items in enumerate(batches.values()):
            for index, item in enumerate(items):
                item.done(None if firsts is None else firsts[number] + index)
        if self._queues:
            self._plan()


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
        #: It is about to read.
        self.is_planned = False
        self.closed = False
        #: Records without news do not wake it.
        self.dozes = False
        self._stalled = False
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
        if not self.is_planned:
            self.is_planned = True
            self._process.after(self._broker.latency(), self._poll)

    @property
    def stalled(self) -> bool:
        """Whether its fetches are not answered."""
        return self._stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self._process.settle()
        self._stalled = stalled

    @property
    def can_read(self) -> bool:
        """Whether a fetch would answer."""
        machine, broker = self._process.machine, self._broker
        is_cut = machine.cut_up or machine.cut_down or self._stalled
        return not is_cut and broker.alive and not broker.paused

    def _poll(self) -> None:
        self.is_planned = False
        if self.closed:
            return
        broker = self._broker
        if not broker.alive or broker.paused:
            return  # It wakes all who read when it is back.
        if self.can_read:
            self.read()
        else:
            self.is_planned = True
            self._process.after(READ_AGAIN_MS, self._poll)

    def settle(self) -> None:
        """Have read what would have been read by now."""
        self._process.settle()

    def read(self) -> None:
        """Read to the end."""
        broker = self._broker
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
