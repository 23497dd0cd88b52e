"""The judges: what must hold, checked against the truth that the world records. Part of the simulator.

They know nothing of scenarios: only the records on the topics, a fold of their own, and which process lives, can
reach the broker, and since when it has been left in peace.
"""

from random import Random
from typing import TYPE_CHECKING, NoReturn

from agents.state import State as AgentState
from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded
from tables.decide import decide
from tables.fold import Meta, Outcome, fold
from tables.state import State, holds_slot, is_hosted
from tables.witness import Witness
from tests.simulation.differences import (
    Violation,
    first_difference,
    is_registered,
    said_of,
)
from tests.simulation.hash_judge import HashJudge
from tests.simulation.healing import spare_left, unhealed
from tests.simulation.kafka import Record, Request
from tests.simulation.log_judge import LogJudge
from tests.simulation.log_rules import Finding, LogRules, judge_split
from tests.simulation.notice_judge import NoticeJudge
from tests.simulation.original_judge import (
    cut_off_fault,
    original_fault,
    return_fault,
    sensor_fault,
    unfound_original,
    unfound_sensor,
)
from tests.simulation.record_judge import RecordJudge
from tests.simulation.sim_views import view_fault
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from tests.simulation.machines import Agent, Copy
    from tests.simulation.world import World

#: Time in peace after which a wrong copy must be gone: orders read again after 10 s, a grace of 5 s, and some.
SUPERSEDED_MS = 20_000
#: Time in peace, over limit and all settling, after which a silence must have been found.
FOUND_MS = 20_000
#: Time in peace after which the view is right as far as it says, over its 8 s; share of looks that fold it all.
VIEW_MS, VIEW_SHARE = 15_000, 0.1
#: Rounds in which folding decisions and deciding again must end.
ROUNDS_MAX = 20
#: Bounds of queues.
QUEUE_MAX = 2_000


