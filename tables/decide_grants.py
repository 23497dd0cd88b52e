"""Decisions about room that somebody asked for. Pure; part of `tables.decide`.

1. Who asked first is served first, before apps that wait for room: the asker waits for an answer.
2. Who finds no room is counted on a node that comes anyway, each of its slots once; only what fits nowhere makes the
   pool larger. So deciding again, while those nodes are on their way, gives nothing.
"""

from typing import Literal

import msgspec

from sdk.contract.events import GrantExpired, GrantRefused, NodeGranted, PoolEnlarged, Position
from tables.candidates import standing_fault
from tables.decide_nodes import has_provisioner, nodes_kept, to_replace
from tables.fold_grants import is_new_to
from tables.plan import Plan
from tables.pools import is_takeable, nodes_max, spares_of
from tables.questions import is_kept
from tables.room import NOTHING, UNBOUNDED, Need, capacity_of, need_of_grant
from tables.rows import GrantRow, PoolRow
from tables.state import State


class _Hope(msgspec.Struct):
    """A node that will have room: it is being created, or was not heard a moment ago."""

    free: Need
    #: Offset of its order; None for one that joins its pool after who waits now has asked.
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
        #: What a new node will have.
        self.whole = _whole(plan.state, self.pool)
        missing = range(self.nodes - self._have)
        coming = (*self._unheard(), *self._ordered(), *self._taken())
        self._hopes = [*coming, *(self._missing(number) for number in missing)]

    def _unheard(self) -> list[_Hope]:
        rows = (row for _, row in sorted(self._plan.state.nodes.items()) if self._serves(row.node))
        return [
            _Hope(self._plan.free(row.node), row.order)
            for row in rows
            if self._plan.witness.confirm_heard(row.node) is None
        ]

    def _ordered(self) -> list[_Hope]:
        """Nodes on their way, less what they bring back of a dead one's apps; spares are nobody's hope."""
        plan = self._plan
        rows = (plan.state.orders[str(order)] for order in sorted(plan.state.open_orders))
        return [
            _Hope(
                self.whole._replace(slots=row.slots).minus(plan.promised.get(row.order, NOTHING)), row.order
            )
            for row in rows
            if row.pool == self.pool.pool and not row.spare
        ]

    def _taken(self) -> list[_Hope]:
        """Spares that this call takes."""
        plan = self._plan
        return [
            _Hope(plan.free(node).minus(plan.promised.get(dead, NOTHING)), None)
            for node, dead in plan.taking.items()
            if plan.state.nodes[node].pool == self.pool.pool
        ]

    def _missing(self, number: int) -> _Hope:
        """The node that is ordered as number so and so of those that the pool lacks."""
        promised = NOTHING
        if number < len(self._dead):
            node = self._dead[number]
            lineage = self._plan.state.nodes[node].lineage
            promised = self._plan.promised.get((node, lineage), NOTHING)
        return _Hope(self.whole.minus(promised), None)

    def _serves(self, node: str) -> bool:
        row = self._plan.state.nodes[node]
        return row.pool == self.pool.pool and not standing_fault(self._plan, row)

    def find(self, row: GrantRow) -> tuple[int, str, Position] | None:
        """The fullest node that has the room, its free slots before and where the witness stood.

        The fullest, so that whole nodes stay free for larger wishes.
        """
        found = []
        for node, known in self._plan.state.nodes.items():
            if not self._serves(node) or not self._suits(row, known.order):
                continue
            free = self._plan.free(node)
            fence = self._plan.witness.confirm_heard(node) if need_of_grant(row).fits(free) else None
            if fence is not None:
                found.append((free.slots, node, fence))
        return min(found) if found else None

    def _suits(self, row: GrantRow, order: int | None) -> bool:
        """Whether the node of an order will do for who asked for a new one."""
        if not row.new or order is None:
            return True
        return order not in self._given and is_new_to(self._plan.state, row.grant, order)

    def take(self, row: GrantRow, node: str) -> None:
        """Keep room on a node."""
        self._plan.give(node, need_of_grant(row))
        if row.new:
            self._given.add(self._plan.state.nodes[node].order)

    def hope(self, row: GrantRow) -> bool:
        """Whether a node that comes anyway will have the room; from then on it is counted on."""
        need = need_of_grant(row)
        for hope in self._hopes:
            suits = not row.new or not hope.given
            if suits and need.fits(hope.free) and self._suits(row, hope.order):
                hope.free = hope.free.minus(need)
                hope.given = hope.given or row.new
                return True
        return False

    def enlarge(self, row: GrantRow) -> bool:
        """Whether the pool, by as few nodes as need be, can be made so large that one of them will have the room.

        A pool that has more nodes than it ought to have comes up to them first.
        """
        nodes, hopes = max(self.nodes, self._have), []
        while nodes < self.most:
            hopes.append(self._missing(nodes - self._have))
            nodes += 1
            if need_of_grant(row).fits(hopes[-1].free):
                self._hopes += hopes
                self.nodes = nodes
                return self.hope(row)
        return False

    @property
    def most(self) -> int:
        """Nodes that the pool may have."""
        return nodes_max(self._plan.state, self.pool)

    @property
    def has_spare(self) -> bool:
        """Whether a node stands by that this call does not take."""
        spares = spares_of(self._plan.state, self.pool.pool)
        return any(is_takeable(spare) and spare.node not in self._plan.taking for spare in spares)

    @property
    def is_lame(self) -> bool:
        """Whether nobody creates nodes here now, or creating them failed lately."""
        return not has_provisioner(self.pool) or self.pool.strikes > 0

    def refusal(self, row: GrantRow) -> str:
        """Why there is no room here and will be none."""
        pool, need = self.pool.pool, need_of_grant(row)
        wanted = f"{need.slots} free slots" if need == Need(need.slots, 0, 0) else f"{need.words()} free"
        if need.fits(self.whole):
            return f"no node of {pool} has {wanted}, and it has all {self.most} nodes it may have"
        have = str(self.whole.slots) if need.slots > self.whole.slots else self.whole.words()
        return f"no node of {pool} has {wanted}, and new ones have {have}"


