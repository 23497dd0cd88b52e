"""Whom a watcher begins to wait for when a partition has been read to its end. Pure.

Nodes and pools are few. Of lone sources there may be a million: then so many of them are looked at in a turn, in one
pass for all partitions that have been read. Who is not looked at yet is waited for some turns later, or from its next
beat on; with fewer than one turn takes, which is any platform of usual size, all are waited for at once.
"""

from collections.abc import Iterator

from sdk.contract.policy import Policy
from tables.silence import PartitionWatch
from tables.state import State

#: Lone sources that a turn looks at: 3 us each of those that are in a partition that was just read, so that they take
#: 15 ms. The loop may be held for 50, and comparing takes 12 in the same turn.
LOOKS = 5_000


class Waiting:
    """The pass through the lone sources, if there is one."""

    def __init__(self, state: State, watches: dict[int, PartitionWatch]) -> None:
        self._state = state
        self._watches = watches
        #: Who is still to be looked at, and for which partitions; those that came later have the next pass.
        self._left: Iterator[str] = iter(())
        self._partitions: set[int] = set()
        self._later: set[int] = set()

    @property
    def is_over(self) -> bool:
        """Whether nobody is left."""
        return not self._partitions and not self._later

    def begin(self, partition: int, policy: Policy) -> None:
        """Begin to wait for everything that the fold knows in a partition."""
        watch = self._watches[partition]
        for source, epoch, seen, claim in known_reporters(self._state, partition):
            watch.expect(source, epoch, seen=seen, policy=policy, claim=claim)
        if len(self._state.sources) > LOOKS:
            self._later.add(partition)
            return
        for source, row in self._state.sources.items():
            if row.partition == partition:
                watch.expect(source, 0, seen=row.seen, policy=policy)

    def go_on(self, policy: Policy) -> None:
        """A turn's part of those who are left."""
        if not self._partitions:
            self._partitions, self._later = self._later, set()
            self._left = iter(list(self._state.sources))
        sources, watches = self._state.sources, self._watches
        for _ in range(LOOKS):
            source = next(self._left, None)
            if source is None:
                self._partitions = set()
                return
            row = sources.get(source)
            if row is not None and row.partition in self._partitions:
                watches[row.partition].expect(source, 0, seen=row.seen, policy=policy)


def known_reporters(state: State, partition: int) -> Iterator[tuple[str, int, int, str]]:
    """(source, epoch, seen, claim) of every reporter in a partition that the fold takes for alive."""
    for node, row in state.nodes.items():
        if row.status == "active" and row.partition == partition:
            yield node, row.registration, row.seen, row.claim
    for name, pool in state.pools.items():
        if pool.registration and pool.partition == partition:
            yield name, pool.registration, pool.seen, pool.claim
