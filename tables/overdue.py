"""How many nodes are overdue, without asking each of them in each turn. Pure.

Who was heard cannot become overdue before the overdue limit is over, and settling only makes that later. So after a
look at a partition it is known until when nobody joins those who are overdue; until then only these are asked.
"""

from collections.abc import Callable

from sdk.contract.policy import Policy
from tables.silence import PartitionWatch
from tables.state import State


class Overdue:
    """The overdue nodes of all partitions, kept up to date."""

    def __init__(
        self,
        state: State,
        watches: dict[int, PartitionWatch],
        heard_ms: Callable[[PartitionWatch, str], int | None],
    ) -> None:
        self._state = state
        self._watches = watches
        self._heard_ms = heard_ms
        self._policy: Policy | None = None
        self._nodes: dict[int, set[str]] = {}
        #: Nodes whose rows have changed since they were counted.
        self._changed: set[str] = set()
        self._overdue: dict[int, set[str]] = {}
        #: Partition -> clock until which nobody else becomes overdue.
        self._calm_ms: dict[int, int] = {}
        self._count = 0

    def forget(self) -> None:
        """Who is counted has changed."""
        self._policy = None

    def node_changed(self, node: str) -> None:
        """Whether a node is counted may have changed."""
        self._changed.add(node)

    def count(self) -> tuple[int, int]:
        """Overdue nodes and all nodes; those that their provider knows to be gone count as neither."""
        if self._policy is not self._state.policy:
            self._begin()
        elif self._changed:
            self._follow()
        policy, overdue = self._state.policy, 0
        for partition, nodes in self._nodes.items():
            watch = self._watches[partition]
            if watch.clock_ms >= self._calm_ms[partition]:
                self._look(watch, nodes, policy)
            elif known := self._overdue[partition]:
                self._overdue[partition] = {node for node in known if self._is_overdue(watch, node, policy)}
            overdue += len(self._overdue[partition])
        return overdue, self._count

    def _begin(self) -> None:
        state = self._state
        self._policy, self._count = state.policy, 0
        self._nodes, self._calm_ms = {}, {}
        self._changed.clear()
        for live in state.live_nodes.values():
            for node in live:
                row = state.nodes[node]
                if not state.orders[str(row.order)].ended:
                    self._count += 1
                    self._nodes.setdefault(row.partition, set()).add(node)
        self._calm_ms = {partition: self._watches[partition].clock_ms for partition in self._nodes}

    def _follow(self) -> None:
        """Count those whose rows changed anew; their partitions are looked at again."""
        state = self._state
        for node in self._changed:
            row = state.nodes[node]
            counts = node in state.live_nodes.get(row.pool, ()) and not state.orders[str(row.order)].ended
            nodes = self._nodes.setdefault(row.partition, set())
            self._count += counts - (node in nodes)
            if counts:
                nodes.add(node)
            else:
                nodes.discard(node)
            self._calm_ms[row.partition] = self._watches[row.partition].clock_ms
        self._changed.clear()

    def _look(self, watch: PartitionWatch, nodes: set[str], policy: Policy) -> None:
        overdue, calm_ms = set(), watch.clock_ms + policy.overdue_ms
        for node in nodes:
            last_ms = self._heard_ms(watch, node)
            if last_ms is None:
                continue
            if watch.is_overdue(last_ms, policy):
                overdue.add(node)
            else:
                calm_ms = min(calm_ms, last_ms + policy.overdue_ms)
        # One that settles is past its plain limit already: then everybody is asked again at once.
        self._overdue[watch.partition], self._calm_ms[watch.partition] = overdue, calm_ms

    def _is_overdue(self, watch: PartitionWatch, node: str, policy: Policy) -> bool:
        last_ms = self._heard_ms(watch, node)
        return last_ms is not None and watch.is_overdue(last_ms, policy)
