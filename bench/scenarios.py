"""The rounds of `bench.failover`: each stops something, waits until it is healed, and notes how long that took.

1. A round begins when everything is settled, at a random moment between two reports.
2. Node rounds stop the node that registered last; it carries four apps of the bench. The other nodes and their
   apps are the control group: whatever is said about them is false.
3. A round that is not healed in time, or not by a node made for it, gives no value and is counted.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple

from bench.figures import Copy, Stopped, first_beats_ms, over_limit_ms
from bench.platforms import SLOTS, Platform
from bench.results import BenchError
from sdk.contract.events import SourceFellSilent
from sdk.contract.requests import ConfigurePool
from streams.local.rig import POOL, active_nodes, is_running
from streams.local.rig_log import Seen
from tables.pools import is_takeable, spares_of
from tables.questions import used_slots
from tables.state import State, holds_slot

#: A round that takes longer has failed.
HEALED_WITHIN_S: Final = 60.0
SETTLED_WITHIN_S: Final = 90.0
#: The log must have been silent for this long.
QUIET_MS: Final = 2_000
#: A worker that came back has joined its group by then: two session timeouts of 3 s.
JOINED_AFTER_MS: Final = 6_000
#: Between two reports of a node: a kill comes at any moment in between.
REPORT_EVERY_S: Final = 2.5


class FailedRound(Exception):  # noqa: N818  # it is one, not an error of the program
    """A round that gave no value; the message says why."""


class Timed(NamedTuple):
    """One round, for the trace."""

    scenario: str
    #: When the bench stopped what it stopped, ms of the clock that append times have too.
    stopped_at_ms: int
    healed_at_ms: int
    node: str
    apps: list[str]


class Victim(NamedTuple):
    """A node with apps of the bench."""

    node: str
    pid: int
    #: App -> the generation that runs there.
    copies: dict[str, int]


class Scenarios:
    """All rounds against one platform, and what they gave."""

    def __init__(self, platform: Platform, *, seed: int = 0) -> None:
        self._platform = platform
        self._rig = platform.rig
        self._random = random.Random(seed)
        self.stopped = Stopped()
        #: Figure name -> what each round gave.
        self.values: dict[str, list[float]] = defaultdict(list)
        #: Rounds that gave nothing, in sentences.
        self.failures: list[str] = []
        self.timed: list[Timed] = []
        self._apps: list[str] = []
        self._made = 0
        self._worker_killed_at_ms: dict[str, int] = {}
        state = self._rig.state()
        self._nodes = len(active_nodes(state)) - len(_standing_by(state))
        #: How many the pool had before the bench, and has for it.
        self._spares_before = self._spares = state.pools[POOL].spares

    # --- apps of the bench --------------------------------------------------------------------------

    def fill(self, *, leave: int) -> None:
        """Run apps until so many slots are free."""
        free = self._free_slots()
        if free < leave:
            raise BenchError(f"Only {free} slots are free; the bench needs {leave}.")
        names = [self._new_app() for _ in range(free - leave)]
        if names:
            self._rig.run_apps(names, within_s=HEALED_WITHIN_S)
            self._apps += names

    def leave(self) -> None:
        """Stop all apps of the bench."""
        self.stopped.apps.update(self._apps)
        self._rig.stop_apps(self._apps, within_s=HEALED_WITHIN_S)
        self.set_spares(self._spares_before)

    def set_spares(self, spares: int) -> None:
        """Let the pool keep so many nodes that stand by; `settle` waits for them."""
        if spares == self._spares:
            return
        row = self._rig.state().pools[POOL]
        wish = ConfigurePool(
            row.pool, row.nodes, row.slots, row.nodes_min, row.nodes_max, spares, row.register_within_ms
        )
        self._rig.ask(wish)
        self._spares = spares

    @property
    def spare_for_apps(self) -> int:
        """Slots to keep free for app rounds: one on each node, so that there is always another node."""
        return self._nodes + 1

    def _new_app(self) -> str:
        self._made += 1
        return f"application-bench-{self._made}"

    def _free_slots(self) -> int:
        state = self._rig.state()
        rows = (state.nodes[node] for node in active_nodes(state))
        return sum(row.slots - used_slots(state, row.node) for row in rows if not row.spare)

    # --- rounds -------------------------------------------------------------------------------------

    def run(self, scenario: str) -> None:
        """One round, from settled to healed; what it gives is noted."""
        self.settle()
        self._rig.hold(self._random.uniform(0, REPORT_EVERY_S))
        try:
            self._scenarios()[scenario]()
        except (FailedRound, TimeoutError) as error:
            self.failures.append(f"{scenario}: {error}")

    def _scenarios(self) -> dict[str, Callable[[], None]]:
        return {
            "app_killed": self._app_killed,
            "node_killed": self._node_killed,
            "node_silence": self._node_silence,
            "spare_node_killed": self._spare_node_killed,
            "worker_and_node_silence": self._worker_and_node_silence,
            "worker_and_node_killed": self._worker_and_node_killed,
            "broker_and_node_killed": self._broker_and_node_killed,
        }

    def _app_killed(self) -> None:
        rig, app = self._rig, self._new_app()
        rig.run_apps([app])
        self.settle()
        row = rig.state().apps[app]
        pid = rig.app_pid(app)
        self.stopped.copies.add(Copy(app, row.generation))
        at_ms = _now_ms()
        rig.kill(pid)
        try:
            beats = self._healed({app: row.generation}, at_ms)
            after = rig.state().apps[app]
            if after.node == row.node:
                raise FailedRound(f"{app} came back on the same node")
            self._note("app_killed_recovered_ms_p50", max(beats.values()) - at_ms)
            self.timed.append(Timed("app_killed", at_ms, max(beats.values()), row.node, [app]))
        finally:
            self.stopped.apps.add(app)
            rig.stop_apps([app])

    def _node_killed(self) -> None:
        victim = self._pick_victim()
        at_ms = _now_ms()
        self._rig.kill(victim.pid)
        self._recovered(victim, at_ms, at_ms, "node_killed")

    def _spare_node_killed(self) -> None:
        victim, spares = self._pick_victim(), _standing_by(self._rig.state())
        at_ms = _now_ms()
        self._rig.kill(victim.pid)
        self._recovered(victim, at_ms, at_ms, "spare_node_killed", hosts_allowed=spares)

    def _node_silence(self) -> None:
        victim = self._pick_victim()
        at_ms = _now_ms()
        self._rig.stop(victim.pid, group=True)
        fact = self._silence_of(victim, at_ms, "node_silence_over_limit_ms_max")
        healed_ms = self._recovered(victim, at_ms, fact.append_ms, "node_silence")
        self._note("node_silence_found_and_recovered_ms_p50", healed_ms - at_ms)

    def _worker_and_node_silence(self) -> None:
        victim = self._pick_victim()
        leader, pid = self._pick_leader()
        at_ms = _now_ms()
        self._rig.kill(pid)
        self._rig.stop(victim.pid, group=True)
        self._note_killed(leader, at_ms)
        self._silence_of(victim, at_ms, "worker_and_node_over_limit_ms_max")
        self._healed(victim.copies, at_ms)

    def _worker_and_node_killed(self) -> None:
        victim = self._pick_victim()
        leader, pid = self._pick_leader()
        at_ms = _now_ms()
        self._rig.kill(pid)
        self._rig.kill(victim.pid)
        self._note_killed(leader, at_ms)
        self._recovered(victim, at_ms, at_ms, "worker_and_node")

    def _broker_and_node_killed(self) -> None:
        broker = self._rig.broker
        if broker is None:
            raise FailedRound("the broker is somebody else's")
        victim = self._pick_victim()
        at_ms = _now_ms()
        broker.kill()
        self._rig.kill(victim.pid)
        broker.start()
        self._recovered(victim, at_ms, at_ms, "broker_and_node")

    # --- parts of rounds ----------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until everything runs, dead workers are back in their group, and the log is quiet."""
        self._rig.wait(self._is_settled, within_s=SETTLED_WITHIN_S, what="everything settled")

    def _is_settled(self, state: State) -> bool:
        log = self._rig.log
        last = log.events(log.offset)
        return (
            len(active_nodes(state)) == self._nodes + self._spares
            and len(_standing_by(state)) == self._spares
            and all(is_running(state, app) for app in self._apps)
            and bool(last)
            and log.tick_ms - last[-1].append_ms >= QUIET_MS
            and all(self._has_joined(name, at_ms) for name, at_ms in self._worker_killed_at_ms.items())
        )

    def _has_joined(self, worker: str, killed_at_ms: int) -> bool:
        beats = (
            it
            for it in self._rig.reports(killed_at_ms)
            if getattr(it.said, "source", "") == f"service-{worker}"
        )
        first = next(beats, None)
        # Its first beat after its death, unless that was on its way when it died.
        return first is not None and self._rig.log.tick_ms - first.append_ms >= JOINED_AFTER_MS

    def _pick_victim(self) -> Victim:
        """The node that registered last of those with four apps, all of the bench."""
        rig, state = self._rig, self._rig.state()
        ours = set(self._apps)
        carried = {
            node: {app for app in state.apps_of_node.get(node, ()) if holds_slot(state.apps[app])}
            for node in active_nodes(state)
        }
        full = [node for node, apps in carried.items() if len(apps) == SLOTS and apps <= ours]
        if not full:
            raise BenchError(f"No node carries {SLOTS} apps of the bench and nothing else.")
        node = max(full, key=lambda it: state.nodes[it].registration)
        copies = {app: state.apps[app].generation for app in carried[node]}
        pid = rig.agent_pid(node)
        self.stopped.add_node(node, [Copy(app, generation) for app, generation in copies.items()])
        return Victim(node, pid, copies)

    def _pick_leader(self) -> tuple[str, int]:
        name = self._rig.leader()
        pid = self._platform.worker_pid(name)
        if not pid:
            raise FailedRound(f"the leader {name} has no process")
        return name, pid

    def _note_killed(self, worker: str, at_ms: int) -> None:
        self._platform.killed.append(worker)
        self._worker_killed_at_ms[worker] = at_ms
        self.stopped.sources.add(f"service-{worker}")

    def _silence_of(self, victim: Victim, since_ms: int, figure: str) -> Seen:
        def find(_: State) -> Seen | None:
            return next(
                (
                    seen
                    for seen, fact in self._rig.accepted(SourceFellSilent)
                    if fact.source == victim.node and seen.append_ms >= since_ms
                ),
                None,
            )

        fact = self._rig.wait(find, within_s=HEALED_WITHIN_S, what=f"{victim.node} found silent")
        limit_ms = self._rig.state().policy.silence_limit_ms
        self._note(figure, over_limit_ms(fact, self._rig.reports(), node=victim.node, limit_ms=limit_ms))
        return fact

    def _recovered(
        self,
        victim: Victim,
        at_ms: int,
        from_ms: int,
        scenario: str,
        *,
        hosts_allowed: list[str] | None = None,
    ) -> int:
        """When the last of its apps beat again, on the node that replaces it."""
        beats = self._healed(victim.copies, at_ms)
        state = self._rig.state()
        hosts = {state.apps[app].node for app in victim.copies}
        orders = [state.orders.get(str(state.nodes[host].order)) for host in hosts]
        if len(hosts) != 1 or orders[0] is None or orders[0].replaces != victim.node:
            raise FailedRound(
                f"the apps of {victim.node} came back on {sorted(hosts)}, not on its replacement"
            )
        if hosts_allowed is not None and not hosts <= set(hosts_allowed):
            raise FailedRound(f"the apps of {victim.node} came back on {sorted(hosts)}, not on a spare")
        self._note(f"{scenario}_recovered_ms_p50", max(beats.values()) - from_ms)
        self.timed.append(Timed(scenario, at_ms, max(beats.values()), victim.node, list(victim.copies)))
        return max(beats.values())

    def _healed(self, copies: dict[str, int], since_ms: int) -> dict[str, int]:
        """Wait until later generations of all apps run; append times of their first beats."""

        def is_healed(state: State) -> bool:
            return all(
                state.apps[app].generation > generation and is_running(state, app)
                for app, generation in copies.items()
            )

        self._rig.wait(is_healed, within_s=HEALED_WITHIN_S, what=f"{sorted(copies)} healed")
        state = self._rig.state()
        wanted = {app: state.apps[app].generation for app in copies}
        beats = first_beats_ms(self._rig.reports(since_ms), wanted)
        if missing := sorted(wanted.keys() - beats.keys()):
            raise FailedRound(f"no report names {missing} as beating")
        return beats

    def _note(self, figure: str, value: float) -> None:
        self.values[figure].append(value)


def _standing_by(state: State) -> list[str]:
    """The spares of the pool that could be taken now."""
    return [row.node for row in spares_of(state, POOL) if is_takeable(row)]


def _now_ms() -> int:
    """The clock of this machine, which its broker stamps records with."""
    return time.time_ns() // 1_000_000
