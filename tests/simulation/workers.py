"""Simulated workers: the real fold, watcher, facts, planning and publisher in a thin shell. Part of the simulator.

`Planning`, `Publisher` and `Letters` are the real classes; what is mirrored, in the order of `streams.core.core`, is
the core itself, the ticker, the admission and Kafka's group. Their clock is `SHELL_TIME`, set before any of them runs.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.errors import KafkaTimeoutError

from sdk.contract.codec import Asked, DecodeError, decode_event, decode_request
from sdk.contract.events import Event, PlannerStarted, RequestRefused
from sdk.contract.heartbeats import Beat, Tick
from sdk.contract.ids import derive_id
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from streams.core.letters import Letters, decode_letter
from streams.core.planning import Planning
from streams.core.publisher import Publisher
from tables import facts as facts_module
from tables.admit import admit
from tables.facts import Fact, FactOutbox
from tables.fold import Meta, Outcome, fold, fold_garbage
from tables.silence import Checkpoint, PartitionWatch
from tables.state import State
from tables.watcher import Watcher
from tests.simulation.kafka import Producer, Reader, Record
from tests.simulation.loop import Machine, Process
from tests.simulation.sim_shell import SHELL_TIME, Disk, SimAppender
from tests.simulation.sim_views import ViewWriter

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The core turns every 100 ms at least; here half as often, for speed: reading wakes it anyway.
TURN_WITHIN_MS = 200
#: Records that come this close together share a turn.
TURN_AFTER_MS = 1
TICK_MS, OTHERS_MS, OWN_MS, SENT_MAX = 250, 200, 450, 40
SAVE_EVERY_MS = 1_000
BEAT_EVERY_MS = 5_000
BLIND_MS = 5_000
COUNT_BACK_MS = 30_000


class Worker(Process):
    """One worker process."""

    def __init__(self, world: "World", name: str, machine: Machine, disk: Disk) -> None:
        super().__init__(world.loop, machine, name)
        self.world = world
        self.disk = disk
        self.writer = f"worker/{name}/{world.draw('writer')}"
        self.producer = Producer(self, world.broker)
        self.tick_producer = Producer(self, world.broker)
        self.state = State()
        self.built = False
        self.readers: list[Reader] = []
        self.after(world.loop.chance.randint(300, 1_500), self._build)

    # --- running code of the shell ------------------------------------------------------------------

    def enter(self, work: Callable[[], None]) -> None:
        """Run code of the shell under this worker's clock."""
        SHELL_TIME.mono_ms = self.machine.mono_ms
        SHELL_TIME.random = self.loop.chance.random
        work()

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` now, or when it is continued."""
        super().run(lambda: self.enter(work))

    @property
    def mono_ms(self) -> int:
        """Its clock."""
        return int(self.machine.mono_ms)

    def kill(self) -> None:
        """SIGKILL."""
        super().kill()
        if self.built:
            for reader in self.readers:
                reader.close()

    # --- start --------------------------------------------------------------------------------------

    def _build(self) -> None:
        world = self.world
        broker, topics = world.broker, world.topics
        if self.machine.is_cut or not broker.alive or broker.paused:
            self.after(500, self._build)
            return
        self.disk.restore(self.state, log_end=broker.log(topics.events).end)
        state = self.state
        self.rows_changed = state.listen()
        self.rows_unsaved = state.listen()
        self.watcher = Watcher(state)
        self.outbox = FactOutbox()
        self.appender = SimAppender(self)
        self.planning = Planning(state, self.watcher, self.appender)  # type: ignore[arg-type]
        self.publisher = Publisher(state, self.appender, topics, world.events_id)  # type: ignore[arg-type]
        self.letters = Letters(self.appender, topics)  # type: ignore[arg-type]
        self.letters.restore(self.disk.letters)
        self.views = ViewWriter(self)
        self._sent: deque[tuple[int, int]] = deque(maxlen=SENT_MAX)
        self._number = self._beats = 0
        self._others_ms = [-OTHERS_MS] * WIDE_PARTITIONS
        self._own_ms = [-OWN_MS] * WIDE_PARTITIONS
        self.acknowledged_ms = [0] * WIDE_PARTITIONS
        self._ticks_flying = 0
        self._turn_planned = False
        self._turn_timer = 0
        self._turned_ms = self.mono_ms
        self._saved_ms = 0
        self._admitted_at = -1
        self._admitting = False
        self._back_ends = {
            (topics.commands, number): broker.log(topics.commands, number).end
            for number in range(WIDE_PARTITIONS)
        }
        for topic in (topics.dead_letters, *self.views.topics):
            self._back_ends[topic, 0] = broker.log(topic).end
        self._back_at: dict[Any, int] = dict.fromkeys(self._back_ends, 0)
        self.built = True
        self.readers = [
            Reader(self, broker, {(topics.events, 0): state.offset + 1}, self._read_log),
            Reader(self, broker, self._begin_watching(), self._read_heartbeats),
            Reader(self, broker, dict.fromkeys(self._back_ends, 0), self._read_back),
        ]
        world.group.join(self)
        world.view_group.join(self)
        self._tick()
        self._beat()
        self._plan_turn(TURN_WITHIN_MS)

    def _begin_watching(self) -> dict[tuple[str, int], int]:
        positions = {}
        for number in range(WIDE_PARTITIONS):
            log = self.world.broker.log(self.world.topics.heartbeats, number)
            back = log.end
            if log.records:
                since = log.records[-1].timestamp - COUNT_BACK_MS
                # Newest first: append times may step back, and the log is long.
                for record in reversed(log.records):
                    if record.timestamp < since:
                        break
                    back = record.offset
            watch = None
            raw = self.disk.watches.get(number)
            if raw is not None:
                saved = PartitionWatch.load(msgspec.json.decode(raw, type=Checkpoint), self.state.policy)
                watch = saved if back <= saved.next_offset <= log.end else None
            watch = watch or PartitionWatch(number, begin=back)
            self.watcher.begin(watch)
            positions[self.world.topics.heartbeats, number] = watch.next_offset
        return positions

    # --- reading ------------------------------------------------------------------------------------

    def _read_log(self, batches: dict[Any, list[Record]]) -> None:
        for records in batches.values():
            for record in records:
                self._fold(record)
        for table, key in self.rows_changed:
            self.watcher.row_changed(table, key)
        self.rows_changed.clear()
        self._wake()

    def _fold(self, record: Record) -> None:
        meta = Meta(record.offset, record.timestamp)
        try:
            recorded = decode_event(record.value)
        except DecodeError as error:
            fold_garbage(self.state, meta, str(error))
            self.letters.meet(record, str(error))
            return
        outcome: Outcome = fold(self.state, recorded, meta)
        self.outbox.read_back(recorded.id, accepted=outcome.accepted)
        if (
            outcome.accepted
            and isinstance(recorded.event, PlannerStarted)
            and self.planning.term_read(recorded.event)
        ):
            self.publisher.begin_term()
        self.planning.read_back(recorded.id, accepted=outcome.accepted, reason=outcome.dropped)

    def _read_heartbeats(self, batches: dict[Any, list[Record]]) -> None:
        watcher = self.watcher
        for (_, partition), records in batches.items():
            for record in records:
                value = record.value
                heard = None if isinstance(value, bytes) else value
                watcher.apply(partition, record.offset, record.timestamp, heard)
                if heard is None:
                    self.letters.meet(record, "garbage")
                elif isinstance(heard, Tick):
                    self._hear_tick(partition, heard)
        self._wake()

    def _hear_tick(self, partition: int, tick: Tick) -> None:
        if tick.writer != self.writer:
            self._others_ms[partition] = self.mono_ms
            return
        sent_ms = next((at for number, at in self._sent if number == tick.number), None)
        if sent_ms is not None:
            first = partition not in self.watcher.fresh_at_ms
            self.watcher.fresh_at_ms[partition] = sent_ms
            if first:
                self.watcher.caught_up(partition)

    def _read_back(self, batches: dict[Any, list[Record]]) -> None:
        for place, records in batches.items():
            for record in records:
                self._take_back(record)
            self._back_at[place] = records[-1].offset + 1
        self._wake()

    def _take_back(self, record: Record) -> None:
        try:
            if record.topic == self.world.topics.commands:
                self.publisher.read_back(record.key, record.value)
            elif record.topic in self.views.topics:
                self.views.viewing.read_back(record.topic, record.key, record.value)
            else:
                self.letters.read_back(decode_letter(record.value).letter_key)
        except (ValueError, RecursionError) as error:
            self.letters.meet(record, str(error))

    # --- ticks and beats ----------------------------------------------------------------------------

    def _tick(self) -> None:
        self.after(TICK_MS, self._tick)
        if self._ticks_flying:
            return
        now_ms = self.mono_ms
        due = [
            number
            for number in range(WIDE_PARTITIONS)
            if now_ms - self._others_ms[number] >= OTHERS_MS or now_ms - self._own_ms[number] >= OWN_MS
        ]
        if not due:
            return
        self._number += 1
        self._sent.append((self._number, now_ms))
        tick = Tick(self.writer, self._number)
        self._ticks_flying = len(due)
        for number in due:
            self._own_ms[number] = now_ms
            place = (self.world.topics.heartbeats, number)
            self.tick_producer.send(place, None, tick, partial(self._tick_done, number))

    def _tick_done(self, partition: int, offset: int | None) -> None:
        self._ticks_flying -= 1
        if offset is not None:
            self.acknowledged_ms[partition] = self.mono_ms

    def _beat(self) -> None:
        self._beats += 1
        source = f"service-{self.name}"
        place = (self.world.topics.heartbeats, partition_of(source))
        beat = Beat(source, 0, self._beats, self.machine.wall_ms)
        self.tick_producer.send(place, source.encode(), beat, lambda _: None)
        self.after(BEAT_EVERY_MS, self._beat)

    # --- turns --------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._turn_planned:
            self._turn_planned = True
            self._plan_turn(TURN_AFTER_MS)

    def _plan_turn(self, delay_ms: int) -> None:
        self._turn_timer += 1
        mine = self._turn_timer
        self.after(delay_ms, lambda: self._turn() if mine == self._turn_timer else None)

    def _turn(self) -> None:
        self._turn_planned = False
        now_ms = self.mono_ms
        elapsed_ms, self._turned_ms = now_ms - self._turned_ms, now_ms
        self.watcher.now_ms = now_ms
        planning = self.planning
        leads = planning.leads
        facts = facts_module.find_facts(self.watcher, topic_id=self.world.heartbeats_id, leads=leads)
        self._write_facts(self.outbox.due(facts, now_ms=now_ms, leads=leads))
        planning.turn(elapsed_ms)
        at_end = all(self._back_at[at] >= end for at, end in self._back_ends.items())
        if leads and at_end:
            if not planning.is_deciding:
                self.publisher.publish()
            self.letters.write()
            if self._is_blind(now_ms):
                self.world.worker_ended(self, "blind")
                return
        else:
            self.publisher.follow()
        self._admit()
        self.views.turn(readers_at_end=at_end)
        if now_ms - self._saved_ms >= SAVE_EVERY_MS:
            self._saved_ms = now_ms
            self.disk.save(self)
        self._plan_turn(TURN_WITHIN_MS)

    def _write_facts(self, facts: list[Fact]) -> None:
        if facts:
            cause = self.planning.last_id
            batch = [(str(fact.event_id), fact.event, cause) for fact in facts]
            self.appender.later(self.appender.append(batch))

    def _is_blind(self, now_ms: int) -> bool:
        for partition, acked_ms in enumerate(self.acknowledged_ms):
            fresh_ms = self.watcher.fresh_at_ms.get(partition, now_ms)
            if acked_ms - fresh_ms > BLIND_MS and now_ms - acked_ms < BLIND_MS:
                return True
        return False

    # --- requests -----------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Take the next request, if this worker owns them, leads and has none under way."""
        group = self.world.group
        if self._admitting or not self.planning.leads or not group.may_read(self):
            return
        log = self.world.broker.log(self.world.topics.requests)
        if group.committed >= log.end:
            return
        record = log.since(group.committed)[0]
        try:
            asked = decode_request(record.value)
        except DecodeError as error:
            self.letters.meet(record, str(error))
            group.commit(self, record.offset + 1)
            return
        event = admit(self.state, asked)
        if isinstance(event, RequestRefused) and self.state.offset < self._admitted_at:
            return
        self._admitting = True
        self.appender.later(self._append_admission(asked, event, record.offset))

    async def _append_admission(self, asked: Asked, event: Event, offset: int) -> None:
        try:
            offsets = await self.appender.append([(derive_id("admitted", asked.id), event, asked.id)])
        except KafkaTimeoutError:
            self.after(500, self._admit_again)
            return
        self._admitting = False
        self._admitted_at = offsets[-1]
        self.world.group.commit(self, offset + 1)

    def _admit_again(self) -> None:
        self._admitting = False
