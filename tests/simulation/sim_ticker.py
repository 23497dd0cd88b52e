"""Ticks and beats of a simulated worker, as `streams.core.ticker` and the core write them. Part of the simulator."""

from functools import partial
from typing import TYPE_CHECKING

from sdk.contract.heartbeats import Beat, Tick
from sdk.contract.topics import partition_of
from streams.core.ticker import OTHERS_MS, OWN_MS, PAUSE_MS, TICK_MS
from tables.bridged import BRIDGE_LAG_MS
from tests.simulation.dozing import check_doze

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

#: Ticks of ours remembered until they are read back.
SENT_MAX = 40
BEAT_EVERY_MS = 5_000


class SimTicker:
    """Writes the ticks of one worker and remembers when each was sent."""

    def __init__(self, worker: "Worker", partitions: int) -> None:
        self._worker = worker
        self._topic = worker.world.topics.heartbeats
        self._number = self._beats = 0
        #: By number, when each of the last ticks was sent.
        self._sent: dict[int, int] = {}
        self._others_ms = [-OTHERS_MS] * partitions
        self._own_ms = [-OWN_MS] * partitions
        self.acknowledged_ms = [0] * partitions
        self.resumed_ms = [0] * partitions
        self._flying = 0
        #: No partition is due before, unless topics are bridged: what it waits for only moves away.
        self._due_ms = 0
        self._bridged = self._bridged_at_ms = 0

    def note_bridged(self, as_of: int, began_ms: int) -> None:
        """All topics that the log names up to `as_of` were read to their end, and their beats stand; 0: no more."""
        self._bridged, self._bridged_at_ms = as_of, began_ms

    def start(self) -> None:
        """Tick and beat from now on."""
        self._tick()
        self._beat()

    def read(self, partition: int, tick: Tick) -> int | None:
        """A tick was read: when it was sent if it is ours, else None."""
        worker = self._worker
        if tick.writer == worker.writer:
            return self._sent.get(tick.number)
        if not worker.dozes:
            self._others_ms[partition] = worker.mono_ms
        return None

    def note_other(self, partition: int) -> None:
        """Another worker's tick was appended, and this one does not read just now."""
        self._others_ms[partition] = self._worker.mono_ms

    def _tick(self) -> None:
        worker = self._worker
        worker.after(TICK_MS, self._tick)
        if self._flying:
            return
        now_ms = worker.mono_ms
        if now_ms < self._due_ms and not self._bridged:
            return
        bridged = self._bridged if now_ms - self._bridged_at_ms < BRIDGE_LAG_MS else 0
        due = [
            number
            for number, own_ms in enumerate(self._own_ms)
            if bridged or now_ms - self._others_ms[number] >= OTHERS_MS or now_ms - own_ms >= OWN_MS
        ]
        if not due:
            places = zip(self._others_ms, self._own_ms, strict=True)
            self._due_ms = min(min(others + OTHERS_MS, own + OWN_MS) for others, own in places)
            return
        self._number += 1
        self._sent[self._number] = now_ms
        self._sent.pop(self._number - SENT_MAX, None)
        tick = Tick(worker.writer, self._number, bridged)
        if worker.hears_calmly and worker.world.shortcuts:
            if worker.dozes and worker.world.watches_dozing:
                check_doze(worker)
            self._tick_calmly(due, tick, now_ms)
            return
        self._flying = len(due)
        for number in due:
            self._own_ms[number] = now_ms
            worker.tick_producer.send((self._topic, number), None, tick, partial(self._done, number))

    def _tick_calmly(self, due: list[int], tick: Tick, now_ms: int) -> None:
        """The same when nothing can go wrong with it: it stands at once, and who dozes need not read it now."""
        worker = self._worker
        for number in due:
            self._own_ms[number] = now_ms
            self._acknowledge(number, now_ms)
            worker.world.broker.append((self._topic, number), [(None, tick)])

    def _done(self, partition: int, offset: int | None) -> None:
        self._flying -= 1
        if offset is not None:
            self._acknowledge(partition, self._worker.mono_ms)

    def _acknowledge(self, partition: int, now_ms: int) -> None:
        if now_ms - self.acknowledged_ms[partition] > PAUSE_MS:
            self.resumed_ms[partition] = now_ms
        self.acknowledged_ms[partition] = now_ms

    def _beat(self) -> None:
        worker = self._worker
        self._beats += 1
        source = f"service-{worker.name}"
        place = (self._topic, partition_of(source))
        beat = Beat(source, 0, self._beats, worker.machine.wall_ms)
        if worker.hears_calmly and worker.world.shortcuts:
            worker.world.broker.append(place, [(source.encode(), beat)])
        else:
            worker.tick_producer.send(place, source.encode(), beat, lambda _: None)
        worker.after(BEAT_EVERY_MS, self._beat)
