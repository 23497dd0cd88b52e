"""Platforms made by seeded chance for `bench.placement`: nodes that stand, and apps that wait for a place."""

from __future__ import annotations

import random

from sdk.contract.events import Band, Position
from sdk.contract.policy import Policy
from sdk.contract.specs import AppSpec
from tables.room import Need
from tables.rows import ONLY, AppRow, NodeRow, OrderRow, PolicyRow, PoolRow
from tables.state import State
from tables.witness import Load

_POOL = "pool-bench"
#: A machine of eight cores and 32 GiB: ten apps a node need most of it.
CAPACITY = Need(slots=40, cpu_percent=800, memory_mib=32 << 10)
#: What apps ask for, and how many in a hundred do: processor in hundredths of a core, memory in MiB. The largest is a
#: seventh of a node. No strategy that places apps as they come can even out larger ones: the last to come stands out.
_SIZES = (
    (35, (20, 60), (256, 2_048)),
    (55, (50, 100), (512, 4_096)),
    (10, (80, 120), (1_024, 4_608)),
)
#: Copies of one thing: one app in three is one of such a group.
_GROUP_SIZE = 5


class Calm:
    """A witness that has heard every node a moment ago, and knows of no load."""

    def confirm_silence(self, source: str, epoch: int) -> Position | None:  # noqa: ARG002  # as the protocol has it
        """Nobody is silent."""
        return None

    def confirm_heard(self, node: str) -> Position | None:  # noqa: ARG002  # the same
        """Everybody was heard."""
        return Position(0, 1)

    def knows(self, node: str) -> bool:  # noqa: ARG002  # the same
        """So it is known of everybody."""
        return True

    def measured_load(self, node: str) -> Load | None:  # noqa: ARG002  # the same
        """None is known: what is measured here is what the strategies make of what is asked for."""
        return None

    def has_beaten(self, app: str, generation: int) -> bool | None:  # noqa: ARG002  # the same
        """Nothing is known of any copy."""
        return None

    def has_hello(self, order: int) -> bool | None:  # noqa: ARG002  # the same
        """Nothing is known of any order."""
        return None

    def overdue_band(self) -> Band | None:
        """Nobody is overdue."""
        return "calm"


def make_state(*, nodes: int, apps: int, strategy: str, seed: int) -> State:
    """A state in which `nodes` nodes are active and empty, and `apps` apps of all sizes are pending."""
    state = State()
    state.offset = nodes + apps
    state.put("policy", ONLY, PolicyRow(Policy(strategy=strategy)))
    state.put("pools", _POOL, PoolRow(_POOL, nodes=nodes, slots=CAPACITY.slots))
    for number in range(1, nodes + 1):
        _add_node(state, number)
    chance = random.Random(seed)
    for number in range(apps):
        _add_app(state, chance, number)
    return state


def _add_node(state: State, number: int) -> None:
    node = f"node-10.0.{number >> 8}.{number & 255}_8101"
    state.put("orders", str(number), OrderRow(number, _POOL, CAPACITY.slots, 1, 0))
    row = NodeRow(
        node=node,
        pool=_POOL,
        ip=f"10.0.{number >> 8}.{number & 255}",
        port=8101,
        slots=CAPACITY.slots,
        drivers=["process"],
        boot_id="boot",
        claim=node,
        order=number,
        registration=number,
        lineage=number,
        registered_at_ms=0,
        status="active",
        since_ms=0,
        partition=number % 8,
        seen=0,
        cpu_percent=CAPACITY.cpu_percent,
        memory_mib=CAPACITY.memory_mib,
    )
    state.put("nodes", node, row)


def _add_app(state: State, chance: random.Random, number: int) -> None:
    _, cpu, memory = chance.choices(_SIZES, [share for share, _, _ in _SIZES])[0]
    grouped = chance.random() < 1 / 3
    spec = AppSpec(
        f"application-{number}",
        ["run"],
        cpu_percent=chance.randint(*cpu),
        memory_mib=chance.randint(*memory),
        group=f"group-{number // (3 * _GROUP_SIZE)}" if grouped else "",
    )
    row = AppRow(spec.app, spec, wanted=True, phase="pending", since_ms=number, submitted_at_ms=number)
    state.put("apps", spec.app, row)
