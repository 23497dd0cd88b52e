"""Dead letters of an app about records of its sensors that are no values. Shell of the SDK.

1. Each record that an app meets is written about once; a device that writes nothing else is written about
   `LETTERS_PER_MINUTE` times a minute at most, and counted.
2. It never holds up who reads: an outbox delivers, and while Kafka is away the oldest letters are dropped.
"""

import logging
import threading
import time
from collections import Counter
from typing import Any

import msgspec

from sdk.contract.letters import letter_about
from sdk.contract.topics import Topics
from sdk.kafka_post import KafkaPost
from sdk.outbox import Letter, Outbox

_log = logging.getLogger("watchkeep.sensors")

#: Letters about one topic in a minute: enough to see what is wrong with a device, a trickle beside its own records.
LETTERS_PER_MINUTE = 20
_MINUTE_S = 60.0
#: Letters that wait for Kafka at most: of 1 to 2 KiB each.
_WAITING_MAX = 200
#: A letter that could not be delivered for so long is given up, s: an outage is not the time to talk of garbage.
_OF_USE_S = 60.0
#: Records remembered as written about, so that a second reader in this program does not.
_KNOWN_MAX = 10_000


class SensorGarbage:
    """Counts what is no value, and writes dead letters about it; may be called from any thread."""

    def __init__(self, bootstrap: str, prefix: str, *, writer: str) -> None:
        self._bootstrap = bootstrap
        self._topic = Topics(prefix).dead_letters
        self._writer = writer
        self._lock = threading.Lock()
        self._outbox: Outbox | None = None
        #: Records that were no value, by topic.
        self.counts: Counter[str] = Counter()
        #: Of those, how many were only counted.
        self.unwritten = 0
        self._known: dict[tuple[str, int, int], None] = {}
        self._written: Counter[str] = Counter()
        self._minute_s = time.monotonic()

    def meet(self, record: Any, reason: str) -> None:
        """A record (kafka-python's) is no value."""
        place = (record.topic, record.partition, record.offset)
        with self._lock:
            if place in self._known:
                return
            self._known[place] = None
            if len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self.counts[record.topic] += 1
            if time.monotonic() - self._minute_s >= _MINUTE_S:
                self._minute_s = time.monotonic()
                self._written.clear()
            self._written[record.topic] += 1
            if self._written[record.topic] > LETTERS_PER_MINUTE:
                self.unwritten += 1
                return
            if self._outbox is None:
                self._outbox = Outbox(KafkaPost(self._bootstrap, self._writer), size=_WAITING_MAX)
            outbox = self._outbox
        _log.warning("%s offset %d is no value: %s", record.topic, record.offset, reason)
        letter = letter_about(record, reason, writer=self._writer)
        outbox.put(
            Letter(
                self._topic,
                letter.letter_key,
                letter,
                msgspec.json.encode,
                until_s=time.monotonic() + _OF_USE_S,
            )
        )

    def close(self) -> None:
        """Deliver what waits, for a moment, and stop."""
        with self._lock:
            outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.close(within_s=1.0)
