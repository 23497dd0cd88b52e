"""How many nodes a pool has, may have and ought to have: ordinary ones, and spares that stand by. Pure.

1. A **spare** is a registered node that takes no apps until it is taken (`SpareTaken`); from then on it is ordinary.
2. `PoolRow.nodes` counts ordinary nodes, `PoolRow.spares` those that stand by; the maximum bounds both together, and
   spares give way: they are ordered only in the room that ordinary nodes leave.
"""

from collections.abc import Iterator

from tables.rows import NodeRow, PoolRow
from tables.state import State
from tables.tally import stays


def nodes_max(state: State, pool: PoolRow) -> int:
    """Nodes that a pool may have in all: its own bound, or the policy's."""
    return pool.nodes_max or state.policy.pool_nodes_max


def register_within_ms(state: State, pool: PoolRow) -> int:
    """Within which time a new node of the pool must register: its own bound, or the policy's."""
    return pool.register_within_ms or state.policy.register_within_ms


def _living(state: State, pool: str) -> Iterator[NodeRow]:
    return (state.nodes[node] for node in state.live_nodes.get(pool, ()))


def nodes_in_pool(state: State, pool: str, *, staying: bool = False) -> int:
    """Nodes of a pool that live or are being created; `staying` leaves out spares and who drains or is quarantined."""
    counts = state.tally.counts
    if not staying:
        return (
            counts[pool, "coming", False] + counts[pool, "coming", True] + len(state.live_nodes.get(pool, ()))
        )
    return counts[pool, "coming", False] + counts[pool, "staying", False]


def spares_in_pool(state: State, pool: str) -> int:
    """Spares of a pool that stand by or are being created."""
    return state.tally.counts[pool, "coming", True] + state.tally.counts[pool, "staying", True]


def is_takeable(node: NodeRow) -> bool:
    """Whether a node stands by and could serve at once."""
    unfit = node.silent or node.cordoned or node.emptying
    return node.spare and node.status == "active" and stays(node) and not unfit


def spares_of(state: State, pool: str) -> list[NodeRow]:
    """The spares of a pool that live and stay, the oldest first."""
    return sorted(
        (row for row in _living(state, pool) if row.spare and stays(row)),
        key=lambda row: (row.registration, row.node),
    )
