"""The judges: what must hold, checked against the truth that the world records. Part of the simulator.

They know nothing of scenarios: only the records on the topics, a fold of their own, and which process lives, can
reach the broker, and since when it has been left in peace.
"""

from random import Random
from typing import TYPE_CHECKING, NoReturn

from agents.state import State as AgentState
from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded, decode_event
from tables.decide import decide
from tables.fold import Meta, Outcome, fold
from tables.orders import orders_for
from tables.state import State, holds_slot, is_hosted
from tables.witness import Witness
from tests.simulation.differences import (
    Violation,
    first_difference,
    is_registered,
    plain,
    rows_of,
    said_of,
)
from tests.simulation.kafka import Record
from tests.simulation.log_rules import Finding, LogRules, judge_split
from tests.simulation.silence_check import is_beat
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from tests.simulation.machines import Agent, Copy
    from tests.simulation.world import World

#: Time in peace after which a wrong copy must be gone: orders read again after 10 s, a grace of 5 s, and some.
SUPERSEDED_MS = 20_000
#: Time in peace, over limit and all settling, after which a silence must have been found.
FOUND_MS = 20_000
#: What was appended so long ago is known to whoever decides: fresh within 1 s, appended within 3 s.
KNOWN_MS = 4_500
#: Rounds in which folding decisions and deciding again must end.
ROUNDS_MAX = 20
#: Bounds of queues.
QUEUE_MAX = 2_000


