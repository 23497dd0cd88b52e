"""Whom a fault hits: asked of the platform at the moment it strikes. Shell."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import NamedTuple

from sdk.contract.heartbeats import PoolReport, Report
from streams.local.processes import identify
from streams.local.rig import POOL, Rig, active_nodes, is_running
from tables.state import State


class Node(NamedTuple):
    """A living node."""

    node: str
    pid: int
    #: The apps whose generation in force it hosts.
    apps: list[str]


class App(NamedTuple):
    """A running copy."""

    app: str
    generation: int
    pid: int


def agent_pids(rig: Rig) -> dict[str, int]:
    """The processes of nodes, as their provisioner last reported them."""
    newest = rig.log.newest(POOL)
    if newest is None or not isinstance(newest.said, PoolReport):
        return {}
    return {entry.node: entry.pid for entry in newest.said.nodes if entry.node and entry.status == "running"}


def pick_nodes(rig: Rig, state: State, chance: Random, busy: Collection[str], *, most: bool) -> list[Node]:
    """One living node that is not busy, or most of them."""
    pids = agent_pids(rig)
    living = [
        node
        for node in active_nodes(state)
        if node not in busy and identify(pids.get(node, 0)) and not is_leaving(state, node)
    ]
    if not living or (most and len(living) < 3):
        return []
    # Over half of them and never all: somebody must be there to compare with.
    count = len(living) // 2 + 1 if most else 1
    return [
        Node(node, pids[node], sorted(state.apps_of_node.get(node, ())))
        for node in chance.sample(living, count)
    ]


def is_leaving(state: State, node: str) -> bool:
    """Whether a node is to shut down."""
    return state.nodes[node].draining


def pick_app(rig: Rig, state: State, chance: Random, busy: Collection[str]) -> App | None:
    """A running copy with the process that its node reports."""
    for app in chance.sample(sorted(state.apps), len(state.apps)):
        if app not in busy and is_running(state, app) and (pid := app_pid(rig, state, app)) and identify(pid):
            return App(app, state.apps[app].generation, pid)
    return None


def app_pid(rig: Rig, state: State, app: str) -> int:
    """The process of the generation in force, 0 if no report names one."""
    row = state.apps[app]
    newest = rig.log.newest(row.node)
    if newest is None or not isinstance(newest.said, Report):
        return 0
    wanted = (app, row.generation, "running")
    return next((it.pid for it in newest.said.apps if (it.app, it.generation, it.status) == wanted), 0)


def pick_worker(rig: Rig, state: State, chance: Random, busy: Collection[str], *, leader: bool) -> str:
    """A living worker, the leading one if asked for; empty if there is none."""
    living = [name for name, minded in sorted(rig.workers.items()) if minded.pid and name not in busy]
    leading = leader_of(state)
    if leader:
        return leading if leading in living else ""
    return chance.choice(living) if living else ""


def leader_of(state: State) -> str:
    """The worker whose term is in force."""
    return state.term.writer.split("/")[1] if state.term.writer else ""
