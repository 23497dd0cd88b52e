"""The bridge of a leading worker: beats for services with the original heartbeat client, and for sensors. Shell.

Each pass asks how many records the topics have had, writes a beat for each source whose topic has more than before,
waits until all of them stand, and only then lets the ticks say that the topics were read.
"""

import asyncio
import logging
import time
from typing import Protocol

from aiokafka import AIOKafkaProducer

from sdk.contract.codec import encode_heartbeat
from sdk.contract.topics import partition_of
from sdk.topic_counts import AWAY, TopicCounts
from streams.core import monotonic
from streams.core.ticker import Ticker
from tables.bridge import Bridge
from tables.watcher import Watcher

_log = logging.getLogger(__name__)

#: Pause between two passes, s: shorter than a tick, so that nearly every tick can say what was read.
PASS_EVERY_S = 0.2
#: One line about topics that cannot be read per this time, s.
COMPLAIN_EVERY_S = 30.0


class Leads(Protocol):
    """What the bridge asks of the planning."""

    @property
    def leads(self) -> bool:
        """Whether this worker leads."""
        ...


class Bridging:
    """Reads topics and writes beats while this worker leads and somebody is expected."""

    def __init__(
        self,
        *,
        bootstrap: str,
        topic: str,
        prefix: str,
        name: str,
        watcher: Watcher,
        planning: Leads,
        ticker: Ticker,
        producer: AIOKafkaProducer,
    ) -> None:
        self._topic = topic
        self._planning = planning
        self._ticker = ticker
        self._producer = producer
        self._bridge = Bridge(watcher, prefix)
        self._counts = TopicCounts(bootstrap, client_id=f"{name}-bridge")
        self._complain_s = 0.0
        self._is_away = False

    async def run(self) -> None:
        """Bridge until cancelled."""
        try:
            while True:
                await asyncio.sleep(PASS_EVERY_S)
                wanted = self._bridge.wanted()
                if not (self._planning.leads and wanted.sources):
                    self._bridge.forget()
                    self._ticker.note_bridged(0, 0)
                    await self._counts.close()
                    continue
                try:
                    await self._pass()
                except AWAY as error:
                    self._complain(error)
        finally:
            await self._counts.close()

    async def _pass(self) -> None:
        wanted, began_ms = self._bridge.wanted(), monotonic.now_ms()
        counts = await self._counts.read(wanted.topics, unhurried=wanted.foreign)
        now_ms = time.time_ns() // 1_000_000
        beats = self._bridge.beats_due(wanted, counts, now_ms=now_ms, clock_ms=began_ms)
        sent = [
            await self._producer.send(
                self._topic,
                encode_heartbeat(beat),
                key=beat.source.encode(),
                partition=partition_of(beat.source),
            )
            for beat in beats
        ]
        for beat, standing in zip(beats, sent, strict=True):
            await standing
            self._bridge.written(beat)
        self._ticker.note_bridged(wanted.as_of, began_ms)
        if self._is_away:
            self._is_away = False
            _log.warning("the topics of original heartbeat clients and of sensors can be read again")
        self._counts.create_missing(besides=wanted.foreign)

    def _complain(self, error: BaseException) -> None:
        self._is_away = True
        if time.monotonic() >= self._complain_s:
            self._complain_s = time.monotonic() + COMPLAIN_EVERY_S
            why = str(error) or type(error).__name__
            _log.warning(
                "topics of original heartbeat clients or sensors cannot be read (%s): nobody who beats there is judged",
                why,
            )