class Checks(LogRules, Truth):
    """All checkers of one run."""

    def __init__(self, world: "World", seed: int) -> None:
        super().__init__(lambda partition: world.broker.log(world.topics.heartbeats, partition).records)
        self.world = world
        self.chance = Random(seed)
        self.started: set[tuple[str, int, str]] = set()
        self._odd_since: dict[tuple[str, int, str], int] = {}
        self.fired: dict[str, int] = {}
        #: Apps that were ever to stop on isolation: their copies may start again.
        self._may_park: set[str] = set()

    def fail(self, checker: str, text: str) -> NoReturn:
        """Something does not hold."""
        raise Violation(checker, f"{text} (at {self.world.loop.passed_ms} ms, offset {self.state.offset})")

    # --- each record of the log ---------------------------------------------------------------------

    def appended(self, record: Record) -> None:
        """Fold a record of the log and judge it."""
        try:
            said: Recorded | DecodeError = decode_event(record.value)
        except DecodeError as error:
            said = error
        for found in self.judge_record(said, Meta(record.offset, record.timestamp)):
            self.fail(*found)

    def folded(self, said: Recorded, meta: Meta, outcome: Outcome) -> None:
        """Note whose copies may start again."""
        del meta
        event = said.event
        if outcome.accepted and isinstance(event, e.AppSubmitted) and event.spec.on_isolation == "stop":
            self._may_park.add(event.spec.app)

    def judge_before(self, event: e.Event) -> Finding | None:
        """What would be wrong with an event if the fold accepts it."""
        found = self._judge_by_truth(event)
        return Finding(*found) if found else super().judge_before(event)

    def _judge_by_truth(self, event: e.Event) -> tuple[str, str] | None:
        match event:
            case e.NodeDeclaredDown(reason="silent" | "confirmed"):
                return self._judge_down(event)
            case e.AppDeclaredDown():
                return self._judge_app_down(event)
            case e.AppExited():
                if self.copy_of(event.app, event.generation) is not None:
                    return "no end of what lives", f"{event} but its process runs"
            case e.AppPlaced():
                return self._judge_placement(event)
            case _:
                pass
        return None

    def _judge_down(self, event: e.NodeDeclaredDown) -> tuple[str, str] | None:
        node = self.world.nodes.get(event.node)
        limit_ms = min(policy.silence_limit_ms for policy in self.policies)
        if node is not None and self.able_ms(node) >= limit_ms and is_registered(node, event.registration):
            return "no death of what lives", f"{event} but it could append for {self.able_ms(node)} ms"
        if self._is_over(event):
            return "no act on a silence that is over", str(event)
        if event.reason == "silent":
            return self._judge_brake(event)
        return None

    def _is_over(self, event: e.NodeDeclaredDown) -> bool:
        """Whether the node beat after its silence, long enough ago for whoever decides to know."""
        row, world = self.state.nodes.get(event.node), self.world
        if row is None or world.loop.now_ms - world.broker_disturbed_ms < 30_000:
            return False
        known_ms = world.loop.now_ms + world.broker.shift_ms - KNOWN_MS
        for record in reversed(world.broker.log(world.topics.heartbeats, row.partition).records):
            if record.offset <= row.seen or record.timestamp < known_ms - 20_000:
                return False
            if record.timestamp < known_ms and is_beat(record.value, event.node, event.registration):
                return True
        return False

    def _judge_brake(self, event: e.NodeDeclaredDown) -> tuple[str, str] | None:
        """Most nodes away, for long, with a broker in peace: then the brake must be on."""
        state, world = self.state, self.world
        peace_ms = world.loop.now_ms - max(world.broker_disturbed_ms, world.workers_disturbed_ms)
        if state.brake.overridden or state.brake.engaged >= 0 or peace_ms < 40_000:
            return None
        nodes = [
            row
            for row in state.nodes.values()
            if row.status == "active" and not state.orders[str(row.order)].ended
        ]
        gone = [row for row in nodes if self._unable_ms(row.node) > state.policy.silence_limit_ms - 1_000]
        is_most = len(gone) * 100 > state.policy.brake_share_percent * len(nodes)
        if len(nodes) >= state.policy.brake_nodes_min and is_most:
            return "brake holds", f"{event} with {len(gone)} of {len(nodes)} nodes away"
        return None

    def _unable_ms(self, name: str) -> int:
        """How long nothing of a node has reached the broker; a cut of the way back does not hinder that."""
        node = self.world.nodes[name]
        agent = node.agent
        mute = agent is None or not agent.alive or agent.paused or node.machine.cut_up
        return self.world.loop.now_ms - node.disturbed_ms if mute else 0

    def _judge_app_down(self, event: e.AppDeclaredDown) -> tuple[str, str] | None:
        copy = self.copy_of(event.app, event.generation)
        if copy is None:
            return None
        peace_ms = self.beats_ms(copy)
        if event.reason == "silent" and peace_ms >= 0:
            # Whatever held up its agent, who was paused must not accuse others.
            peace_ms = self.world.loop.now_ms - copy.disturbed_ms
        if peace_ms >= self._limit_ms + 6_000:
            return "no death of what lives", f"{event} but it beat for {peace_ms} ms"
        return None

    @property
    def _limit_ms(self) -> int:
        return max(policy.silence_limit_ms for policy in self.policies)

    def _judge_placement(self, event: e.AppPlaced) -> tuple[str, str] | None:
        copy = self.copy_of(event.app, event.replaces)
        if copy is None:
            return None
        peace_ms = self.beats_ms(copy)
        row = self.state.apps.get(event.app)
        asked = row is not None and row.restarting
        if peace_ms >= self._limit_ms and not asked:
            return (
                "no second copy beside a living one",
                f"{event} but generation {event.replaces} beat for {peace_ms} ms",
            )
        return None

    # --- the truth ----------------------------------------------------------------------------------

    # --- agents -------------------------------------------------------------------------------------

    def agent_turned(self, agent: "Agent", before: AgentState, after: AgentState) -> None:
        """An agent obeyed."""
        same = before.topic_id == after.topic_id and before.claim == after.claim
        if same and after.as_of < before.as_of:
            self.fail("orders only get newer", f"{agent.name} went from {before.as_of} to {after.as_of}")

    def copy_started(self, copy: "Copy") -> None:
        """A process was started."""
        key = (copy.app, copy.generation, copy.node.name)
        row = self.state.apps[copy.app]
        if key in self.started and copy.app not in self._may_park:
            self.fail("a copy is started once", f"{key}")
        self.started.add(key)
        if any(app == key[0] and gen == key[1] and node != key[2] for app, gen, node in self.started):
            self.fail("a generation has one node", f"{key}")
        if row.generation > copy.generation and self.able_ms(copy.node) > SUPERSEDED_MS:
            self._odd_since.setdefault(key, self.world.loop.now_ms)

    # --- from time to time --------------------------------------------------------------------------

    def look(self) -> None:
        """Compare what runs, and what everybody holds, with what ought to be."""
        self._look_at_copies()
        self._look_for_silence()
        self._look_at_workers()
        if flood := self.judge_flood(self.world.faults):
            self.fail(*flood)

    def _look_at_copies(self) -> None:
        world, now_ms = self.world, self.world.loop.now_ms
        peace_ms = now_ms - world.workers_disturbed_ms
        odd = {}
        for node in world.nodes.values():
            for copy in node.running():
                if self._is_rightful(copy):
                    continue
                key = (copy.app, copy.generation, node.name)
                since = odd[key] = self._odd_since.get(key, now_ms)
                calm_ms = min(now_ms - since, self.able_ms(node), peace_ms, now_ms - copy.disturbed_ms)
                if calm_ms > SUPERSEDED_MS:
                    self.fail("no superseded copy", f"{key} runs on after {calm_ms} ms in peace")
        self._odd_since = odd

    def _is_rightful(self, copy: "Copy") -> bool:
        row = self.state.apps.get(copy.app)
        return (
            row is not None
            and row.generation == copy.generation
            and row.node == copy.node.name
            and row.wanted
            and holds_slot(row)
            and row.phase != "condemned"
            and is_hosted(self.state, row)
        )

    def _look_for_silence(self) -> None:
        world, policy = self.world, self.state.policy
        peace_ms = world.loop.now_ms - max(world.broker_disturbed_ms, world.workers_disturbed_ms)
        bound_ms = self._limit_ms + policy.settling_in_all_ms + FOUND_MS
        if peace_ms < bound_ms or not world.broker_up:
            return
        for name, row in self.state.nodes.items():
            node = world.nodes.get(name)
            if row.status != "active" or row.silent or node is None:
                continue
            if self._unable_ms(name) > bound_ms:
                self.fail("silence is found", f"{name} said nothing for {self._unable_ms(name)} ms")

    def _look_at_workers(self) -> None:
        for worker in self.world.living_workers():
            if worker.state.offset == self.state.offset and rows_of(worker.state) != rows_of(self.state):
                self.fail("one fold", f"{worker.name}: {first_difference(worker.state, self.state)}")
            queued = worker.producer.queued + worker.tick_producer.queued + len(worker.letters.pending)
            if queued > QUEUE_MAX:
                self.fail("queues are bounded", f"{worker.name} holds {queued} records")

    def decided(self, state: State, witness: Witness, decisions: list[e.Decision]) -> None:
        """Fold a batch of decisions aside, decide again: that ends, and nothing is dropped."""
        if self.chance.random() > self.world.again_share:
            return
        aside = State()
        aside.load([*state.all_rows()], offset=state.offset, now_ms=state.now_ms)
        watcher_state, witness.state = witness.state, aside  # type: ignore[attr-defined]
        try:
            for _ in range(ROUNDS_MAX):
                for decision in decisions:
                    meta = Meta(aside.offset + 1, aside.now_ms)
                    outcome = fold(aside, Recorded("x", "x", "", "", decision), meta)
                    if not outcome.accepted:
                        self.fail("decisions fit", f"{decision} is dropped: {outcome.dropped}")
                decisions = decide(aside, witness)
                if not decisions:
                    return
            self.fail("decisions settle", f"still {decisions[0]}")
        finally:
            witness.state = watcher_state  # type: ignore[attr-defined]

    # --- the end ------------------------------------------------------------------------------------

    def unhealed(self) -> str:
        """What is not well yet; empty if everything is."""
        state, world = self.state, self.world
        for pool in state.pools.values():
            active = [
                row
                for row in state.nodes.values()
                if row.pool == pool.pool and row.status == "active" and not row.draining
            ]
            # More than wanted is allowed: a node that came back serves as a free one.
            if len(active) < pool.nodes or any(row.silent for row in active):
                return f"{pool.pool} has {len(active)} of {pool.nodes} nodes"
        for app, row in state.apps.items():
            if not row.wanted or row.gave_up:
                continue
            copy = self.copy_of(app, row.generation)
            if row.phase != "running" or row.silent or copy is None or copy.hung:
                return f"{app} is {row.phase}, {row.pending_reason or 'placed'}, process {copy is not None}"
        for node in world.nodes.values():
            for copy in node.running():
                if not self._is_rightful(copy):
                    return f"{copy.name} runs on {node.name}"
        if state.brake.engaged >= 0 or state.brake.band != "calm":
            return f"the brake: {state.brake}"
        return self._unpublished()

    def _unpublished(self) -> str:
        state, world = self.state, self.world
        leaders = [worker for worker in world.living_workers() if worker.planning.leads]
        if len(leaders) != 1:
            return f"{len(leaders)} leaders"
        standing = world.standing_orders()
        for reporter in [*state.nodes, *state.pools]:
            wanted = orders_for(state, reporter, topic_id=world.events_id)
            if wanted is None:
                continue
            there = standing.get(reporter)
            if there is None or plain(there) != plain(wanted):
                return f"orders of {reporter} stand as {there}"
        if world.group.committed < world.broker.log(world.topics.requests).end:
            return "requests wait"
        return next((f"{worker.name} holds letters" for worker in leaders if worker.letters.pending), "")

    def finish(self) -> None:
        """Replay: any split, through a snapshot, gives what the judges hold."""
        self._look_at_workers()
        records = [said_of(record) for record in self.world.broker.log(self.world.topics.events).records]
        for found in judge_split(records, self.state, self.chance.randint(0, len(records))):
            self.fail(*found)
