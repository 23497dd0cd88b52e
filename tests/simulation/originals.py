"""Programs that write into topics of their own, and the bridge of a simulated worker. Part of the simulator.

Such a program runs the original heartbeat client, or is a sensor: it writes a record every so often and takes no notice
of how that ends. The bridge is the real one (`tables.bridge`) in a thin shell that mirrors `streams.core.bridging`.
"""

import bisect
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sdk.contract.heartbeats import Beat
from sdk.contract.topics import partition_of
from streams.core.bridging import PASS_EVERY_S
from tables.bridge import Bridge, Wanted
from tests.simulation.kafka import Producer, Record
from tests.simulation.loop import Machine, Process

if TYPE_CHECKING:
    from tests.simulation.workers import Worker
    from tests.simulation.world import World

BEAT_EVERY_MS = 5_000
#: A question without an answer is given up: `sdk.topic_counts.ANSWER_WITHIN_S`.
ANSWER_WITHIN_MS = 1_000
#: The longest that a client takes to find its topic again: with the pause to its next beat, less than the settling.
RECONNECT_MS = 4_000


class TopicWriter:
    """One such program, which somebody starts again when it ends; each time it is another process."""

    def __init__(self, world: "World", name: str, topic: str, *, every_ms: int = BEAT_EVERY_MS) -> None:
        self._world = world
        self.name, self.topic = name, topic
        self._every_ms = every_ms
        self._machine = Machine(world.loop, self.name)
        self._process: Process | None = None
        self._producer: Producer | None = None
        #: It runs and does not beat.
        self.hung = False
        self._reconnect_ms = world.loop.chance.randint(0, RECONNECT_MS)
        #: Last time that a fault of this program began or ended.
        self.disturbed_ms = world.loop.now_ms
        self.start()

    def start(self) -> None:
        """Start it if it does not run."""
        if self._process is None or not self._process.alive:
            self.disturbed_ms = self._world.loop.now_ms
            self.hung = False
            self._process = Process(self._world.loop, self._machine, self.name)
            self._producer = Producer(self._process, self._world.broker)
            self._process.after(self._process.chance.randint(20, 1_500), self._beat)

    def kill(self) -> None:
        """SIGKILL."""
        self.disturbed_ms = self._world.loop.now_ms
        if self._process is not None:
            self._process.kill()

    def pause(self, *, hung: bool) -> None:
        """It hangs, or hangs no more."""
        self.disturbed_ms = self._world.loop.now_ms
        self.hung = hung

    @property
    def beats(self) -> bool:
        """Whether it does."""
        return self._process is not None and self._process.alive and not self.hung

    def _beat(self) -> None:
        assert self._process is not None
        assert self._producer is not None
        self._process.after(self._every_ms, self._beat)
        # A client comes back when it tries again, not when its topic does.
        back_ms = max(self._world.topics_disturbed_at, default=-RECONNECT_MS) + self._reconnect_ms
        if not self.hung and not self._world.topics_cut and self._world.loop.now_ms >= back_ms:
            self._producer.write((self.topic, 0), b'"1"', at_once=self._world.shortcuts)


class TopicWriters:
    """All of a kind, and what is known of their topics whatever any bridge makes of it."""

    def __init__(self, world: "World", writers: Sequence[TopicWriter]) -> None:
        self.all = writers
        self._world = world
        #: Topic -> true times of its records.
        self._written_ms: dict[str, list[int]] = {each.topic: [] for each in self.all}

    def note(self, record: Record) -> None:
        """A record was appended somewhere."""
        written = self._written_ms.get(record.topic)
        if written is not None:
            written.append(self._world.loop.now_ms)

    def written_ms(self, topic: str, before_ms: int) -> int:
        """True time of the newest record of a topic up to some moment, 0 if there is none."""
        written = self._written_ms.get(topic, [])
        at = bisect.bisect_right(written, before_ms)
        return written[at - 1] if at else 0

    def writer_of(self, topic: str) -> TopicWriter | None:
        """Who writes into a topic."""
        return next((each for each in self.all if each.topic == topic), None)

    def heal(self) -> None:
        """All of them run and write."""
        for each in self.all:
            each.start()
            each.hung = False


def originals_of(world: "World", count: int) -> TopicWriters:
    """Services with the original heartbeat client."""
    names = ((f"service-original-{number}", f"original-{number}") for number in range(count))
    return TopicWriters(world, [TopicWriter(world, name, topic) for name, topic in names])


class SimBridge:
    """The bridge of one worker."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._bridge = Bridge(worker.watcher, worker.world.topics.prefix)
        self._asks = 0
        self._is_asking = self._forgot = False
        self._pass()

    def _pass(self) -> None:
        worker = self._worker
        worker.after(int(PASS_EVERY_S * 1000), self._pass)
        if self._is_asking:
            return
        wanted = (
            self._bridge.wanted()
            if worker.planning.leads and (worker.state.bridged or worker.state.judged)
            else None
        )
        if wanted is None or not wanted.sources:
            if not self._forgot:
                self._forgot = True
                self._bridge.forget()
                worker.ticker.note_bridged(0, 0)
            return
        self._forgot = False
        self._asks += 1
        self._is_asking = True
        began_ms, asked = worker.mono_ms, self._asks
        broker = worker.world.broker
        worker.after(ANSWER_WITHIN_MS, partial(self._give_up, asked))

        def arrive() -> None:
            if worker.machine.is_cut or not worker.world.broker_up or worker.world.topics_cut:
                return
            counts = worker.world.counts(wanted.topics)
            worker.after(broker.latency(), partial(self._take, asked, wanted, counts, began_ms))

        worker.loop.after(broker.latency(), arrive)

    def _give_up(self, asked: int) -> None:
        """No answer came; one that comes later is not listened to."""
        if self._is_asking and asked == self._asks:
            self._is_asking = False
            self._asks += 1

    def _take(self, asked: int, wanted: Wanted, counts: dict[str, int], began_ms: int) -> None:
        if asked != self._asks:
            return
        known = self._bridge._counts
        if any((source, expectation) not in known for source, (_, expectation) in wanted.sources.items()):
            # Beats that bridges wrote before may still be unread.
            self._worker.settle()
        machine = self._worker.machine
        beats = self._bridge.beats_due(wanted, counts, now_ms=machine.wall_ms, clock_ms=self._worker.mono_ms)
        # From here on the wait is for the beats, which the producer gives up in the end.
        self._asks += 1
        self._write(beats, partial(self._worker.ticker.note_bridged, wanted.as_of, began_ms))

    def _write(self, beats: list[Beat], done: Any) -> None:
        """Write the beats, and say so once all of them stand."""
        waiting = set(range(len(beats)))
        if not waiting:
            self._is_asking = False
            done()

        def standing(number: int, offset: int | None) -> None:
            waiting.discard(number)
            if offset is None:
                self._is_asking = False
                waiting.add(-1)
                return
            self._bridge.written(beats[number])
            if not waiting:
                self._is_asking = False
                done()

        place = self._worker.world.topics.heartbeats
        for number, beat in enumerate(beats):
            key = beat.source.encode()
            self._worker.producer.send(
                (place, partition_of(beat.source)), key, beat, partial(standing, number)
            )
