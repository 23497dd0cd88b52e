"""How a simulated worker gets its requests, as Faust's processor does. Part of the simulator."""

from typing import TYPE_CHECKING

from sdk.contract.codec import Asked, DecodeError, decode_request

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

#: How often Faust loses a request when another worker takes over (docs/adr/0005).
LOST_SHARE = 0.2


class Requests:
    """The requests of one worker, one after the other; the real `Admission` answers them."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._admitting = False
        self._loses = False

    @property
    def are_waiting(self) -> bool:
        """Whether any is under way or left."""
        world = self._worker.world
        return self._admitting or world.group.committed < world.broker.log(world.topics.requests).end

    def take_over(self) -> None:
        """Faust gave this worker the partition."""
        self._loses = self._worker.chance.random() < LOST_SHARE

    def admit(self) -> None:
        """Take the next request, if this worker owns them, leads and has none under way."""
        worker = self._worker
        world, group = worker.world, worker.world.group
        if self._admitting or not worker.planning.leads or not group.may_read(worker):
            return
        log = world.broker.log(world.topics.requests)
        if group.committed >= log.end:
            return
        record = log.since(group.committed)[0]
        if self._loses:
            self._loses = False
            group.commit(worker, record.offset + 1)
            return
        try:
            asked = decode_request(record.value)
        except DecodeError as error:
            worker.letters.meet(record, str(error))
            group.commit(worker, record.offset + 1)
            return
        self._admitting = True
        worker.appender.later(self._answer(asked, record.offset))

    async def _answer(self, asked: Asked, offset: int) -> None:
        await self._worker.admission.admit(asked)
        self._admitting = False
        self._worker.world.group.commit(self._worker, offset + 1)
