"""The reader of all controllers' topics in a leading worker. Shell.

One consumer for all of them, and only while this worker leads: who begins to lead reads each topic from its beginning,
which compaction keeps short, and writes nothing before that.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sdk.contract.codec import DecodeError
from streams.clients import create_reader
from streams.controller_topics import ensure_controller_topic
from streams.core.bridging import Leads
from streams.core.controls import Controls
from streams.core.letters import Letters
from streams.topics import KafkaAwayError

_log = logging.getLogger(__name__)

AWAY = (KafkaError, OSError, TimeoutError)
#: How often a worker that has nothing to read looks whether it has, s.
LOOK_EVERY_S = 0.2
#: Which topics exist is asked again this often while one is missing, s.
LOOK_MISSING_S = 1.0
#: To connect, or to be told where topics begin and end, may take this long, s.
ANSWER_WITHIN_S = 5.0
#: One poll; a record that comes meanwhile ends it.
_POLL_MS = 200
#: One line about topics that cannot be read per this time, s.
COMPLAIN_EVERY_S = 30.0
#: A topic that could not be made is tried again after this time, s.
CREATE_AGAIN_S = 10.0


class Controlling:
    """Reads while this worker leads and there are controllers."""

    def __init__(
        self,
        *,
        bootstrap: str,
        controls: Controls,
        letters: Letters,
        planning: Leads,
        wake: Callable[[], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._controls = controls
        self._letters = letters
        self._planning = planning
        self._wake = wake
        self._consumer: AIOKafkaConsumer | None = None
        #: Topic -> controller, as they were when it was looked which exist; and next offsets and ends of those read.
        self._asked: dict[str, str] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._missing: set[str] = set()
        self._looked_s = 0.0
        self._complain_s = 0.0
        self._create_after_s = 0.0

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                if not (self._planning.leads and self._controls.topics):
                    await self._rest()
                    await asyncio.sleep(LOOK_EVERY_S)
                    continue
                try:
                    await self._pass()
                except AWAY as error:
                    self._complain(error)
                    await self._close()
                    await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await self._close()

    async def _rest(self) -> None:
        if self._consumer is not None or self._positions:
            await self._close()
            self._positions.clear()
            self._ends.clear()
            self._controls.forget()

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._asked = {}
        if consumer is not None:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await consumer.stop()
            except AWAY:
                _log.debug("the reader of controllers' topics could not be closed")

    async def _pass(self) -> None:
        if self._consumer is None:
            consumer = create_reader(self._bootstrap)
            self._consumer = consumer
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await consumer.start()
        wanted = {topic: controller for controller, topic in self._controls.topics.items()}
        is_due = self._missing and time.monotonic() - self._looked_s >= LOOK_MISSING_S
        if wanted != self._asked or is_due:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._look(self._consumer, wanted)
        if not self._positions:
            await asyncio.sleep(LOOK_EVERY_S)
            return
        await self._read(self._consumer)

    async def _look(self, consumer: AIOKafkaConsumer, wanted: dict[str, str]) -> None:
        """Learn which topics exist, and go on in those that were read, from the beginning in the others."""
        there = wanted.keys() & await consumer.topics()
        self._missing = wanted.keys() - there
        places = {TopicPartition(topic, 0) for topic in there}
        for place in self._positions.keys() - places:
            del self._positions[place]
            self._ends.pop(place, None)
        if places:
            consumer.assign(sorted(places))
            new = sorted(places - self._positions.keys())
            if new:
                self._ends.update(await consumer.end_offsets(new))
                self._positions.update(await consumer.beginning_offsets(new))
            for place, offset in self._positions.items():
                consumer.seek(place, offset)
        self._asked, self._looked_s = wanted, time.monotonic()
        if self._missing and time.monotonic() >= self._create_after_s:
            self._create_after_s = time.monotonic() + CREATE_AGAIN_S
            await self._create(wanted)

    async def _create(self, wanted: dict[str, str]) -> None:
        """Make the topics of those that were registered without one; a topic that somebody named is theirs to make."""
        for topic in sorted(self._missing):
            if not topic.endswith(f".{wanted[topic]}.v1"):
                continue
            try:
                await asyncio.to_thread(ensure_controller_topic, self._bootstrap, topic)
            except (*AWAY, KafkaAwayError) as error:
                self._complain(error)
                return
        self._looked_s = 0.0

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        for place, records in batches.items():
            controller = self._asked[place.topic]
            for record in records:
                try:
                    self._controls.read_back(controller, record.key, record.value, record.offset)
                except DecodeError as error:
                    self._letters.meet(record, str(error))
            self._positions[place] = records[-1].offset + 1
        for place, end in list(self._ends.items()):
            if await consumer.position(place) >= end:
                del self._ends[place]
                self._controls.caught_up(self._asked[place.topic])
                batches = batches or {place: []}
        if batches:
            self._wake()
            await asyncio.sleep(0)

    def _complain(self, error: BaseException) -> None:
        if time.monotonic() >= self._complain_s:
            self._complain_s = time.monotonic() + COMPLAIN_EVERY_S
            _log.warning("topics of controllers cannot be read (%s)", str(error) or type(error).__name__)
