"""How many records topics have ever had: what is left to see of who beats into a topic of its own. Shell.

The original heartbeat client writes any payload without a key, so nothing in its records is worth reading. The end
offsets of a topic's partitions, added up, grow by one with each record, whatever retention does; and an answer says
that the topic was read to its end as of the moment at which it was asked. Rules:

1. A topic that does not exist has had no records. It is only asked about once it is known to exist: to ask may
   create it.
2. An answer is about all topics or none: if one partition cannot be read, nothing is known.
"""

import asyncio
import logging
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

_log = logging.getLogger(__name__)

#: What asking may raise while Kafka, or one partition, is away.
AWAY = (KafkaError, OSError, TimeoutError)
#: An answer that takes longer is given up: by then it would say too little about now.
ANSWER_WITHIN_S = 1.0
#: To connect may take longer: a broker that was just started answers late.
CONNECT_WITHIN_S = 3.0
#: Which topics exist, and how many partitions they have, is looked up again so often while one is missing, else.
LOOK_MISSING_S = 0.5
LOOK_S = 30.0
#: So often if only such are missing as nobody waits for: topics of sensors that somebody named and that do not exist.
LOOK_UNHURRIED_S = 5.0
CLOSE_WITHIN_S = 0.5
#: A topic that could not be made is tried again after this time, s: who may make topics does not change often.
CREATE_AGAIN_S = 10.0
#: Beats are worth nothing once they are read: the topics keep them for a day.
RETENTION_MS = 86_400_000


class TopicCounts:
    """Counts the records of topics; connects when it is asked, and anew after an error."""

    def __init__(self, bootstrap: str, *, client_id: str) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._consumer: AIOKafkaConsumer | None = None
        self._asked: frozenset[str] = frozenset()
        self._partitions: list[TopicPartition] = []
        #: Topics that were asked about and do not exist.
        self.missing: frozenset[str] = frozenset()
        self._looked_s = 0.0
        #: Missing topic -> when it may be made again.
        self._create_after_s: dict[str, float] = {}
        self._creating: asyncio.Future[None] | None = None

    async def read(self, topics: Iterable[str], *, unhurried: frozenset[str] = frozenset()) -> dict[str, int]:
        """Topic -> records it has ever had, 0 if it does not exist; `unhurried` may come to exist later.

        Raises:
            KafkaError, OSError, TimeoutError: not everything could be read.
        """
        wanted = frozenset(topics)
        try:
            if self._consumer is None:
                await self._connect()
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._read(wanted, unhurried)
        except AWAY:
            await self.close()
            raise

    async def _connect(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            request_timeout_ms=int(CONNECT_WITHIN_S * 1000),
            retry_backoff_ms=100,
        )
        self._consumer = consumer
        self._asked, self._partitions, self.missing = frozenset(), [], frozenset()
        async with asyncio.timeout(CONNECT_WITHIN_S):
            await consumer.start()

    async def _read(self, wanted: frozenset[str], unhurried: frozenset[str]) -> dict[str, int]:
        consumer = self._consumer
        assert consumer is not None
        hurried_s = LOOK_MISSING_S if self.missing - unhurried else LOOK_UNHURRIED_S
        patience_s = hurried_s if self.missing else LOOK_S
        if wanted != self._asked or time.monotonic() - self._looked_s >= patience_s:
            await self._look(consumer, wanted)
        counts = dict.fromkeys(wanted, 0)
        if self._partitions:
            for place, end in (await consumer.end_offsets(self._partitions)).items():
                counts[place.topic] += end
        return counts

    async def _look(self, consumer: AIOKafkaConsumer, wanted: frozenset[str]) -> None:
        """Learn which of the topics exist and what partitions they have."""
        there = wanted & await consumer.topics()
        client = consumer._client  # noqa: SLF001  # there is no public way to name topics without reading them
        if there:
            client.set_topics(there)
            await client.force_metadata_update()
        partitions = [
            TopicPartition(topic, number)
            for topic in sorted(there)
            for number in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        known = {place.topic for place in partitions}
        if there - known:
            raise TimeoutError(f"nothing known of the partitions of {', '.join(sorted(there - known))}")
        self._asked, self._partitions, self.missing = wanted, partitions, wanted - there
        self._looked_s = time.monotonic()

    def create_missing(self, *, besides: frozenset[str] = frozenset()) -> None:
        """Begin to make the topics that were missing, `besides` these; none again for a while if that is refused."""
        if self._creating is not None and not self._creating.done():
            return
        now_s = time.monotonic()
        after_s = {topic: self._create_after_s.get(topic, now_s) for topic in self.missing - besides}
        due = sorted(topic for topic, at_s in after_s.items() if at_s <= now_s)
        self._create_after_s = {**after_s, **dict.fromkeys(due, now_s + CREATE_AGAIN_S)}
        if due:
            self._creating = asyncio.ensure_future(self._create(due))

    async def _create(self, missing: list[str]) -> None:
        try:
            await asyncio.to_thread(create_beats_topics, self._bootstrap, missing)
        except Exception as error:  # noqa: BLE001  # two clients' worth of errors, and nothing depends on it
            why = str(error) or type(error).__name__
            _log.warning("cannot create %s, which are to hold beats (%s)", ", ".join(missing), why)

    async def close(self) -> None:
        """Close the connection; the next question opens another."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await consumer.stop()
        except AWAY:
            return


def create_beats_topics(bootstrap: str, topics: list[str]) -> None:
    """Make topics for beats: one partition, a day of records, as many replicas as the cluster gives by default.

    Raises:
        KafkaError, OSError: no broker answers, or it refuses.
    """
    from kafka import KafkaAdminClient
    from kafka.errors import TopicAlreadyExistsError

    wait_ms = int(CONNECT_WITHIN_S * 1000)
    admin = KafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=wait_ms, bootstrap_timeout_ms=wait_ms
    )
    try:
        for topic in topics:
            try:
                admin.create_topics(
                    {
                        topic: {
                            "num_partitions": 1,
                            "replication_factor": -1,
                            "configs": {"retention.ms": str(RETENTION_MS)},
                        }
                    }
                )
            except TopicAlreadyExistsError:
                continue
    finally:
        admin.close()