class Checks(LogRules, Truth):
    """All checkers of one run."""

    def __init__(self, world: "World", seed: int) -> None:
        super().__init__(self._heard_in)
        self.world = world
        self.chance = Random(seed)
        self.started: set[tuple[str, int, str]] = set()
        self._odd_since: dict[tuple[str, int, str], int] = {}
        self.fired: dict[str, int] = {}
        #: Apps that were ever to stop on isolation: their copies may start again.
        self._may_park: set[str] = set()
        self.heartbeats = RecordJudge(world, self.state, self.policies)
        self.log = LogJudge(world, self.state, self)
        self.notices = NoticeJudge(world, self.state)
        self.hashes = HashJudge(self.state, every=world.hash_every)
        self._accepted = False

    def _heard_in(self, partition: int) -> list[Record]:
        return self.heartbeats.records(partition)

    def fail(self, checker: str, text: str) -> NoReturn:
        """Something does not hold."""
        raise Violation(checker, f"{text} (at {self.world.loop.passed_ms} ms, offset {self.state.offset})")

    # --- each record of the log ---------------------------------------------------------------------

    def appended(self, record: Record) -> None:
        """Fold a record of the log and judge it."""
        try:
            said: Recorded | DecodeError = self.world.decoding.decode_event(record.value)
        except DecodeError as error:
            said = error
        before = self._judge_claims(said)
        for found in self.judge_record(said, Meta(record.offset, record.timestamp)):
            self.fail(*found)
        self._fail_if(self.hashes.folded(said))
        if isinstance(said, DecodeError):
            self.log.folded(None, accepted=False)
            return
        self._fail_if(self.log.wrote(said))
        if self._accepted:
            self._fail_if(before)
            self._fail_if(self.log.accepted(said))
            self._fail_if(self.notices.lost_fault(said.event) or self.notices.accepted(said.event))
            self._fail_if(self.world.house.accepted(said.event))

    def heard_of(self, request: Request, firsts: list[int]) -> None:
        """A writer hears that its records were appended."""
        self._fail_if(self.log.heard_of(request, firsts))

    def _fail_if(self, fault: tuple[str, str] | None) -> None:
        if fault is not None:
            self.fail(*fault)

    def folded(self, said: Recorded, meta: Meta, outcome: Outcome) -> None:
        """Note when, and whose copies may start again."""
        del meta
        event = said.event
        self._accepted = outcome.accepted
        self.log.folded(said, accepted=outcome.accepted)
        if outcome.accepted and isinstance(event, e.AppSubmitted) and event.spec.on_isolation == "stop":
            self._may_park.add(event.spec.app)

    def _judge_claims(self, said: Recorded | DecodeError) -> tuple[str, str] | None:
        """What is wrong with the claims of an event about what was read and what time has passed."""
        if isinstance(said, DecodeError):
            return None
        self.log.about_to_fold(said)
        self.world.house.about_to_fold(said.event)
        node, app = getattr(said.event, "node", ""), getattr(said.event, "app", "")
        early = self.log.too_early(said.event)
        if early or (node and node not in self.state.nodes) or (app and app not in self.state.apps):
            return early
        return self.heartbeats.fault(said)

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
            case e.SourceFellSilent(kind="lone"):
                return original_fault(self, event)
            case e.SourceFellSilent(kind="sensor"):
                return sensor_fault(self, event)
            case e.SourceReturned(kind="lone" | "sensor"):
                return return_fault(self, event)
            case _:
                pass
        return None

    def _judge_down(self, event: e.NodeDeclaredDown) -> tuple[str, str] | None:
        node = self.world.nodes.get(event.node)
        limit_ms = min(policy.silence_limit_ms for policy in self.policies)
        if node is not None and self.able_ms(node) >= limit_ms and is_registered(node, event.registration):
            return "no death of what lives", f"{event} but it could append for {self.able_ms(node)} ms"
        if event.reason == "silent":
            return self._judge_brake(event)
        return None

    def _judge_brake(self, event: e.NodeDeclaredDown) -> tuple[str, str] | None:
        """Most nodes away, for long, with a broker in peace: then the brake must be on."""
        state, world = self.state, self.world
        peace_ms = world.loop.now_ms - max(world.broker_disturbed_ms, world.workers_disturbed_ms)
        if state.brake.overridden or state.brake.engaged >= 0 or peace_ms < 40_000:
            return None
        if any(ghost.alive for ghost in world.ghosts):
            # Who says hello under the name of a node lets it count as heard.
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
            peace_ms = self.calm_ms(copy)
        if event.reason == "silent" and (why := cut_off_fault(self, copy)):
            return "no death of what lives", f"{event} but {why}"
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
        # A condemned copy had its verdict, judged when it came, and is killed even if it beats again.
        asked = row is not None and (row.restarting or row.phase == "condemned")
        if peace_ms >= self._limit_ms and not asked:
            return (
                "no second copy beside a living one",
                f"{event} but generation {event.replaces} beat for {peace_ms} ms",
            )
        return None

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
        if key in self.started and copy.app not in self._may_park and not copy.node.was_parked:
            self.fail("a copy is started once", f"{key}")
        self.started.add(key)
        host = self.state.nodes.get(copy.node.name)
        if host is not None and host.status == "active" and host.spare:
            self.fail("a spare runs no app", f"{key}")
        if any(app == key[0] and gen == key[1] and node != key[2] for app, gen, node in self.started):
            self.fail("a generation has one node", f"{key}")
        if row.generation > copy.generation and self.able_ms(copy.node) > SUPERSEDED_MS:
            self._odd_since.setdefault(key, self.world.loop.now_ms)

    # --- from time to time --------------------------------------------------------------------------

    def look(self) -> None:
        """Compare what runs, and what everybody holds, with what ought to be."""
        if broken := self.broken():
            self.fail("invariants", broken)
        self._look_at_copies()
        self._look_for_silence()
        self._look_at_workers()
        self._look_at_view()
        self._fail_if(self.world.house.look())
        if flood := self.judge_flood(self.world.faults):
            self.fail(*flood)

    def _look_at_copies(self) -> None:
        world, now_ms = self.world, self.world.loop.now_ms
        peace_ms = now_ms - world.workers_disturbed_ms
        odd = {}
        for node in world.nodes.values():
            for copy in node.running():
                if self.is_rightful(copy):
                    continue
                key = (copy.app, copy.generation, node.name)
                since = odd[key] = self._odd_since.get(key, now_ms)
                calm_ms = min(now_ms - since, self.able_ms(node), peace_ms, now_ms - copy.disturbed_ms)
                if calm_ms > SUPERSEDED_MS:
                    self.fail("no superseded copy", f"{key} runs on after {calm_ms} ms in peace")
        self._odd_since = odd

    def is_rightful(self, copy: "Copy") -> bool:
        """Whether this process is the one that ought to run."""
        row = self.state.apps.get(copy.app)
        standby = row.standby if row is not None else None
        if standby is not None and standby.generation == copy.generation:
            return standby.node == copy.node.name
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
            if row.status != "active" or row.silent or name not in world.nodes:
                continue
            heard_ms = self.heartbeats.heard_ms.get((name, row.registration), 0)
            silent_ms = world.loop.now_ms - max(heard_ms, self.log.true_ms(row.registration))
            if silent_ms > bound_ms:
                self.fail("silence is found", f"{name} said nothing for {silent_ms} ms")
        if fault := unfound_original(self, bound_ms) or unfound_sensor(self, bound_ms):
            self.fail("silence is found", fault)

    def _look_at_view(self) -> None:
        """In peace the view is right as far as it says that it is, now and then."""
        world = self.world
        peace_ms = world.loop.now_ms - max(world.broker_disturbed_ms, world.workers_disturbed_ms)
        if peace_ms > VIEW_MS and world.broker_up and self.chance.random() < VIEW_SHARE:
            fault = view_fault(world, complete=False)
            if fault:
                self.fail("the view is the fold", fault)

    def _look_at_workers(self) -> None:
        for worker in self.world.living_workers():
            if worker.state.offset == self.state.offset != worker.judged_at:
                worker.judged_at = self.state.offset
                if worker.state.tables != self.state.tables:
                    self.fail("one fold", f"{worker.name}: {first_difference(worker.state, self.state)}")
            queued = worker.producer.queued + worker.tick_producer.queued + len(worker.letters.pending)
            if queued > QUEUE_MAX:
                self.fail("queues are bounded", f"{worker.name} holds {queued} records")

    def decided(self, state: State, witness: Witness, decisions: list[e.Decision]) -> None:
        """Fold a batch of decisions aside, decide again: that ends, and nothing is dropped."""
        self._fail_if(spare_left(state, witness, decisions))
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
        return unhealed(self)

    def finish(self) -> None:
        """Replay: any split, through a snapshot, gives what the judges hold."""
        self._look_at_workers()
        log = self.world.broker.log(self.world.topics.events).records
        self._fail_if(self.log.lost(log))
        records = [said_of(record) for record in log]
        for found in judge_split(records, self.state, self.chance.randint(0, len(records))):
            self.fail(*found)
