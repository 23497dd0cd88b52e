"""Simulated nodes: the real agent runner in a thin shell, apps as processes, a provider. Part of the simulator.

The shell mirrors `agents.shell` and `agents.link`: inputs that came together are one turn, the bounded clock
moves first and a cut turn waits 50 ms, only the newest record waits to be sent, orders are read from offset 0.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from agents import inputs as i
from agents.ages import topics_wanted
from agents.clock import BoundedClock
from agents.runner import advance, next_wake
from agents.state import Found, Identity, Image, State, first_state, is_beat_welcome
from agents.topic_reader import READ_EVERY_S
from sdk.contract.heartbeats import Hello
from sdk.contract.ids import node_id
from sdk.contract.orders import AppOrder, NodeOrder
from tests.simulation.hands import Hands
from tests.simulation.kafka import Producer
from tests.simulation.loop import Machine, Process, Work
from tests.simulation.resting import PULSE_MS, Rest, steady_until
from tests.simulation.sim_link import Link

if TYPE_CHECKING:
    from tests.simulation.provider import Provider
    from tests.simulation.world import World

POOL = "pool-home"
IP = "10.0.0.1"
BEAT_EVERY_MS = 5_000
BEAT_AGAIN_MS = 1_000
READ_FIRST_MS = 50
TOPICS_EVERY_MS = int(READ_EVERY_S * 1000)


class Agent(Process):
    """One agent process: the real runner and its shell."""

    def __init__(self, world: "World", machine: Machine, identity: Identity, hands: "Hands") -> None:
        super().__init__(world.loop, machine, identity.reporter)
        self.world = world
        self.identity = identity
        self.hands = hands
        #: Where it was started: its clock is this one's for good.
        self.home = machine
        machine.residents.append(self)
        self.clock = BoundedClock(lambda: machine.mono_ms / 1000)
        self.rest: Rest | None = None
        self._given: list[i.Input] = []
        self._is_due = False
        self._timer = 0
        self._busy_until: dict[str, int] = {}
        self.finished = False
        self.state = first_state(identity, hands.image, hands.adopt(self))
        self.link = Link(self)
        #: The topics that apps here beat into; counted at a beat of its own from the start on, if there are any.
        self._topics: frozenset[str] = frozenset()
        self._is_counting = False
        self._began_ms = self.loop.now_ms
        self.feed(i.ClaimDrawn(world.draw("claim")))

    def kill(self) -> None:
        """SIGKILL."""
        super().kill()
        self.rest = None
        if self in self.home.residents:
            self.home.residents.remove(self)
        self.link.close()

    def settle(self) -> None:
        """Be where all turns would have brought it."""
        self.wake()

    def pause(self) -> None:
        """SIGSTOP."""
        self.wake()
        super().pause()

    def feed(self, item: i.Input) -> None:
        """Hand in what happened."""
        if self.rest is not None:
            if self.rest.hears(item):
                return
            self.wake()
        self._given.append(item)
        self._plan_turn()

    # --- at rest ------------------------------------------------------------------------------------

    @property
    def may_rest(self) -> bool:
        """Whether nothing is under way."""
        return self.world.shortcuts and not self._is_due and self.link.is_idle

    @property
    def is_heard_at_once(self) -> bool:
        """Whether a report would be acknowledged at once."""
        machine = self.machine
        return self.world.broker.is_calm and not (machine.cut_up or machine.cut_down) and self.link.is_idle

    def change_state(self, state: State) -> None:
        """What turns at rest have changed."""
        self.state = state

    def wake(self) -> None:
        """Rest no longer; the next turn comes when it would have come."""
        rest, self.rest = self.rest, None
        if rest is None:
            return
        next_ms, beats = rest.end()
        if beats:
            self._given.extend(beats)
            next_ms = 0
        self._wake_in(next_ms - self.loop.now_ms)

    # --- turns --------------------------------------------------------------------------------------

    def note_sent(self, record: Any, offset: int) -> None:
        """Kafka has a record at this offset."""
        self.feed(i.Acknowledged(record.number, not isinstance(record, Hello), offset))

    def _look_for_topics(self) -> None:
        """New orders: perhaps there are topics to be counted."""
        self._topics = topics_wanted(self.state)
        if self._topics and not self._is_counting:
            self._is_counting = True
            passed_ms = (self.loop.now_ms - self._began_ms) % TOPICS_EVERY_MS
            self.after(TOPICS_EVERY_MS - passed_ms, self._ask_topics)

    def _ask_topics(self) -> None:
        """Count the records of the topics that apps here beat into, as `agents.topic_reader` does."""
        if not self._topics:
            self._is_counting = False
            return
        self.after(TOPICS_EVERY_MS, self._ask_topics)
        world, wanted = self.world, self._topics
        if self.rest is not None and self.is_heard_at_once:
            if not world.topics_cut:
                self.feed(i.TopicsRead(world.counts(wanted)))
            return

        def arrive() -> None:
            if self.machine.is_cut or not world.broker_up or world.topics_cut:
                return
            counts = world.counts(wanted)
            self.after(world.broker.latency(), lambda: self.feed(i.TopicsRead(counts)))

        self.loop.after(world.broker.latency(), arrive)

    def _plan_turn(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.after(0, self._turn)

    def _turn(self) -> None:
        if self.finished:
            return
        if self.clock.turn():
            self.after(READ_FIRST_MS, self._turn)
            return
        self._is_due = False
        given, self._given = self._given, []
        before = self.state
        self.state, todo = advance(self.state, self.clock.now_ms, given)
        self.world.checks.agent_turned(self, before, self.state)
        if self.state.orders is not before.orders:
            self._look_for_topics()
        for instruction in todo:
            self._carry_out(instruction)
        self._timer += 1
        due = steady_until(self.state) if self.may_rest else 0
        if due:
            self.rest = Rest(self, due)
        else:
            self._wake_in(min(max(next_wake(self.state) - self.clock.now_ms, 0) + 1, PULSE_MS))

    def _wake_in(self, delay_ms: int) -> None:
        self._timer += 1
        self.after(delay_ms, partial(self._wake, self._timer))

    def _wake(self, timer: int) -> None:
        if timer == self._timer:
            self._plan_turn()

    def _carry_out(self, instruction: i.Instruction) -> None:  # noqa: C901  # one line for each
        match instruction:
            case i.Spawn(key, epoch, order):
                self._queue(key, lambda: self.hands.spawn(self, key, epoch, order))
            case i.Stop(key, epoch):
                self._queue(key, lambda: self.hands.stop(self, key, epoch))
            case i.Kill(key, epoch):
                self._queue(key, lambda: self.hands.kill(self, key, epoch))
            case i.Forget(key, epoch):
                self._queue(key, lambda: self.hands.forget(key, epoch))
            case i.Send(record):
                self.link.send(msgspec.structs.replace(record, sent_at_ms=self.machine.wall_ms))
            case i.ReadOrders():
                self.link.read_orders()
            case i.Save(image):
                self.hands.image = image
            case i.DrawClaim():
                self.feed(i.ClaimDrawn(self.world.draw("claim")))
            case i.Finish():
                self.finished = True
                self.hands.finish(self)
            case i.Say():
                pass

    def _queue(self, key: str, work: Work) -> None:
        """Do `work` after what was begun on the same key before."""
        at = max(self.loop.now_ms + int(self.loop.chance.random() * 5), self._busy_until.get(key, 0))
        self._busy_until[key] = at
        self.after(at - self.loop.now_ms, work)


class Copy(Process):
    """The process of one generation of an app."""

    def __init__(self, node: "Node", order: AppOrder) -> None:
        super().__init__(node.world.loop, node.machine, f"{order.app}/{order.generation}")
        self.node = node
        self.app, self.generation = order.app, order.generation
        #: The topic that it beats into, empty if it beats to its agent.
        self.topic = order.beats
        self._producer = Producer(self, node.world.broker) if order.beats else None
        self.behaviour = order.command[0]
        self.born_ms = self.loop.now_ms
        self.exit_code: int | None = None
        #: It does not beat although it runs; since when it was disturbed last.
        self.hung = False
        self.disturbed_ms = self.loop.now_ms
        if self.behaviour == "exits":
            self.after(self.loop.chance.randint(0, 3_000), lambda: self.end(1))
        elif self.behaviour != "mute":
            self.after(self.loop.chance.randint(20, 1_500), self._beat)

    def pause(self) -> None:
        """SIGSTOP; what it could beat until now is over."""
        super().pause()
        self.disturbed_ms = self.loop.now_ms

    def resume(self) -> None:
        """SIGCONT, whoever stopped it."""
        if self.paused:
            self.disturbed_ms = self.loop.now_ms
        super().resume()

    def _beat(self) -> None:
        if self.hung:
            self.after(BEAT_EVERY_MS, self._beat)
            return
        if self._producer is not None:
            self.after(BEAT_EVERY_MS, self._beat)
            if not self.node.world.topics_cut:
                self._producer.write((self.topic, 0), b"HeartBeat", at_once=self.node.world.shortcuts)
            return
        agent = self.node.agent
        if agent is None or not agent.alive or agent.paused:
            # Nobody answers: given up, and tried again soon.
            self.after(BEAT_AGAIN_MS, self._beat)
            return

        def arrive() -> None:
            if is_beat_welcome(agent.state, self.app, self.generation):
                agent.feed(i.Beaten(self.app, self.generation))

        agent.run(arrive)
        self.after(BEAT_EVERY_MS, self._beat)

    def end(self, code: int) -> None:
        """The process ends, and its agent hears of it if there is one."""
        if not self.alive:
            return
        self.exit_code = code
        self.kill()
        self.node.ended(self)


# ruff: noqa: ARG002  # hands have one signature; a simulated one does not need all of it


class Node(Hands):
    """A node: its machine, its agent, the copies on it and the agent's disk."""

    def __init__(self, world: "World", provider: "Provider", *, order: int, port: int, slots: int) -> None:
        self.world, self.provider = world, provider
        ip, pool = provider.ip, provider.pool
        self.name = str(node_id(ip, port))
        self.machine = Machine(world.loop, self.name)
        self.identity = Identity(
            "node", self.name, order, ip, port, pool, slots, ["process"], f"boot-{self.name}"
        )
        self.image = Image()
        self.agent: Agent | None = None
        #: Agents that go on under an older registration of this node.
        self.haunted_by: list[Agent] = []
        #: app -> its latest copy that is not forgotten.
        self.book: dict[str, Copy] = {}
        #: Last time that a fault of this node began or ended.
        self.disturbed_ms = world.loop.now_ms
        #: Destroyed for good.
        self.gone = False
        #: Stopped with the platform, to come back with it; and whether that ever happened.
        self.parked = self.was_parked = False

    def finish(self, agent: Agent) -> None:
        """It was told to stop and is done."""
        super().finish(agent)
        self.provider.agent_ended(self)

    def boot(self) -> None:
        """Start the agent."""
        if not self.gone and not self.parked and (self.agent is None or not self.agent.alive):
            self.disturbed_ms = self.world.loop.now_ms
            self.agent = Agent(self.world, self.machine, self.identity, self)

    def crash(self, *, apps: bool) -> None:
        """The agent dies, with its apps if it is the whole machine."""
        self.disturbed_ms = self.world.loop.now_ms
        if self.agent is not None and self.agent.alive:
            self.agent.kill()
            self.provider.agent_ended(self)
        if apps:
            self.end_group()

    def end_group(self) -> None:
        """Nothing of it lives any more."""
        if self.agent is not None:
            self.agent.kill()
        for copy in self.book.values():
            if copy.alive:
                copy.end(-9)

    def ended(self, copy: Copy) -> None:
        """A copy has ended."""
        agent = self.agent
        if agent is not None and agent.alive:
            agent.after(2, lambda: agent.feed(i.Exited(copy.app, copy.generation, copy.exit_code, "ended")))

    def adopt(self, agent: Agent) -> list[Found]:
        """The copies in the book."""
        return [
            Found(copy.app, copy.generation, "alive" if copy.alive else "dead", pid=1)
            for copy in self.book.values()
        ]

    def spawn(self, agent: Agent, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> None:
        """Start an app."""
        assert isinstance(order, AppOrder)
        live = self.book.get(key)
        if (live is not None and live.alive and live.generation != epoch) or self.world.spawn_fails():
            agent.feed(i.Exited(key, epoch, 127, "cannot be started"))
            return
        if live is None or not live.alive:
            self.book[key] = Copy(self, order)
            self.world.checks.copy_started(self.book[key])
        agent.feed(i.Spawned(key, epoch, 1))

    def stop(self, agent: Agent, key: str, epoch: int) -> None:
        """SIGTERM."""
        copy = self.book.get(key)
        if copy is not None and copy.alive and copy.generation == epoch:
            copy.resume()
            if copy.behaviour != "stubborn" and not copy.hung:
                copy.after(self.world.loop.chance.randint(1, 400), lambda: copy.end(0))

    def kill(self, agent: Agent, key: str, epoch: int) -> None:
        """SIGKILL."""
        copy = self.book.get(key)
        if copy is not None and copy.alive and copy.generation == epoch:
            copy.end(-9)

    def forget(self, key: str, epoch: int) -> None:
        """Strike an ended copy from the book."""
        copy = self.book.get(key)
        if copy is not None and not copy.alive and copy.generation == epoch:
            del self.book[key]

    def running(self) -> list[Copy]:
        """Copies whose process exists."""
        return [copy for copy in self.book.values() if copy.alive]
