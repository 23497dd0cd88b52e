"""Apps that notify, and the inbox of a simulated worker. Part of the simulator.

A speaker is the process of an app with what `sdk.outbox` does for it: one record under way, tried until it is
acknowledged, the others in order behind it. The inbox is the real one (`streams.core.inbox`); what is mirrored is its
reader.
"""

from functools import partial
from typing import TYPE_CHECKING

from sdk.contract.notifications import SEVERITIES, Notification, encode_notification
from streams.core.inbox import Inbox
from tests.simulation.kafka import Producer, Reader
from tests.simulation.loop import Machine, Process

if TYPE_CHECKING:
    from tests.simulation.workers import Worker
    from tests.simulation.world import World

#: Pauses between two notifications, ms, and how long the SDK waits after a failure at the most.
PAUSE_MS, AGAIN_MS = (1_000, 9_000), 1_000
#: How long an escalation takes in here, ms: all of them must be over before there is silence on the log.
ESCALATE_MS = 3_000


class Speaker:
    """One process of an app that notifies."""

    def __init__(self, world: "World", app: str, generation: int) -> None:
        self._world = world
        self._app = app
        self._generation = generation
        self._writer = world.draw("writer").replace("-", "")
        self._number = 0
        self.machine = Machine(world.loop, app)
        self._process = Process(world.loop, self.machine, f"{app}/{generation}/{self._writer}")
        self._producer = Producer(self._process, world.broker)
        self._queue: list[Notification] = []
        self._is_sending = False
        self._process.after(self._process.chance.randint(*PAUSE_MS), self._speak)

    @property
    def has_unsent(self) -> bool:
        """Whether it lives and something waits for its acknowledgement."""
        return self._process.alive and bool(self._queue)

    def kill(self) -> None:
        """SIGKILL: what waits is lost."""
        self._process.kill()

    def _speak(self) -> None:
        if self._world.speakers.hushed:
            return
        self.say()
        self._process.after(self._process.chance.randint(*PAUSE_MS), self._speak)

    def say(self) -> None:
        """Tell people something."""
        if not self._process.alive:
            return
        chance, now_ms = self._process.chance, self.machine.wall_ms
        self._number += 1
        said = Notification(
            self._app,
            self._generation,
            self._writer,
            self._number,
            chance.choice("abc"),
            f"number {self._number}",
            chance.choice(SEVERITIES),
            now_ms,
            now_ms,
            count=chance.choice([1, 1, 1, 7]),
            escalate_after_ms=chance.choice([0, 0, ESCALATE_MS]),
        )
        self._queue.append(said)
        self._send()

    def _send(self) -> None:
        if self._queue and not self._is_sending:
            self._is_sending = True
            said = self._queue[0]
            place = (self._world.topics.notifications, 0)
            self._producer.send(place, self._app.encode(), encode_notification(said), self._sent)

    def _sent(self, offset: int | None) -> None:
        self._is_sending = False
        if offset is None:
            self._process.after(self._process.chance.randint(100, AGAIN_MS), self._send)
        else:
            del self._queue[0]
            self._send()


class Speakers:
    """All of them; an app has one rightful process, and perhaps others that nobody wants any more."""

    def __init__(self, world: "World", count: int) -> None:
        self._world = world
        #: They say nothing new.
        self.hushed = False
        self.apps = [f"application-speaker-{number}" for number in range(count)]
        self._generation = dict.fromkeys(self.apps, 1)
        self.all = {app: [Speaker(world, app, 1)] for app in self.apps}

    def follow(self, app: str, *, same: bool, kills: bool) -> None:
        """Another process of an app, in the same generation or the next; the ones before it die, or go on."""
        if kills:
            for speaker in self.all[app]:
                speaker.kill()
            self.all[app].clear()
        self._generation[app] += not same
        self.all[app].append(Speaker(self._world, app, self._generation[app]))

    def hush(self) -> None:
        """What was said is still delivered."""
        self.hushed = True

    @property
    def unsent(self) -> str:
        """Who still has something to deliver; empty if nobody."""
        return next((app for app, found in self.all.items() if any(each.has_unsent for each in found)), "")


class SimInbox:
    """The inbox of one worker, and the reader that wakes it."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        world = worker.world
        self._place = (world.topics.notifications, 0)
        self._log = world.broker.log(*self._place)
        self._inbox = Inbox(
            state=worker.state,
            planning=worker.planning,
            appender=worker.appender,  # type: ignore[arg-type]
            letters=worker.letters,
            topic_id=world.notifications_id,
        )
        self._is_asking = False
        self.reader = Reader(worker, world.broker, {self._place: self._log.end}, lambda _: self._wake())

    @property
    def is_busy(self) -> bool:
        """Whether something is left for the next turn."""
        if not (self._worker.planning.leads and self.reader.can_read):
            return False
        return self._is_asking or self._inbox._start != self._log.end

    def _wake(self) -> None:
        """To who does not lead it is no news; who begins to lead turns anyway."""
        if self._worker.planning.leads:
            self._worker.wake()

    def turn(self, now_ms: int) -> None:
        """Ask for what came since, if it is time."""
        worker = self._worker
        start = self._inbox.due(now_ms)
        if start is None or start == self._log.end or self._is_asking or not self.reader.can_read:
            return
        self._is_asking = True
        worker.after(worker.world.broker.latency(), partial(self._take, start))

    def _take(self, start: int) -> None:
        self._is_asking = False
        if not self.reader.can_read:
            return
        log = self._log
        begin = log.records[0].offset if log.records else log.end
        self._inbox.take(log.since(start), start=start, begin=begin, end=log.end, now_ms=self._worker.mono_ms)
