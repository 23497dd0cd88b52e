"""Who there is in a fleet, and the state that a log which knows them all folds to. Pure.

Ids, registrations and generations are functions of a number, so that loader, watcher and judge agree without a word.
"""

from __future__ import annotations

from typing import NamedTuple

from sdk.contract.ids import node_id, pool_id
from sdk.contract.specs import AppSpec
from sdk.contract.topics import partition_of
from tables.rows import AppRow, NodeRow, OrderRow, SourceRow
from tables.state import State

_POOL = pool_id("fleet")
#: Nodes on one address, as ports.
_PER_IP, _PORT = 10_000, 10_000


class Size(NamedTuple):
    """How many there are of each."""

    nodes: int
    apps_per_node: int
    lone: int

    @property
    def sources(self) -> int:
        """Everything whose silence is to be found."""
        return self.nodes * (1 + self.apps_per_node) + self.lone

    @property
    def as_of(self) -> int:
        """Offset of the log that knows them all."""
        return self.nodes * (1 + self.apps_per_node) + self.lone + 1


def node_name(node: int) -> str:
    """Id of a node."""
    return node_id(f"127.0.{node // _PER_IP}.1", _PORT + node % _PER_IP)


def registration_of(node: int) -> int:
    """Offset of its registration."""
    return node + 1


def app_name(node: int, app: int) -> str:
    """Id of an app of a node."""
    return f"application-{node}-{app}"


def generation_of(size: Size, node: int, app: int) -> int:
    """Offset of its placement."""
    return 1 + size.nodes + node * size.apps_per_node + app


def lone_name(number: int) -> str:
    """Id of a lone source."""
    return f"service-{number}"


def create_state(size: Size) -> State:
    """Every node active with its apps running, and every lone source heard before."""
    state = State()
    for node in range(size.nodes):
        name, registration = node_name(node), registration_of(node)
        state.put("orders", str(registration), _order(name, registration))
        state.put("nodes", name, _node(name, registration))
        for app in range(size.apps_per_node):
            key = app_name(node, app)
            state.put("apps", key, _app(key, name, registration, generation_of(size, node, app)))
    for number in range(size.lone):
        key = lone_name(number)
        state.put("sources", key, SourceRow(key, "lone", partition_of(key), seen=0, since_ms=0))
    state.offset = size.as_of
    return state


def _order(name: str, registration: int) -> OrderRow:
    return OrderRow(registration, _POOL, slots=1_000, port_floor=0, ordered_at_ms=0, node=name)


def _node(name: str, registration: int) -> NodeRow:
    return NodeRow(
        node=name,
        pool=_POOL,
        ip="127.0.0.1",
        port=0,
        slots=1_000,
        drivers=["process"],
        boot_id="boot",
        claim=name,
        order=registration,
        registration=registration,
        lineage=registration,
        registered_at_ms=0,
        status="active",
        since_ms=0,
        partition=partition_of(name),
        seen=-1,
    )


def _app(key: str, node: str, registration: int, generation: int) -> AppRow:
    return AppRow(
        app=key,
        spec=AppSpec(key, ["beats"]),
        wanted=True,
        phase="running",
        since_ms=0,
        generation=generation,
        node=node,
        lineage=registration,
    )
