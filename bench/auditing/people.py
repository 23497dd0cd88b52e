"""The planned requests: what people ask of the platform while it is tormented. Shell.

Apps and nodes stay within bounds, so that there is always room for what is wanted: a request that would leave
them becomes the next harmless one. Each is sent by a thread of its own, because the broker may be away.
"""

from __future__ import annotations

import threading
from random import Random
from typing import Final

from bench.auditing.journal import Journal, Sent, now_ms
from bench.auditing.plan import Step
from bench.auditing.victims import is_leaving
from sdk.contract.requests import ChangePolicy, CreateNode, Request, RestartApp, RunApp, ShutdownNode, StopApp
from sdk.contract.specs import AppSpec
from streams.local.rig import BEATING, POOL, Rig, active_nodes
from tables.state import State

APPS_MIN: Final = 8
APPS_MAX: Final = 12
NODES_MIN: Final = 4
NODES_MAX: Final = 5
SLOTS: Final = 4


def app_spec(number: int, chance: Random) -> AppSpec:
    """An app of the audit."""
    return AppSpec(
        f"application-audit-{number}",
        BEATING,
        on_failure=chance.choice(["other-node", "other-node", "same-node"]),
        on_isolation=chance.choice(["keep", "keep", "stop"]),
        stop_grace_ms=chance.choice([0, 1_000, 5_000]),
    )


class People:
    """Everybody who asks."""

    def __init__(self, rig: Rig, journal: Journal) -> None:
        self._rig = rig
        self._journal = journal
        self._threads: list[threading.Thread] = []
        #: Apps that somebody asked to stop or restart, and nodes to be emptied, go into the journal as touched.
        self.asked = 0

    def ask(self, step: Step, planned_ms: int) -> str:
        """Send the request of a step; what it was, in a few words."""
        request, touched = choose_request(step, self._rig.state())
        if touched:
            self._journal.strike(f"ask: {step.what}", touched)
        self.asked += 1

        def send() -> None:
            request_id = self._rig.send(request)
            self._journal.acknowledged(Sent(request_id, type(request).__name__, planned_ms, now_ms()))

        thread = threading.Thread(target=send, name="asker", daemon=True)
        self._threads.append(thread)
        thread.start()
        return type(request).__name__ + (f" {touched[0]}" if touched else "")

    def wait_sent(self, within_s: float) -> None:
        """Wait until the broker has acknowledged everything, or the bound."""
        for thread in self._threads:
            thread.join(within_s)


def choose_request(step: Step, state: State) -> tuple[Request, list[str]]:
    """The request of a step, fitted to the state, and whose quiet it disturbs."""
    chance = Random(step.chance)
    wanted = sorted(app for app, row in state.apps.items() if row.wanted)
    stopped = sorted(app for app, row in state.apps.items() if not row.wanted)
    pool = state.pools.get(POOL)
    nodes = [node for node in active_nodes(state) if not is_leaving(state, node)]
    match step.what:
        case "run app" if len(wanted) < APPS_MAX:
            if stopped and chance.random() < 0.5:
                app = chance.choice(stopped)
                return RunApp(state.apps[app].spec), [app]
            spec = app_spec(len(state.apps), chance)
            return RunApp(spec), [spec.app]
        case "stop app" if len(wanted) > APPS_MIN:
            app = chance.choice(wanted)
            return StopApp(app), [app]
        case "restart app" if wanted:
            app = chance.choice(wanted)
            return RestartApp(app), [app]
        case "create node" if pool is not None and pool.nodes < NODES_MAX:
            return CreateNode(POOL), []
        case "shut down node" if pool is not None and pool.nodes > NODES_MIN and nodes:
            node = chance.choice(nodes)
            return ShutdownNode(node), [node, *sorted(state.apps_of_node.get(node, ()))]
    values: list[dict[str, int | bool | str]] = [
        {"strategy": "binpack"},
        {"strategy": "spread"},
        {"app_backoff_ms": 500},
    ]
    return ChangePolicy(chance.choice(values)), []
