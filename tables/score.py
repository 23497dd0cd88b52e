"""What a node is worth to an app: whole numbers compared one after the other, the smaller the better. Pure.

1. `failed`: where the app wants to stay comes first, where it failed lately comes last, the latest last of all.
2. `copies`: fewer copies of the app's own group, if the group is to be spread.
3. `distance`: beside the group it wants to be near, then in a pool with it, then elsewhere.
4. `cost`: what the strategy makes of the load. `spread` adds the share that is asked for to the share that was
   measured, so the emptier node wins. `binpack` takes the fullest node that has room, and a hot one after all others.
5. The id of the node, so that the same input always gives the same answer.

The share of a node that is asked for is the largest of its slots, processor and memory: what runs out first. Where no
load was measured, what is asked for stands in for it.
"""

from collections.abc import Mapping

from sdk.contract.events import NodeScore
from tables.room import UNBOUNDED, Need
from tables.rows import AppRow
from tables.state import State
from tables.witness import Load

_WHOLE = 1_000
#: Thousandths of processor or memory in use from which a node is hot: packed only when no other has room.
HOT_PERMILLE = 900
#: More than any sum of shares, so that every hot node comes after every other.
_HOT = 1_000_000

Rank = tuple[int, int, int, int, str]


def shares(capacity: Need, free: Need) -> list[int]:
    """Thousandths of each kind of room that are taken, of the kinds that the node has said."""
    return [
        (has - left) * _WHOLE // has if has else _WHOLE
        for has, left in zip(capacity, free, strict=True)
        if has != UNBOUNDED
    ]


def cost_of(strategy: str, capacity: Need, free: Need, load: Load | None) -> int:
    """What the strategy makes of the load of a node."""
    taken = shares(capacity, free)
    if strategy == "binpack":
        hot = load is not None and load.highest_permille >= HOT_PERMILLE
        return _HOT * hot + len(Need._fields) * _WHOLE - sum(taken)
    asked = max(taken)
    return asked + (asked if load is None else load.highest_permille)


def failures_of(state: State, app: AppRow) -> dict[str, int]:
    """Nodes that the app's own past speaks for (-1) or against (1 to 3, the latest failure the most)."""
    found: dict[str, int] = {}
    last = app.recent_failures[-1] if app.recent_failures else None
    if last is not None and state.now_ms - last < state.policy.app_good_run_ms:
        found = {node: number for number, node in enumerate(app.failed_on, start=1)}
    if app.spec.on_failure == "same-node" and app.node:
        found[app.node] = -1
    return found


def distance_of(node: str, pool: str, near: Mapping[str, int] | None, pools: set[str]) -> int:
    """0 beside the group that the app wants to be near, 1 in a pool with it, 2 elsewhere; 0 if it names none."""
    if near is None or node in near:
        return 0
    return 1 if pool in pools else 2


def rank_of(score: NodeScore) -> Rank:
    """The numbers that are compared."""
    return score.failed, score.copies, score.distance, score.cost, score.node
