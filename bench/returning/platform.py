"""One platform under one policy, which suffers every fault of the table in turn. Shell.

1. Its nodes carry one app of each isolation; the apps of a cell are those of the node that the fault hits.
2. Everything on the other nodes is a neighbour: same process, same generation, before and after.
3. A fault begins only when everything wanted runs and nothing is silent.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.auditing.peace import unhealed
from bench.returning.cells import FAULTS, ISOLATIONS, Cell, Fault, Isolation, NewHome, NodeEnd, OldEnd, Policy
from bench.returning.copies import CopyLooking, Lives
from bench.returning.networks import Network
from sdk.contract.events import AppPlaced, NodeDeclaredDown
from sdk.contract.requests import ConfigurePool
from sdk.contract.specs import AppSpec, Constraint
from streams.local.rig import BEATING, POOL, Rig, active_nodes, is_running
from streams.local.rig_children import Running
from tables.state import State

#: One node for each fault, so that each finds one that carries a pair of apps.
NODES: Final = len(FAULTS)
#: A pair, and room for what a dead node leaves.
SLOTS: Final = 4
#: Limit, settling, and what a start takes on a busy machine.
SETTLED_WITHIN_S: Final = 60.0
#: Processes that were sent SIGKILL may be seen for so long: a busy machine.
_DYING_MS: Final = 300
#: Some looks, on a busy machine.
_LOOKED_WITHIN_S: Final = 5.0
#: Faults that meet a provider which may destroy.
_DESTROYED: Final = ("killed", "cut-destroyed")
#: The provisioner must be heard this much later than the node, so that the node is given up first, ms.
_LATER_MS: Final = 700

Say = Callable[[str], None]


class Observed(NamedTuple):
    """What a cell came to."""

    cell: Cell
    old: OldEnd
    new: NewHome
    node: NodeEnd
    together_ms: int
    #: Neighbours that are not what they were.
    touched: list[str]
    #: From the fault to the first look at the new copy, ms; -1 if there was none.
    replaced_ms: int
    #: App and generation of the old copy.
    copy: tuple[str, int]


class Pair(NamedTuple):
    """A node with one app of each isolation."""

    node: str
    registration: int
    pid: int
    apps: dict[Isolation, str]
    generations: dict[str, int]


class Struck(NamedTuple):
    """A fault that is over."""

    fault: Fault
    pair: Pair
    since: int
    begin_ms: int
    end_ms: int
    #: Nodes that were there before.
    nodes: set[str]
    #: App -> generation and process of the neighbours before.
    neighbours: set[Running]


class Platform:
    """A rig under one policy."""

    def __init__(self, rig: Rig, network: Network, policy: Policy, *, away_s: float, say: Say) -> None:
        self.rig = rig
        self._network = network
        self._policy: Policy = policy
        self._away_s = away_s
        self._say = say
        self._faults = {
            "killed": (self._kill_group, self._do_nothing),
            "cut-destroyed": (self._cut, self._heal),
            "stopped": (self._stop_group, self._continue_group),
            "cut": (self._cut, self._heal),
            "agent-killed": (self._kill_agent, self._continue_provisioner),
        }

    def run(self) -> list[Observed]:
        """Start, suffer everything, and say what came of it."""
        rig = self.rig
        rig.start(workers=1, nodes=NODES, slots=SLOTS, policy={"on_node_failure": self._policy})
        found = []
        with CopyLooking(rig.mark) as looking:
            self._place_pairs()
            for fault in FAULTS:
                rig.change_policy(destroy_silent_nodes=fault in _DESTROYED)
                before = dict(looking.lives.together_ms)
                struck = self._strike(fault, looking.lives)
                found += self._observe(struck, looking.lives, before)
                self._say(f"{fault}, {self._policy}: over")
        return found

    def _place_pairs(self) -> None:
        """Put one app of each isolation on every node."""
        rig = self.rig
        free, bound = [], []
        for number, node in enumerate(active_nodes(rig.state())):
            for isolation in ISOLATIONS:
                spec = AppSpec(f"application-{isolation}-{number}", BEATING, on_isolation=isolation)
                free.append(spec)
                bound.append(replace(spec, constraints=[Constraint("node", [node])]))
        rig.run_apps(bound)
        # The next copy goes wherever the policy says.
        rig.run_apps(free)

    # --- striking -----------------------------------------------------------------------------------

    def _strike(self, fault: Fault, lives: Lives) -> Struck:
        rig = self.rig
        rig.wait(lambda state: not unhealed(state), within_s=SETTLED_WITHIN_S, what="everything settled")
        # A node that came back would be one more than wanted, and the next to die would not be replaced.
        rig.ask(ConfigurePool(POOL, nodes=len(active_nodes(rig.state())), slots=SLOTS))
        pair = self._pick()
        rig.wait(
            lambda _: all(copy in lives.first_ms for copy in pair.generations.items()),
            within_s=_LOOKED_WITHIN_S,
            what="the pair looked at",
        )
        neighbours = self._neighbours(pair)
        before, since = set(rig.state().nodes), rig.log.offset + 1
        begin, end = self._faults[fault]
        if fault == "agent-killed":
            rig.wait(lambda _: self._is_node_first(pair.node), within_s=60, what="a moment to stop both")
        begin_ms = _now_ms()
        begin(pair)
        if fault != "killed":
            rig.hold(self._away_s)
        end_ms = _now_ms()
        end(pair)
        struck = Struck(fault, pair, since, begin_ms, end_ms, before, neighbours)
        rig.wait(lambda state: self._is_over(state, struck), within_s=SETTLED_WITHIN_S, what=f"{fault} over")
        return struck

    def _pick(self) -> Pair:
        """The first node with a pair of apps."""
        rig, state = self.rig, self.rig.state()
        for node, row in sorted(state.nodes.items()):
            hosted = [state.apps[app] for app in state.apps_of_node.get(node, ())]
            apps = {it.spec.on_isolation: it.app for it in hosted if it.lineage == row.lineage}
            if row.status == "active" and len(hosted) == len(apps) == len(ISOLATIONS):
                generations = {app: state.apps[app].generation for app in apps.values()}
                # Its pid once it is known, so not a node that has just come.
                return Pair(node, row.registration, rig.agent_pid(node), apps, generations)
        raise RuntimeError(f"no node has a pair of apps: {state.apps_of_node}")

    def _neighbours(self, pair: Pair) -> set[Running]:
        return {copy for copy in self.rig.copies() if copy.app not in pair.apps.values()}

    def _is_node_first(self, node: str) -> bool:
        """Whether the provisioner has just been heard, and the node was not for a while."""
        log = self.rig.log
        pool, other = log.newest(POOL), log.newest(node)
        if pool is None or other is None:
            return False
        is_fresh = _now_ms() - pool.append_ms < _LATER_MS / 2
        return is_fresh and pool.append_ms - other.append_ms > _LATER_MS

    def _is_over(self, state: State, struck: Struck) -> bool:
        """Whether the new copies run, the old are gone and the node has come to its end."""
        generations = struck.pair.generations
        return (
            all(
                state.apps[app].generation > old and is_running(state, app)
                for app, old in generations.items()
            )
            and self._node_end(state, struck) != "neither"
            and not unhealed(state)
            and all(copy.generation != generations.get(copy.app) for copy in self.rig.copies())
        )

    # --- faults -------------------------------------------------------------------------------------

    def _do_nothing(self, pair: Pair) -> None:
        """The end of what has no end."""

    def _kill_group(self, pair: Pair) -> None:
        os.killpg(pair.pid, signal.SIGKILL)

    def _stop_group(self, pair: Pair) -> None:
        self.rig.stop(pair.pid, group=True)

    def _continue_group(self, pair: Pair) -> None:
        self.rig.cont(pair.pid, group=True)

    def _cut(self, pair: Pair) -> None:
        self._network.cut(pair.pid)

    def _heal(self, pair: Pair) -> None:
        self._network.heal(pair.pid)

    def _kill_agent(self, pair: Pair) -> None:
        assert self.rig.provisioner is not None
        self.rig.provisioner.signal(signal.SIGSTOP)
        self.rig.kill(pair.pid)

    def _continue_provisioner(self, _: Pair) -> None:
        assert self.rig.provisioner is not None
        self.rig.provisioner.signal(signal.SIGCONT)

    # --- observing ----------------------------------------------------------------------------------

    def _observe(self, struck: Struck, lives: Lives, before: Mapping[str, int]) -> list[Observed]:
        state = self.rig.state()
        after = self._neighbours(struck.pair)
        touched = sorted(f"{app}/{generation}" for app, generation, _ in struck.neighbours ^ after)
        found = []
        for isolation in ISOLATIONS:
            app = struck.pair.apps[isolation]
            old, new = struck.pair.generations[app], state.apps[app].generation
            first_ms = lives.first_ms.get((app, new), 0)
            found.append(
                Observed(
                    cell=Cell(struck.fault, self._policy, isolation),
                    old=self._old_end(struck, lives, (app, old)),
                    new=self._new_home(state, struck, app),
                    node=self._node_end(state, struck),
                    together_ms=lives.together_ms.get(app, 0) - before.get(app, 0),
                    touched=touched,
                    replaced_ms=first_ms - struck.begin_ms if first_ms else -1,
                    copy=(app, old),
                )
            )
        return found

    def _old_end(self, struck: Struck, lives: Lives, copy: tuple[str, int]) -> OldEnd:
        """How a copy ended, from the last look that showed it and the first that did not."""
        # Whoever waited for the end looked too, perhaps a moment before.
        self.rig.wait(lambda _: copy in lives.gone_ms, within_s=_LOOKED_WITHIN_S, what=f"{copy} looked for")
        last_ms, gone_ms = lives.last_ms[copy], lives.gone_ms[copy]
        if struck.fault == "killed":
            return "with the fault" if last_ms <= struck.end_ms + _DYING_MS else "ran on"
        if gone_ms > struck.end_ms:
            return "at the return"
        if gone_ms <= self._first_ms(NodeDeclaredDown, struck, "node", struck.pair.node):
            return "stopped unheard"
        return "destroyed" if last_ms <= self._first_ms(AppPlaced, struck, "app", copy[0]) else "ran on"

    def _first_ms(
        self, kind: type[NodeDeclaredDown | AppPlaced], struck: Struck, field: str, value: str
    ) -> int:
        """Append time of the first event of a kind about somebody that counted since the fault."""
        found = self.rig.accepted(kind, struck.since)
        return next((seen.append_ms for seen, said in found if getattr(said, field) == value), 0)

    def _new_home(self, state: State, struck: Struck, app: str) -> NewHome:
        row = state.apps[app]
        if row.generation == struck.pair.generations[app] or row.node == struck.pair.node:
            return "elsewhere"
        if state.orders[str(state.nodes[row.node].order)].replaces == struck.pair.node:
            return "replacement"
        return "rest" if row.node in struck.nodes else "elsewhere"

    def _node_end(self, state: State, struck: Struck) -> NodeEnd:
        row = state.nodes[struck.pair.node]
        if row.status == "down":
            return "down" if struck.fault not in ("stopped", "cut") else "neither"
        is_new = row.registration > struck.pair.registration
        hosted = [
            app for app in state.apps_of_node.get(row.node, ()) if state.apps[app].lineage == row.lineage
        ]
        return "free" if row.status == "active" and is_new and not hosted else "neither"


def _now_ms() -> int:
    """The clock of this machine, which its broker stamps records with."""
    return time.time_ns() // 1_000_000
