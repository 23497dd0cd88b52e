"""Decisions about room that somebody asked for. Pure; part of `tables.decide`.

1. Who asked first is served first, before apps that wait for room: the asker waits for an answer.
2. Who finds no room is counted on a node that comes anyway, each of its slots once; only what fits nowhere makes the
   pool larger. So deciding again, while those nodes are on their way, gives nothing.
"""

from typing import Literal

import msgspec

from sdk.contract.events import GrantExpired, GrantRefused, NodeGranted, PoolEnlarged, Position
from tables.candidates import standing_fault
from tables.decide_nodes import nodes_kept, to_replace
from tables.fold_grants import is_new_to
from tables.plan import Plan
from tables.room import NOTHING, Need
from tables.rows import GrantRow
from tables.state import is_kept


class _Hope(msgspec.Struct):
    """A node that will have room: it is being created, or was not heard a moment ago."""

    slots: int
    #: Offset of its order; None for one that is not ordered yet.
    order: int | None
    #: Somebody who asked for a new node gets this one.
    given: bool = False


class _Room:
    """What a pool has and will have for those who ask, as this call goes on."""

    def __init__(self, plan: Plan, pool: str) -> None:
        self._plan = plan
        self.pool = plan.state.pools[pool]
        #: How many nodes the pool ought to have, with those that this call adds.
        self.nodes = self.pool.nodes
        #: Orders whose node this call gives to who asked for a new one.
        self._given: set[int] = set()
        self._have = nodes_kept(plan, pool)
        self._dead = to_replace(plan, pool)
        missing = range(self.nodes - self._have)
        self._hopes = [*self._unheard(), *self._ordered(), *(self._missing(number) for number in missing)]

    def _unheard(self) -> list[_Hope]:
        rows = (row for _, row in sorted(self._plan.state.nodes.items()) if self._serves(row.node))
        return [
            _Hope(self._free(row.node), row.order)
            for row in rows
            if self._plan.witness.confirm_heard(row.node) is None
        ]

    def _ordered(self) -> list[_Hope]:
        """Nodes on their way, less what they bring back of a dead one's apps."""
        plan = self._plan
        rows = (plan.state.orders[str(order)] for order in sorted(plan.state.open_orders))
        return [
            _Hope(row.slots - plan.promised.get(row.order, NOTHING).slots, row.order)
            for row in rows
            if row.pool == self.pool.pool
        ]

    def _missing(self, number: int) -> _Hope:
        """The node that is ordered as number so and so of those that the pool lacks."""
        promised = 0
        if number < len(self._dead):
            node = self._dead[number]
            lineage = self._plan.state.nodes[node].lineage
            promised = self._plan.promised.get((node, lineage), NOTHING).slots
        return _Hope(self.pool.slots - promised, None)

    def _serves(self, node: str) -> bool:
        row = self._plan.state.nodes[node]
        return row.pool == self.pool.pool and not standing_fault(self._plan, row)

    def _free(self, node: str) -> int:
        return self._plan.free(node).slots

    def find(self, row: GrantRow) -> tuple[str, Position] | None:
        """The fullest node that has the room, and where the witness stood: whole nodes stay free for larger wishes."""
        found = []
        for node, known in self._plan.state.nodes.items():
            if not self._serves(node) or self._free(node) < row.slots or not self._suits(row, known.order):
                continue
            fence = self._plan.witness.confirm_heard(node)
            if fence is not None:
                found.append((self._free(node), node, fence))
        return min(found)[1:] if found else None

    def _suits(self, row: GrantRow, order: int | None) -> bool:
        """Whether the node of an order will do for who asked for a new one."""
        if not row.new or order is None:
            return True
        return order not in self._given and is_new_to(self._plan.state, row.grant, order)

    def take(self, row: GrantRow, node: str) -> None:
        """Keep room on a node."""
        self._plan.give(node, Need(row.slots, 0, 0))
        if row.new:
            self._given.add(self._plan.state.nodes[node].order)

    def hope(self, row: GrantRow) -> bool:
        """Whether a node that comes anyway will have the room; from then on it is counted on."""
        for hope in self._hopes:
            suits = not row.new or not hope.given
            if suits and hope.slots >= row.slots and self._suits(row, hope.order):
                hope.slots -= row.slots
                hope.given = hope.given or row.new
                return True
        return False

    def enlarge(self, row: GrantRow, most: int) -> bool:
        """Whether the pool, by as few nodes as need be, can be made so large that one of them will have the room.

        A pool that has more nodes than it ought to have comes up to them first.
        """
        nodes, hopes = max(self.nodes, self._have), []
        while nodes < most:
            hopes.append(self._missing(nodes - self._have))
            nodes += 1
            if hopes[-1].slots >= row.slots:
                self._hopes += hopes
                self.nodes = nodes
                return self.hope(row)
        return False


def decide_grants(plan: Plan) -> None:
    """Answer who asked for room, and free what nobody used."""
    rooms: dict[str, _Room] = {}
    for row in sorted(plan.state.grants.values(), key=lambda row: row.grant):
        if row.node:
            _expire(plan, row)
            continue
        if row.pool not in rooms:
            rooms[row.pool] = _Room(plan, row.pool)
        _answer(plan, row, rooms[row.pool])


def _expire(plan: Plan, row: GrantRow) -> None:
    reason: Literal["unused", "node-gone"]
    if row.wake is not None and row.wake.fired:
        reason = "unused"
    elif not is_kept(plan.state, row):
        reason = "node-gone"
    else:
        return
    plan.add(GrantExpired(**plan.basis, grant=row.grant, node=row.node, reason=reason))


def _answer(plan: Plan, row: GrantRow, room: _Room) -> None:
    found = room.find(row)
    if found is not None:
        node, fence = found
        room.take(row, node)
        registration = plan.state.nodes[node].registration
        plan.add(
            NodeGranted(
                **plan.basis,
                grant=row.grant,
                node=node,
                registration=registration,
                slots=row.slots,
                fence=fence,
                wake_ms=plan.state.policy.grant_within_ms,
            )
        )
    elif not room.hope(row):
        _enlarge(plan, row, room)


def _enlarge(plan: Plan, row: GrantRow, room: _Room) -> None:
    most = plan.state.policy.pool_nodes_max
    if row.slots > room.pool.slots:
        reason = f"no node of {row.pool} has {row.slots} free slots, and new ones have {room.pool.slots}"
        plan.add(GrantRefused(**plan.basis, grant=row.grant, pool=row.pool, reason=reason))
    elif room.enlarge(row, most):
        plan.add(PoolEnlarged(**plan.basis, pool=row.pool, grant=row.grant, nodes=room.nodes))
    else:
        reason = f"no node of {row.pool} has {row.slots} free slots, and it has all {most} nodes it may have"
        plan.add(GrantRefused(**plan.basis, grant=row.grant, pool=row.pool, reason=reason))
