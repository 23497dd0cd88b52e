"""Nodes in the order of their cost, with the room that is free on each: the best that fit, without a look at all.

Pure. The order is cut into blocks. Each block knows a bound on the room of any node in it, so that a block in which
nothing can fit is passed over at one glance; the answer is the one that a look at every node would give.
"""

from bisect import bisect_left, insort
from collections.abc import Container, Iterable

from tables.room import Need

#: Nodes in a block: around the square root of a thousand, where looking at blocks and into blocks cost the same.
_BLOCK = 32

Key = tuple[int, str]


class _Block:
    """A stretch of the order."""

    __slots__ = ("cpu_percent", "keys", "memory_mib", "slots")

    def __init__(self, keys: list[Key], free: dict[str, Need]) -> None:
        self.keys = keys
        self.tighten(free)

    def tighten(self, free: dict[str, Need]) -> None:
        """Make the bounds exact: the most of each that any node here has free."""
        slots, cpu_percent, memory_mib = zip(*[free[node] for _, node in self.keys], strict=True)
        self.slots, self.cpu_percent, self.memory_mib = max(slots), max(cpu_percent), max(memory_mib)

    def widen(self, room: Need) -> None:
        """Take in one more node. One that goes leaves the bounds too wide, which costs time and nothing else."""
        self.slots = max(self.slots, room.slots)
        self.cpu_percent = max(self.cpu_percent, room.cpu_percent)
        self.memory_mib = max(self.memory_mib, room.memory_mib)


class NodeIndex:
    """Nodes by (cost, id), the smallest first, and their free room."""

    def __init__(self, nodes: Iterable[tuple[str, int, Need]]) -> None:
        listed = list(nodes)
        self.free = {node: room for node, _, room in listed}
        self.cost = {node: cost for node, cost, _ in listed}
        keys = sorted((cost, node) for node, cost, _ in listed)
        self._blocks = [_Block(keys[at : at + _BLOCK], self.free) for at in range(0, len(keys), _BLOCK)]
        #: The last key of each block, for finding the block of a key.
        self._lasts = [block.keys[-1] for block in self._blocks]
        #: What is free, per kind of room, in order: for counting nodes that lack some.
        self._sorted = [
            sorted(room[kind] for room in self.free.values()) for kind in range(len(Need._fields))
        ]

    def __contains__(self, node: str) -> bool:
        """Whether the node is one of these."""
        return node in self.free

    def update(self, node: str, cost: int, room: Need) -> None:
        """Give a node its new cost and room."""
        for kind, values in enumerate(self._sorted):
            before, after = self.free[node][kind], room[kind]
            if before != after:
                del values[bisect_left(values, before)]
                insort(values, after)
        self.free[node] = room
        old = self.cost[node]
        if old == cost:
            self._blocks[bisect_left(self._lasts, (cost, node))].widen(room)
            return
        self.cost[node] = cost
        self._take_out((old, node))
        self._put_in((cost, node), room)

    def _take_out(self, key: Key) -> None:
        at = bisect_left(self._lasts, key)
        keys = self._blocks[at].keys
        del keys[bisect_left(keys, key)]
        if keys:
            self._lasts[at] = keys[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def _put_in(self, key: Key, room: Need) -> None:
        at = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        if at < 0:
            self._blocks, self._lasts = [_Block([key], self.free)], [key]
            return
        block = self._blocks[at]
        insort(block.keys, key)
        block.widen(room)
        if len(block.keys) > 2 * _BLOCK:
            self._blocks[at : at + 1] = [
                _Block(block.keys[:_BLOCK], self.free),
                _Block(block.keys[_BLOCK:], self.free),
            ]
            self._lasts[at : at + 1] = [self._blocks[at].keys[-1], self._blocks[at + 1].keys[-1]]
        else:
            self._lasts[at] = block.keys[-1]

    def has_room(self, node: str, need: Need) -> bool:
        """Whether the node is one of these and has that much free."""
        room = self.free.get(node)
        return room is not None and need.fits(room)

    def first(self, need: Need, count: int, *, but: Container[str], nor: Container[str]) -> list[str]:
        """The first `count` nodes in the order that have room, without those in `but` or `nor`."""
        slots, cpu_percent, memory_mib = need
        free = self.free
        found: list[str] = []
        for block in self._blocks:
            if block.slots < slots or block.cpu_percent < cpu_percent or block.memory_mib < memory_mib:
                continue
            fits = False
            for _, node in block.keys:
                room = free[node]
                if room[0] < slots or room[1] < cpu_percent or room[2] < memory_mib:
                    continue
                fits = True
                if node in but or node in nor:
                    continue
                found.append(node)
                if len(found) == count:
                    return found
            if not fits:
                block.tighten(free)
        return found

    def lacking(self, need: Need) -> tuple[int, int, int]:
        """How many nodes have too few slots, too little processor, too little memory; one may lack several."""
        slots, cpu_percent, memory_mib = (
            bisect_left(values, wanted) if wanted else 0
            for values, wanted in zip(self._sorted, need, strict=True)
        )
        return slots, cpu_percent, memory_mib
