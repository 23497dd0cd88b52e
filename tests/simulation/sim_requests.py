"""How a simulated worker gets its requests, as Faust's processor does. Part of the simulator."""

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaTimeoutError

from sdk.contract.codec import Asked, DecodeError, decode_request
from sdk.contract.events import Event, RequestRefused
from sdk.contract.ids import derive_id
from tables.admit import admit

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

AGAIN_MS = 500


class Requests:
    """The requests of one worker, one after the other."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._admitted_at = -1
        self._admitting = False

    @property
    def are_waiting(self) -> bool:
        """Whether any is under way or left."""
        world = self._worker.world
        return self._admitting or world.group.committed < world.broker.log(world.topics.requests).end

    def admit(self) -> None:
        """Take the next request, if this worker owns them, leads and has none under way."""
        worker = self._worker
        world = worker.world
        group = world.group
        if self._admitting or not worker.planning.leads or not group.may_read(worker):
            return
        log = world.broker.log(world.topics.requests)
        if group.committed >= log.end:
            return
        record = log.since(group.committed)[0]
        try:
            asked = decode_request(record.value)
        except DecodeError as error:
            worker.letters.meet(record, str(error))
            group.commit(worker, record.offset + 1)
            return
        event = admit(worker.state, asked)
        if isinstance(event, RequestRefused) and worker.state.offset < self._admitted_at:
            return
        self._admitting = True
        worker.appender.later(self._append(asked, event, record.offset))

    async def _append(self, asked: Asked, event: Event, offset: int) -> None:
        worker = self._worker
        try:
            offsets = await worker.appender.append([(derive_id("admitted", asked.id), event, asked.id)])
        except KafkaTimeoutError:
            worker.after(AGAIN_MS, self._admit_again)
            return
        self._admitting = False
        self._admitted_at = offsets[-1]
        worker.world.group.commit(worker, offset + 1)

    def _admit_again(self) -> None:
        self._admitting = False
