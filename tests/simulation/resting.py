"""A simulated agent at rest: its next report is worked out when it is due, not turn by turn. Part of the simulator.

An agent whose orders are obeyed, whose apps beat and whose way to Kafka is open does the same thing again and again:
it turns at each pulse and beat, which moves its clock and nothing else, and reports when a report is due. At rest
its turns are only counted (`follow`), with the clock moved at the same moments as it would have been, and its
report goes straight to the partition. Whatever else happens wakes it first; then it is where it would have been.
`tests/simulation/test_shortcuts.py` compares both ways record by record.
"""

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agents import inputs as i
from agents.reports import compose_report, next_report_at, note_acknowledged
from agents.state import UNREAD_MS, State, isolated_after_ms
from agents.turn import Turn
from sdk.contract.orders import NodeOrders

if TYPE_CHECKING:
    from tests.simulation.machines import Agent

PULSE_MS = 500
#: Nothing else may come due within this of the next report, ms; else every turn is taken.
CLEAR_MS = 600
#: What the clock of a machine can be ahead of true time within such a gap, and some, ms.
GAP_MS = 50


def steady_until(state: State) -> int:
    """When the next report of an agent is due of which nothing but reports and beats is to be expected; else 0."""
    if not state.is_registered or state.is_stopping or state.is_isolated or not state.is_caught_up:
        return 0
    if state.own is not None or state.foreign is not None or state.is_changed:
        return 0
    is_pool = state.identity.kind == "pool"
    for thing in state.things.values():
        if thing.kill_at_ms is not None or thing.killed or thing.late or thing.forget or thing.parked:
            return 0
        if thing.topic and thing.count < 0:
            return 0  # Its topic was never looked at.
        if thing.status != "running" and not (is_pool and thing.status == "starting"):
            return 0
    due = next_report_at(state)
    clear = due + CLEAR_MS
    if clear >= state.read_again_at_ms or clear >= state.acked_at_ms + isolated_after_ms(state):
        return 0
    if isinstance(state.orders, NodeOrders):
        limit_ms = state.orders.silence_limit_ms
        if any(clear >= thing.since_ms + limit_ms for thing in state.things.values()):
            return 0
    return due