def _whole(state: State, pool: PoolRow) -> Need:
    """What a new node of the pool is going to have: its slots, and else what the last that registered has."""
    rows = [row for row in state.nodes.values() if row.pool == pool.pool]
    last = max(rows, key=lambda row: row.registration, default=None)
    whole = Need(pool.slots, UNBOUNDED, UNBOUNDED) if last is None else capacity_of(last)
    return whole._replace(slots=pool.slots)


def decide_grants(plan: Plan) -> None:
    """Answer who asked for room, and free what nobody used."""
    rooms: dict[str, _Room] = {}
    for row in sorted(plan.state.grants.values(), key=lambda row: row.grant):
        if row.node:
            _expire(plan, row)
            continue
        pools = [row.pool] if row.pool else sorted(plan.state.pools)
        for pool in pools:
            if pool not in rooms:
                rooms[pool] = _Room(plan, pool)
        _answer(plan, row, [rooms[pool] for pool in pools])


def _expire(plan: Plan, row: GrantRow) -> None:
    reason: Literal["unused", "node-gone"]
    if row.wake is not None and row.wake.fired:
        reason = "unused"
    elif not is_kept(plan.state, row):
        reason = "node-gone"
    else:
        return
    plan.add(GrantExpired(**plan.basis, grant=row.grant, node=row.node, reason=reason))


def _answer(plan: Plan, row: GrantRow, rooms: list[_Room]) -> None:
    found = [(*place, room) for room in rooms if (place := room.find(row)) is not None]
    if found:
        _, node, fence, room = min(found, key=lambda each: each[:2])
        room.take(row, node)
        plan.add(
            NodeGranted(
                **plan.basis,
                grant=row.grant,
                node=node,
                registration=plan.state.nodes[node].registration,
                slots=row.slots,
                cpu_percent=row.cpu_percent,
                memory_mib=row.memory_mib,
                fence=fence,
                wake_ms=plan.state.policy.grant_within_ms,
            )
        )
    elif not any(room.hope(row) for room in rooms):
        _enlarge(plan, row, rooms)


def _enlarge(plan: Plan, row: GrantRow, rooms: list[_Room]) -> None:
    """Make a pool larger, the first that can be: before others where a spare stands by, last where creating fails."""
    for room in sorted(rooms, key=lambda room: (not room.has_spare, room.is_lame, room.pool.pool)):
        if room.enlarge(row):
            plan.add(
                PoolEnlarged(**plan.basis, pool=room.pool.pool, grant=row.grant, nodes=room.nodes),
            )
            return
    reason = "; ".join(room.refusal(row) for room in rooms)
    plan.add(GrantRefused(**plan.basis, grant=row.grant, pool=row.pool, reason=reason))
