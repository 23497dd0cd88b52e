"""Simulated workers: the real fold, watcher, facts, planning and publisher in a thin shell. Part of the simulator.

`Round` and all that it turns are the real classes; what is mirrored is what the core does around them: reading,
ticking, saving, and Kafka's group. Their clock is `SHELL_TIME`, set before any of them runs.
"""

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from sdk.contract.heartbeats import Tick
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS
from streams.core.admission import Admission
from streams.core.controls import Controls
from streams.core.letters import Letters, decode_letter
from streams.core.planning import Planning
from streams.core.publisher import Publisher
from streams.core.round import BlindError, Round
from tables.heard import decode_checkpoint
from tables.silence import PartitionWatch
from tables.state import State
from tables.watcher import Watcher
from tests.simulation.dozing import STEP_MS, doze_ms
from tests.simulation.kafka import Producer, Reader, Record
from tests.simulation.loop import BEGIN_MS, Machine, Process
from tests.simulation.originals import SimBridge
from tests.simulation.sim_requests import Requests
from tests.simulation.sim_shell import Disk, SimAppender
from tests.simulation.sim_ticker import SimTicker
from tests.simulation.sim_views import ViewWriter
from tests.simulation.speakers import SimInbox

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The core turns every 100 ms at least; here half as often, for speed: reading wakes it anyway.
TURN_WITHIN_MS = 200
#: Records that come this close together share a turn.
TURN_AFTER_MS = 1
SAVE_EVERY_MS = 1_000
COUNT_BACK_MS = 30_000