class Rest:
    """The rest of one agent, from one turn to what ends it."""

    def __init__(self, agent: "Agent", due: int) -> None:
        self._agent = agent
        self._loop = agent.loop
        #: The last turn, and the next if nothing comes before it: true time.
        self._turned_ms = self._loop.now_ms
        #: When the next report is due, on the agent's clock.
        self._due = due
        self._next_ms = 0
        self._plan()
        #: Beats and counts of topics that came since, with their time.
        self._beats: list[tuple[int, i.Beaten | i.TopicsRead]] = []
        #: True time at which topics were read last.
        self._read_ms = self._loop.now_ms - agent.clock.now_ms + agent.state.topics_read_ms
        self._timer = 0
        self._looks_ms = 0
        self._wait()

    def hears(self, item: i.Input) -> bool:
        """Take an input that goes without saying: each beat does, and topics that were read without a gap."""
        now_ms = self._loop.now_ms
        if isinstance(item, i.TopicsRead):
            if now_ms - self._read_ms >= UNREAD_MS - GAP_MS:
                return False
            self._read_ms = now_ms
        elif not isinstance(item, i.Beaten):
            return False
        self._beats.append((now_ms, item))
        if now_ms >= self._looks_ms:
            # The turn of this input may be the one that reports.
            self._look(self._timer)
        return True

    def _plan(self) -> None:
        """The next turn after this one, as the shell plans it."""
        left_ms = self._due - self._agent.clock.now_ms
        self._next_ms = self._turned_ms + min(max(left_ms, 0) + 1, PULSE_MS)

    def follow(self, until_ms: int) -> bool:
        """Take the turns before `until_ms`, and at it; stop at the one that reports and say so."""
        beats, due, next_ms = self._beats, self._due, self._next_ms
        beat_ms = beats[0][0] if beats else until_ms + 1
        if next_ms > until_ms and beat_ms > until_ms:
            return False
        mono_s, clock = self._agent.home.mono_s_at, self._agent.clock
        last_s, now_ms, at, turn_ms = clock._last_s, clock._now_ms, 0, self._turned_ms
        changed: dict[str, int] = {}
        counted = {thing.key: thing.count for thing in self._agent.state.things.values() if thing.topic}
        read: tuple[int, i.TopicsRead] | None = None
        is_due = False
        while not is_due:
            if min(beat_ms, next_ms) > until_ms:
                break
            turn_ms = min(next_ms, beat_ms)
            # `BoundedClock.turn`: no step is cut here, pulses come more often than that.
            turned_s = mono_s(turn_ms)
            now_ms += (turned_s - last_s) * 1000
            last_s, clock_ms = turned_s, int(now_ms)
            while beat_ms == turn_ms:
                item = beats[at][1]
                if isinstance(item, i.TopicsRead):
                    read = clock_ms, item
                    self._count(item.counts, clock_ms, counted, changed)
                elif item.key not in counted:
                    changed[item.key] = clock_ms
                at += 1
                beat_ms = beats[at][0] if at < len(beats) else until_ms + 1
            is_due = clock_ms >= due
            next_ms = turn_ms + min(max(due - clock_ms, 0) + 1, PULSE_MS)
        clock._last_s, clock._now_ms = last_s, now_ms
        self._turned_ms, self._next_ms = turn_ms, next_ms
        if at:
            del beats[:at]
        if changed or read is not None:
            self._change(changed, counted, read)
        return is_due

    def _count(
        self, counts: dict[str, int], clock_ms: int, counted: dict[str, int], changed: dict[str, int]
    ) -> None:
        """What `agents.ages.take_topics` makes of topics that were read without a gap."""
        things = self._agent.state.things
        for key, before in counted.items():
            count = counts.get(things[key].topic, -1)
            if count >= 0:
                counted[key] = count
                if count > before:
                    changed[key] = clock_ms

    def _change(
        self, changed: dict[str, int], counted: dict[str, int], read: tuple[int, i.TopicsRead] | None
    ) -> None:
        """Beats at these times, topics with so many records."""
        state = replace(self._agent.state)
        state.things = things = dict(state.things)
        for key, since_ms in changed.items():
            if (thing := things.get(key)) is not None:
                count = counted.get(key, thing.count)
                things[key] = replace(thing, since_ms=since_ms, settled_ms=0, count=count)
        if read is not None:
            state.topics_read_ms, state.counts = read[0], read[1].counts
        self._agent.change_state(state)

    def _wait(self) -> None:
        """Look again when the report can be due: at the earliest if no beat moves the turns before."""
        agent, now_ms = self._agent, self._loop.now_ms
        left_ms = max(0, self._due - agent.clock.now_ms)
        self._looks_ms = self._turned_ms + int(left_ms / agent.home.drift) - 1
        at_ms = self._looks_ms if self._looks_ms > now_ms else self._next_ms
        self._timer += 1
        agent.after(at_ms - now_ms, partial(self._look, self._timer))

    def _look(self, mine: int) -> None:
        if mine != self._timer or self._agent.rest is not self:
            return
        if not self.follow(self._loop.now_ms):
            self._wait()
            return
        if self._agent.is_heard_at_once:
            self._report()
        else:
            # The turn that reports is this one, and not ours.
            self._next_ms = self._loop.now_ms
            self._agent.wake()

    def _report(self) -> None:
        """Report, and be acknowledged at once."""
        agent = self._agent
        turn = Turn(agent.state, agent.clock.now_ms)
        report: i.Spoken = replace(compose_report(turn), sent_at_ms=agent.machine.wall_ms)
        state = turn.state
        agent.change_state(state)
        offset = agent.link.append_calmly(report)
        note_acknowledged(state, turn.now_ms, report.number, offset)
        due = steady_until(state)
        if due:
            self._due = due
            self._plan()
            self._wait()
        else:
            agent.wake()

    def end(self) -> tuple[int, list[i.Input]]:
        """No longer: turns before now are taken. When the next was planned, and beats that no turn has taken."""
        is_due = self.follow(self._loop.now_ms - 1)
        return 0 if is_due else self._next_ms, [beat for _, beat in self._beats]
