"""Judges of the log itself: ids, what only grows, time that has to pass, acknowledgements. Part of the simulator."""

from itertools import pairwise
from typing import TYPE_CHECKING

from sdk.contract import events as e
from sdk.contract.codec import Recorded
from tables.rows import NodeRow, PoolRow, Wake
from tables.state import State
from tests.simulation.kafka import Record, Request

if TYPE_CHECKING:
    from tests.simulation.truth import Truth
    from tests.simulation.world import World

Fault = tuple[str, str]

#: Clocks of machines drift by this share, and a turn or a request takes some ms.
DRIFT, SLACK_MS = 0.011, 100
#: What one jump of a worker's clock may move a timer by, ms: the largest step of `tables.timers`.
JUMP_MS = 1_000


#: Events that say how things stand now, and may say so again when a record of theirs comes twice: a term begins anew
#: with each `PlannerStarted`, the leader corrects the next two at once, and a hash changes nothing.
SAID_AGAIN = (e.PlannerStarted, e.AppLeftPending, e.OverdueShareChanged, e.FoldHashed)


class LogJudge:
    """Everything that was ever appended to the log and acknowledged anywhere."""

    def __init__(self, world: "World", state: State, truth: "Truth") -> None:
        self._world = world
        self._state = state
        self._truth = truth
        #: What a fact claims -> the id it was first written under.
        self._id_of: dict[tuple[object, ...], str] = {}
        self._accepted: set[str] = set()
        #: True time and log time at each offset of the log.
        self._times: list[tuple[int, int]] = []
        #: (app, generation) or (node, registration) -> offset at which it was declared down.
        self._down_at: dict[tuple[str, int], int] = {}
        self._before: NodeRow | PoolRow | None = None
        #: Events whose acknowledgement reached their writer, by offset.
        self._acknowledged: dict[int, object] = {}

    # --- ids ----------------------------------------------------------------------------------------

    def wrote(self, recorded: Recorded) -> Fault | None:
        """A record stands on the log, whatever the fold makes of it."""
        claim = claim_of(recorded.event)
        if claim is not None and self._id_of.setdefault(claim, recorded.id) != recorded.id:
            return "a fact has one id", f"{recorded.event} was written as {self._id_of[claim]} before"
        return None

    def about_to_fold(self, recorded: Recorded) -> None:
        """Remember what the event may change."""
        name = getattr(recorded.event, "node", "") or getattr(recorded.event, "source", "")
        self._before = self._state.nodes.get(name) or self._state.pools.get(name)

    def accepted(self, recorded: Recorded) -> Fault | None:
        """The fold accepted it."""
        event = recorded.event
        if recorded.id in self._accepted and not isinstance(event, SAID_AGAIN):
            return "an event counts once", f"{event} as {recorded.id}"
        self._accepted.add(recorded.id)
        return self._only_grows(event)

    def _only_grows(self, event: e.Event) -> Fault | None:
        old = self._before
        if old is None:
            return None
        name = old.node if isinstance(old, NodeRow) else old.pool
        new = self._state.nodes.get(name) or self._state.pools.get(name)
        assert new is not None
        if new.partition == old.partition and new.seen < old.seen:
            return "what is known only grows", f"{name} was seen at {old.seen}, now {new.seen}: {event}"
        if new.registration < old.registration:
            return "what is known only grows", f"{name}: registration {old.registration}, {event}"
        if isinstance(old, NodeRow) and isinstance(new, NodeRow):
            again = new.registration != old.registration
            if old.status == "left" and new.status != "left":
                return "who left stays away", str(event)
            if old.status == "down" and new.status != "down" and not again:
                return "who was declared down registers anew", str(event)
        return None

    # --- time ---------------------------------------------------------------------------------------

    def folded(self, recorded: Recorded | None, *, accepted: bool) -> None:
        """The fold stands after one more record."""
        self._times.append((self._world.loop.now_ms, self._state.now_ms))
        if recorded is None or not accepted:
            return
        match recorded.event:
            case e.NodeDeclaredDown() as event:
                self._down_at[event.node, event.registration] = self._state.offset
            case e.AppDeclaredDown() as event:
                self._down_at[event.app, event.generation] = self._state.offset
            case _:
                pass

    def true_ms(self, offset: int) -> int:
        """When the record at this offset was appended, by the world's clock."""
        return self._times[offset][0]

    def too_early(self, event: e.Event) -> Fault | None:
        """A timer, or a second copy, before its time."""
        match event:
            case e.TimerFired():
                row = self._state.tables.get(event.table, {}).get(event.key)
                wake: Wake | None = getattr(row, "wake", None)
                if wake is not None and wake.set_at == event.set_at:
                    wanted_ms = wake.due_at_ms - self._times[event.set_at][1]
                    if not self._has_passed(wanted_ms, event.set_at):
                        return "a timer fires in its time", f"{event} after less than {wanted_ms} ms"
            case e.AppPlaced():
                return self._second_copy(event)
            case _:
                pass
        return None

    def _has_passed(self, wanted_ms: int, since: int) -> bool:
        """Whether a time has passed since a record of the log, by the world's clock or the log's own.

        From record to record the one or the other: a new term goes on from the time that the log has seen pass.
        """
        times = self._times[since:]
        true_ms = times[0][0]
        passed_ms = self._world.loop.now_ms - times[-1][0]
        passed_ms += sum(max(to[0] - at[0], to[1] - at[1]) for at, to in pairwise(times))
        jumps = sum(at_ms >= true_ms for at_ms in self._world.jumped_at_ms)
        return passed_ms + jumps * JUMP_MS + SLACK_MS >= wanted_ms * (1 - DRIFT)

    def _second_copy(self, event: e.AppPlaced) -> Fault | None:
        """Beside a process that exists a second is started only when the bound of ending it is over."""
        copy = self._truth.copy_of(event.app, event.replaces)
        row, state = self._state.apps.get(event.app), self._state
        if copy is None or row is None:
            return None
        node = state.nodes.get(copy.node.name)
        if node is None or node.lineage != row.lineage or state.orders[str(node.order)].ended:
            return None
        policy = state.policy
        if node.status == "active":
            since, bound_ms = self._down_at.get((event.app, event.replaces)), policy.kill_within_ms
        else:
            since = self._down_at.get((node.node, node.registration))
            bound_ms = policy.destroy_within_ms if node.destroy else 0
        if since is None:
            return "a second copy waits for the first to end", f"{event}: nobody ended {copy.name}"
        if not self._has_passed(bound_ms, since):
            return "a second copy waits for the first to end", f"{event}: {copy.name} had {bound_ms} ms"
        return None

    # --- acknowledgements ---------------------------------------------------------------------------

    def heard_of(self, request: Request, firsts: list[int]) -> Fault | None:
        """A writer hears where its records stand: there they must be, now and at the end."""
        for (place, batch), first in zip(request, firsts, strict=True):
            if place[0] != self._world.topics.events:
                continue
            self._acknowledged.update({first + at: value for at, (_, value) in enumerate(batch)})
            there = self._world.broker.log(*place).since(first)[: len(batch)]
            if [record.value for record in there] != [value for _, value in batch]:
                return "what is acknowledged is there", f"{len(batch)} records are not at {first}"
        return None

    def lost(self, records: list[Record]) -> Fault | None:
        """An acknowledged event that does not stand where it stood."""
        there = {record.offset: record.value for record in records}
        for offset, value in self._acknowledged.items():
            if there.get(offset) != value:
                return "what is acknowledged is there", f"{value!r:.300} is not at {offset}"
        return None


def claim_of(event: e.Event) -> tuple[object, ...] | None:
    """What the id of a fact is made of; two facts that claim the same are one fact."""
    match event:
        case e.NodeRegistered():
            return "registered", event.node, event.claim
        case e.ProvisionerRegistered():
            return "registered", event.pool, event.claim
        case e.SourceFellSilent():
            return "silent", event.source, event.epoch, event.topic_id, event.partition, event.from_offset
        case e.AppStarted():
            return "started", event.app, event.generation
        case e.AppExited():
            return "exited", event.app, event.generation
        case e.NodeExited():
            return "node exited", event.order
        case _:
            return None