class Worker(Process):
    """One worker process."""

    def __init__(self, world: "World", name: str, machine: Machine, disk: Disk) -> None:
        super().__init__(world.loop, machine, name)
        self.world = world
        self.disk = disk
        self.writer = f"worker/{name}/{world.draw('writer')}"
        self.producer = Producer(self, world.broker)
        self.chance = Random(f"{world.seed}/{self.writer}")
        self.tick_producer = Producer(self, world.broker)
        self.state = State()
        #: Offset at which the judges have compared its rows.
        self.judged_at = -1
        self.built = False
        machine.residents.append(self)
        self.readers: list[Reader] = []
        #: It leaves out turns, and its heartbeats unread, while nothing can happen to it.
        self.dozes = self._catching_up = False
        self.after(world.loop.chance.randint(300, 1_500), self._build)

    @property
    def mono_ms(self) -> int:
        """Its clock: `Machine.mono_ms`, looked at too often for another call."""
        machine = self.machine
        return int(1e6 + (self.loop.now_ms - BEGIN_MS) * machine.drift + machine.jump_ms)

    def kill(self) -> None:
        """SIGKILL."""
        was_alive = self.alive
        super().kill()
        if was_alive:
            self.machine.residents.remove(self)
        if self.built and was_alive:
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
        self.rows_unsaved = state.listen()
        self.watcher = Watcher(state)
        self.appender = SimAppender(self)
        self.planning = Planning(state, self.watcher, self.appender)  # type: ignore[arg-type]
        self.publisher = Publisher(state, self.appender, topics, world.events_id)  # type: ignore[arg-type]
        self.controls = Controls(state, self.appender, topics.prefix, world.events_id)  # type: ignore[arg-type]
        self.letters = Letters(self.appender, topics)  # type: ignore[arg-type]
        self.letters.restore(self.disk.letters)
        self.views = ViewWriter(self)
        self.ticker = SimTicker(self, WIDE_PARTITIONS)
        self.admission = Admission(state, self.planning, self.appender, self.letters)  # type: ignore[arg-type]
        self.round = Round(
            state=state,
            watcher=self.watcher,
            planning=self.planning,
            publisher=self.publisher,
            controls=self.controls,
            letters=self.letters,
            admission=self.admission,
            ticker=self.ticker,
            appender=self.appender,  # type: ignore[arg-type]
            heartbeats_id=world.heartbeats_id,
            hash_every=world.hash_every,
        )
        self._turn_planned = False
        self._turn_timer = 0
        self._turned_ms = self.mono_ms
        self._saved_ms = 0
        self.requests = Requests(self)
        self._control_ends: dict[str, int] = {}
        self._back_ends = {
            (topics.commands, number): broker.log(topics.commands, number).end
            for number in range(WIDE_PARTITIONS)
        }
        for topic in (topics.dead_letters, topics.requests, *self.views.topics):
            self._back_ends[topic, 0] = broker.log(topic).end
        self._back_at_end = False
        self._back_at: dict[Any, int] = dict.fromkeys(self._back_ends, 0)
        self.built = True
        self._heartbeats = Reader(self, broker, self._begin_watching(), self._read_heartbeats)
        self.readers = [
            Reader(self, broker, {(topics.events, 0): state.offset + 1}, self._read_log),
            self._heartbeats,
            Reader(self, broker, dict.fromkeys(self._back_ends, 0), self._read_back),
        ]
        self.inbox = SimInbox(self)
        self.readers.append(self.inbox.reader)
        if world.house.topics:
            self.readers.append(self._create_controls_reader())
        world.group.join(self)
        world.view_group.join(self)
        self.ticker.start()
        self.bridge = SimBridge(self)
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
            watch, name_of = None, self.watcher.name_of
            raw = self.disk.watches.get(number)
            if raw is not None:
                saved = PartitionWatch.load(decode_checkpoint(raw), self.state.policy, name_of=name_of)
                watch = saved if back <= saved.next_offset <= log.end else None
            watch = watch or PartitionWatch(number, begin=back, name_of=name_of)
            self.watcher.begin(watch)
            positions[self.world.topics.heartbeats, number] = watch.next_offset
        return positions

    # --- reading ------------------------------------------------------------------------------------

    def _read_log(self, batches: dict[Any, list[Record]]) -> None:
        # What came before on the heartbeats was read before.
        self.catch_up()
        for records in batches.values():
            for record in records:
                self.round.fold(record)
        self.round.follow_rows()
        self.wake()

    def _read_heartbeats(self, batches: dict[Any, list[Record]]) -> None:
        for (_, partition), records in batches.items():
            watch, policy = self.watcher.watches[partition], self.state.policy
            for record in records:
                value = record.value
                if record.same_as >= 0:
                    self._hear_again(watch, record, policy)
                    continue
                heard = None if isinstance(value, bytes) else value
                watch.apply(record.offset, record.timestamp, heard, policy)
                if heard is None:
                    self.letters.meet(record, "garbage")
                elif isinstance(heard, Tick):
                    self.round.hear_tick(partition, heard)
        if not self._catching_up:
            self.wake()

    def _hear_again(self, watch: PartitionWatch, record: Record, policy: Policy) -> None:
        """A report that says what the one before said: if that was looked at, this one need not be."""
        reporter = record.value.reporter
        known = watch.reports.get(reporter)
        is_news = known is None or known.newest_offset != record.same_as or reporter in watch.heard
        is_news = is_news or reporter in watch.silent
        watch.apply(record.offset, record.timestamp, record.value, policy)
        if not is_news:
            watch.heard.discard(reporter)

    def _read_back(self, batches: dict[Any, list[Record]]) -> None:
        for place, records in batches.items():
            for record in records:
                self._take_back(record)
            self._back_at[place] = records[-1].offset + 1
        # To who neither leads nor writes the view it is no news.
        if not self.dozes or self.planning.leads or self.views.owns:
            self.wake()

    def _create_controls_reader(self) -> Reader:
        """Whoever does not lead reads along in here; the real one begins to read when it begins to lead."""
        broker, topics = self.world.broker, self.world.house.topics
        self._control_ends = {topic: broker.log(topic).end for topic in topics}
        self._control_caught_up(dict.fromkeys(topics, 0))
        return Reader(self, broker, dict.fromkeys(((topic, 0) for topic in topics), 0), self._read_controls)

    def _read_controls(self, batches: dict[Any, list[Record]]) -> None:
        for records in batches.values():
            for record in records:
                controller = self.world.house.topics[record.topic]
                try:
                    self.controls.read_back(controller, record.key, record.value, record.offset)
                except ValueError as error:
                    self.letters.meet(record, str(error))
        self._control_caught_up({topic: records[-1].offset + 1 for (topic, _), records in batches.items()})
        if not self.dozes or self.planning.leads:
            self.wake()

    def _control_caught_up(self, positions: dict[str, int]) -> None:
        for topic, position in positions.items():
            if position >= self._control_ends.get(topic, 0):
                self._control_ends.pop(topic, None)

    def _take_back(self, record: Record) -> None:
        try:
            if record.topic == self.world.topics.commands:
                self.publisher.read_back(record.key, record.value)
            elif record.topic == self.world.topics.requests:
                self.admission.note(record)
            elif record.topic in self.views.topics:
                self.views.viewing.read_back(record.topic, record.key, record.value)
            else:
                self.letters.read_back(decode_letter(record.value).letter_key)
        except (ValueError, RecursionError) as error:
            self.letters.meet(record, str(error))

    # --- turns --------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is something to turn for."""
        if not self._turn_planned:
            self._turn_planned = True
            self._plan_turn(TURN_AFTER_MS)

    def _plan_turn(self, delay_ms: int) -> None:
        self._turn_timer += 1
        self.after(delay_ms, partial(self._turn, self._turn_timer))

    # --- dozing -------------------------------------------------------------------------------------

    @property
    def hears_calmly(self) -> bool:
        """Whether what it sends stands at once, and what it may read it can read."""
        machine = self.machine
        return self.world.broker.is_calm and not (machine.cut_up or machine.cut_down)

    @property
    def can_read(self) -> bool:
        """Whether it may read the heartbeats."""
        return self._heartbeats.can_read

    @property
    def is_busy(self) -> bool:
        """Whether something is under way, or left for the next turn."""
        planning = self.planning
        refused = self.round.outbox._refused
        if any(fact.event_id not in refused for fact in self.round.facts):
            return True
        if self.paused or planning.owns != planning.leads or planning.is_deciding:
            return True
        if any(reader.stalled for reader in self.readers):
            return True
        if not planning.leads:
            return False
        return bool(
            self.requests.are_waiting
            or self.inbox.is_busy
            or self.admission._unanswered.keys() - self.state.tables["requests"].keys()
            or self.publisher._dirty
            or self.publisher._flight
            or not self.controls.is_settled
            or self.letters.pending
            or planning._paused_until_s * 1000 > self.mono_ms
            or not self._is_back_at_end()
        )

    @property
    def expects_news(self) -> bool:
        """Whether a record on its way will end the doze."""
        return self._turn_planned or any(reader.is_planned for reader in self.readers)

    def catch_up(self) -> None:
        """Read the heartbeats that were left unread while it dozed."""
        if self.dozes and self._heartbeats.can_read:
            self._catching_up = True
            self._heartbeats.read()
            self._catching_up = False

    def _stop_dozing(self) -> None:
        """Be where turns all along would have brought it."""
        if not self.dozes:
            return
        self.catch_up()
        self.dozes = self._heartbeats.dozes = False
        now_ms = self.mono_ms
        # The timers' clock moves by less than was slept.
        while now_ms - self._turned_ms > STEP_MS:
            self._turned_ms += STEP_MS
            self.planning._timers.advance(STEP_MS)
        self.views.turned_ms = now_ms

    def settle(self) -> None:
        """Be where all turns would have brought it."""
        if self.dozes:
            before, self.loop.running = self.loop.running, self
            self._stop_dozing()
            self.loop.running = before
            self.wake()

    def pause(self) -> None:
        """SIGSTOP."""
        self.settle()
        super().pause()

    # --- the turn -----------------------------------------------------------------------------------

    def _turn(self, timer: int) -> None:
        if timer != self._turn_timer:
            return
        self._turn_planned = False
        self._stop_dozing()
        now_ms = self.mono_ms
        elapsed_ms, self._turned_ms = now_ms - self._turned_ms, now_ms
        at_end = self._is_back_at_end()
        for controller, topic in self.controls.topics.items():
            if topic not in self._control_ends:
                self.controls.caught_up(controller)
        try:
            self.round.turn(now_ms, elapsed_ms, back_at_end=at_end)
        except BlindError:
            self.world.worker_ended(self, "blind")
            return
        self.requests.admit()
        self.inbox.turn(now_ms)
        self.views.turn(readers_at_end=at_end)
        if now_ms - self._saved_ms >= SAVE_EVERY_MS:
            self._saved_ms = now_ms
            self.disk.save(self)
        sleep_ms = doze_ms(self)
        self.dozes = self._heartbeats.dozes = sleep_ms > 0
        self._plan_turn(sleep_ms or TURN_WITHIN_MS)

    def _is_back_at_end(self) -> bool:
        """Whether what was published before it was started is read."""
        if not self._back_at_end:
            self._back_at_end = all(self._back_at[at] >= end for at, end in self._back_ends.items())
        return self._back_at_end
