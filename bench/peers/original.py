"""The monitor that Watchkeep replaces: a thread, a topic and a kafka-python consumer per service.

`python -m bench.peers.original BOOTSTRAP PREFIX FEW MANY` makes as many topics as there are services, writes a beat
into each, and lets each thread read its topic. It says `first` when the few services beat, `last` when the many do.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Final

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from bench.peers.ours import say
from streams.topics import ensure_topic

#: The original looks so long for a beat before it looks at its clock, ms.
_POLL_MS: Final = 1_000
#: A service beats so often, s.
_BEAT_EVERY_S: Final = 5.0
#: All consumers have read a beat within this time, s: each starts in some 200 ms, one after the other.
_WITHIN_S: Final = 120.0


class Service:
    """One service and who watches it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self.topic = topic
        #: When it beat last, s.
        self.beat_s = 0.0
        self.heard = threading.Event()
        threading.Thread(target=self._watch, name=topic, daemon=True).start()

    def _watch(self) -> None:
        consumer = self._connect()
        while True:
            if consumer.poll(timeout_ms=_POLL_MS):
                self.beat_s = time.monotonic()
                self.heard.set()

    def _connect(self) -> KafkaConsumer:
        """A consumer of the service's topic; with fifty that connect at once some are turned away."""
        while True:
            with contextlib.suppress(KafkaError):
                return KafkaConsumer(
                    self.topic, bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", group_id=None
                )


def main() -> None:
    """Watch until killed."""
    bootstrap, prefix, few, many = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    topics = [f"{prefix}.service-{number}" for number in range(many)]
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for topic in topics:
        ensure_topic(bootstrap, topic, {})
    services: list[Service] = []
    deadline_s = time.monotonic() + _WITHIN_S
    for count, mark in ((few, "first"), (many, "last")):
        services += [Service(bootstrap, topic) for topic in topics[len(services) : count]]
        while waiting := [service for service in services if not service.heard.is_set()]:
            if time.monotonic() >= deadline_s:
                raise TimeoutError(f"{len(waiting)} of {count} services were not heard")
            for service in waiting:
                producer.send(service.topic, b"beat")
            producer.flush()
            waiting[-1].heard.wait(_BEAT_EVERY_S)
        say(mark)
    threading.Event().wait()


if __name__ == "__main__":
    main()
