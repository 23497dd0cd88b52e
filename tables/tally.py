"""How many nodes of each pool are on their way and how many stay, counted as rows change. Pure; part of `tables.state`.

Thousands of orders in a row, each of which asks how many there are, would cost a look at all of them each.
"""

from collections import Counter
from typing import Literal

from tables.rows import NodeRow, OrderRow

#: What is counted: an open order, or an active node that its pool ought to have; each ordinary or a spare.
Kind = Literal["coming", "staying"]


def stays(node: NodeRow) -> bool:
    """Whether an active node counts among those that its pool ought to have."""
    return not (node.draining or node.quarantined)


class Tally:
    """The counts, and what each order and node was counted as."""

    def __init__(self) -> None:
        #: Pool, kind and whether it is a spare -> how many.
        self.counts: Counter[tuple[str, Kind, bool]] = Counter()
        self._orders: dict[int, tuple[str, Kind, bool]] = {}
        self._nodes: dict[str, tuple[str, Kind, bool]] = {}

    def order(self, row: OrderRow, *, is_open: bool) -> None:
        """Count an order as it is now."""
        self._move(self._orders.pop(row.order, None), (row.pool, "coming", row.spare) if is_open else None)
        if is_open:
            self._orders[row.order] = row.pool, "coming", row.spare

    def close(self, order: int) -> None:
        """The order has brought its node."""
        self._move(self._orders.pop(order, None), None)

    def node(self, row: NodeRow) -> None:
        """Count a node as it is now."""
        counts = row.status == "active" and stays(row)
        self._move(self._nodes.pop(row.node, None), (row.pool, "staying", row.spare) if counts else None)
        if counts:
            self._nodes[row.node] = row.pool, "staying", row.spare

    def _move(self, old: tuple[str, Kind, bool] | None, new: tuple[str, Kind, bool] | None) -> None:
        if old != new:
            if old is not None:
                self.counts[old] -= 1
            if new is not None:
                self.counts[new] += 1
