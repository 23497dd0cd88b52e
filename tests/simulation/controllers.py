"""Controllers in the simulator: devices that act, copies of apps and people that set them, and what is known of both.

A device is the real `DeviceMemory` and `report_of` on the simulated broker. A copy sets with the generation that it was
started under, so whoever was replaced and runs on is a zombie that sets.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from sdk.contract import events as e
from sdk.contract.codec import DecodeError, encode_request
from sdk.contract.controllers import (
    DESIRED_KEY,
    REPORTED_KEY,
    Desired,
    Reported,
    decode_desired,
    decode_reported,
    encode_reported,
)
from sdk.contract.devices import Device, device_topic
from sdk.contract.requests import BindDevice, RegisterDevice, SetController
from sdk.controller_device import DeviceMemory, Rejected, report_of
from tables.commands import desired_for
from tests.simulation.kafka import Producer, Reader, Record
from tests.simulation.loop import Machine, Process

if TYPE_CHECKING:
    from tests.simulation.machines import Copy
    from tests.simulation.world import World

Fault = tuple[str, str]

#: An app sets its controller this often on the average, in the time of faults.
SET_EVERY_MS = 5_000
#: How long commands may wait, some for less than any fault lasts and some for longer.
FOR_MS = (1_000, 5_000, 20_000)
#: Beyond a command's time, in peace: the leader's turn, two hops, a change of leader just before.
ENDED_MS = 15_000
#: A report that is not acknowledged is sent again.
REPORT_AGAIN_MS = 500
#: What is no record of anybody.
GARBAGE = b"garbage("


class DeviceProcess:
    """The device of one controller, which somebody starts again when it ends; each time it is another process."""

    def __init__(self, world: "World", controller: str, topic: str) -> None:
        self._world = world
        self.controller, self.topic = controller, topic
        self._machine = Machine(world.loop, controller)
        self._process: Process | None = None
        self._reader: Reader | None = None
        #: Lives so far.
        self.life = 0
        #: It dies right after it has acted next, before it can say so.
        self.dies_after_acting = False
        self.start()

    def start(self) -> None:
        """Start it if it does not run."""
        if self._process is not None and self._process.alive:
            return
        self.life += 1
        self._process = process = Process(self._world.loop, self._machine, self.controller)
        self._producer = Producer(process, self._world.broker)
        self._memory = DeviceMemory()
        self._unsaid: Reported | None = None
        self._end = self._world.broker.log(self.topic).end
        self._position = 0
        self._reader = Reader(process, self._world.broker, {(self.topic, 0): 0}, self._read)
        if not self._end:
            self._act()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
        if self._reader is not None:
            self._reader.close()

    def _read(self, batches: dict[Any, list[Record]]) -> None:
        for records in batches.values():
            for record in records:
                self._memory.read(record.key, record.value)
            self._position = records[-1].offset + 1
        if self._position >= self._end:
            self._act()

    def _act(self) -> None:
        desired = self._memory.due()
        if self._unsaid is not None or desired is None:
            return
        self._unsaid = report_of(desired, partial(self._switch, desired))
        self._memory.acted(self._unsaid)
        if self.dies_after_acting:
            self.dies_after_acting = False
            self.kill()
            self._world.loop.after(3_000, self.start)
            return
        self._say()

    def _switch(self, desired: Desired, value: Any) -> None:
        self._world.house.acted(self, desired)
        if value == "no":
            raise Rejected("no")

    def _say(self) -> None:
        assert self._process is not None
        assert self._unsaid is not None
        value = encode_reported(self._unsaid)
        self._producer.send((self.topic, 0), REPORTED_KEY, value, self._said)

    def _said(self, offset: int | None) -> None:
        assert self._process is not None
        if offset is None:
            self._process.after(REPORT_AGAIN_MS, self._say)
            return
        self._unsaid = None
        self._act()


class House:
    """All controllers, those who set them, and the truth about their commands."""

    def __init__(self, world: "World", count: int) -> None:
        self._world = world
        self._chance = Random(f"house/{world.seed}")
        self.controllers = [f"controller-{number}" for number in range(count)]
        self.topics = {device_topic("watchkeep", Device(name)): name for name in self.controllers}
        self.devices = {name: DeviceProcess(world, name, topic) for topic, name in self.topics.items()}
        self._asked = 0
        self.rests = False
        #: Command -> whether its asker's generation was in force when the log admitted it.
        self._rightful: dict[str, bool] = {}
        #: Command -> lives in which a device acted on it; and commands whose report stands.
        self._acts: dict[str, list[tuple[str, int]]] = {}
        self._reported: set[str] = set()

    def begin(self) -> None:
        """The controllers are registered, each bound to an app, and from now on set."""
        for number, name in enumerate(self.controllers):
            self._world.ask(RegisterDevice(Device(name)))
            self._world.ask(BindDevice(f"application-{2 + number}", 0, name))
            self._plan(f"application-{2 + number}")

    def heal(self) -> None:
        """All devices run, and nobody sets any more."""
        self.rests = True
        for device in self.devices.values():
            device.dies_after_acting = False
            device.start()

    # --- setting ------------------------------------------------------------------------------------

    def _plan(self, app: str) -> None:
        if not self.rests:
            self._world.loop.after(self._chance.randint(1, 2 * SET_EVERY_MS), partial(self._app_sets, app))

    def _app_sets(self, app: str) -> None:
        self._plan(app)
        copies = self.copies_of(app)
        if copies and not self.rests:
            copy = self._chance.choice(copies)
            self.set(app, copy.generation, can_reach=lambda: copy.alive and not copy.node.machine.cut_up)

    def copies_of(self, app: str) -> "list[Copy]":
        """Processes of an app, those that were replaced too."""
        return [copy for node in self._world.nodes.values() for copy in node.running() if copy.app == app]

    def set(
        self, app: str, generation: int, *, can_reach: Callable[[], bool] = lambda: True, controller: str = ""
    ) -> None:
        """Somebody sets a controller; the request may come twice, or late."""
        self._asked += 1
        command, chance = f"command-{self._asked}", self._chance
        value = '"no"' if chance.random() < 0.1 else str(self._asked)  # one in ten is rejected
        sent_at_ms = self._world.loop.now_ms
        wish = SetController(value, chance.choice(FOR_MS), app, 0, controller, generation, sent_at_ms)

        def send() -> None:
            if self._world.broker_up and can_reach():
                raw = encode_request(wish, request_id=command, asker="sim", at_ms=sent_at_ms)
                self._world.broker.append((self._world.topics.requests, 0), [(command.encode(), raw)])

        send()
        if chance.random() < 0.3:  # an acknowledgement was lost: it is sent again
            self._world.loop.after(chance.choice([5, 300, 4_000]), send)

    # --- judging ------------------------------------------------------------------------------------

    def about_to_fold(self, event: e.Event) -> None:
        """Note what is true before the fold has its say."""
        if isinstance(event, e.ControllerSetRequested) and event.request not in self._rightful:
            row = self._world.checks.state.apps.get(event.app)
            in_force = row is not None and row.generation == event.generation
            self._rightful[event.request] = in_force or not event.generation

    def accepted(self, event: e.Event) -> Fault | None:
        """The fold took it."""
        if isinstance(event, e.ControllerReported) and event.command not in self._acts:
            return "a command that is done was done", f"{event} and no device acted"
        return None

    def acted(self, device: DeviceProcess, desired: Desired) -> None:
        """A device acts on a command."""
        life = (device.controller, device.life)
        lives = self._acts.setdefault(desired.command, [])
        if life in lives:
            self._fail("a command is done once", f"{desired} again in life {device.life}")
        if desired.command in self._reported:
            self._fail("a command is done once", f"{desired} in life {device.life}, and its report stands")
        lives.append(life)

    def note(self, record: Record) -> None:
        """A record was appended to a controller's topic."""
        if record.topic not in self.topics or record.value == GARBAGE:
            return
        try:
            if record.key == REPORTED_KEY:
                self._reported.add(decode_reported(record.value).command)
            elif record.key == DESIRED_KEY:
                desired = decode_desired(record.value)
                if not self._rightful.get(desired.command, False):
                    self._fail("no command of a stale generation is desired", f"{desired}")
        except DecodeError as error:
            self._fail("records of controllers can be read", f"{error}: {record}")

    def look(self) -> Fault | None:
        """Whether every command has ended in its time, as far as there was peace."""
        world, state = self._world, self._world.checks.state
        if not any(worker.alive and not worker.paused for worker in world.workers.values()):
            # Nobody is there who could end one: a platform that was stopped in good order, for example.
            return None
        calm_since_ms = max(world.broker_disturbed_ms, world.workers_disturbed_ms)
        for row in state.commands.values():
            if row.phase != "desired" or row.wake is None:
                continue
            for_ms = row.wake.due_at_ms - row.asked_at_ms
            since_ms = max(calm_since_ms, world.checks.log.true_ms(row.offset))
            if world.broker_up and world.loop.now_ms - since_ms > for_ms + ENDED_MS:
                return "a command ends in its time", f"{row} after {world.loop.now_ms - since_ms} ms in peace"
        return None

    def unhealed(self) -> str:
        """What is not well yet."""
        state = self._world.checks.state
        for topic, name in self.topics.items():
            wanted = desired_for(state, name, topic_id=self._world.events_id)
            if wanted is None:
                continue
            if state.commands[wanted.command].phase == "desired":
                return f"command {wanted.command} waits for {name}"
            records = self._world.broker.log(topic).records
            standing = [it.value for it in records if it.key == DESIRED_KEY]
            last = None if not standing or standing[-1] == GARBAGE else decode_desired(standing[-1])
            if last is None or (last.command, last.withdrawn) != (wanted.command, wanted.withdrawn):
                return f"{name} has {last} and ought to have {wanted}"
        return ""

    def _fail(self, checker: str, text: str) -> None:
        self._world.checks.fail(checker, text)
