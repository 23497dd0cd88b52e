"""Faust's consumer group as far as it decides who owns the partitions."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.workers import Worker
    from tests.simulation.world import World


class Group:
    """Kafka's group of the workers: who owns the requests, and who has not heard that it does not any more."""

    SESSION_MS = 3_000
    BEAT_MS = 750

    def __init__(self, world: "World") -> None:
        self.world = world
        self.owner: Worker | None = None
        self.members: dict[Worker, int] = {}
        self.committed = 0

    def join(self, worker: "Worker") -> None:
        """A worker joins, and beats to the group from here on."""
        self._beat(worker)

    def _beat(self, worker: "Worker") -> None:
        broker = self.world.broker
        if not worker.machine.is_cut and broker.alive and not broker.paused:
            self.members[worker] = self.world.loop.now_ms
            self.world.loop.after(broker.latency(), lambda: worker.run(lambda: self._tell(worker)))
        worker.after(self.BEAT_MS, lambda: self._beat(worker))

    def _tell(self, worker: "Worker") -> None:
        owns = self.owner is worker
        if worker.planning.owns != owns:
            worker.planning.owns = worker.planning.may_claim = owns
            if owns:
                worker.requests.take_over()
            worker.wake()

    def watch(self) -> None:
        """Expire sessions; every broker second or so."""
        broker, now_ms = self.world.broker, self.world.loop.now_ms
        if broker.alive and not broker.paused:
            for worker, at in list(self.members.items()):
                if now_ms - at > self.SESSION_MS:
                    del self.members[worker]
            if self.owner not in self.members:
                self.rebalance()
        else:
            self.members = dict.fromkeys(self.members, now_ms)
        self.world.loop.after(500, self.watch)

    def rebalance(self) -> None:
        """Give the partition to somebody, perhaps to somebody else."""
        names = sorted(self.members, key=lambda worker: worker.writer)
        self.owner = self.world.loop.chance.choice(names) if names else None

    def may_read(self, worker: "Worker") -> bool:
        """Whether a fetch of the requests would answer; a zombie may have some that it fetched before."""
        broker = self.world.broker
        return not worker.machine.is_cut and broker.alive and not broker.paused

    def commit(self, worker: "Worker", offset: int) -> None:
        """Commit, if the broker still takes it from this member."""
        if self.owner is worker and self.may_read(worker):
            self.committed = max(self.committed, offset)
