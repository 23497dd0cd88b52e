"""The monitor that Watchkeep replaces: a thread, a topic and a kafka-python consumer per service.

`python -m bench.peers.original BOOTSTRAP PREFIX FEW MANY` makes as many topics as there are services, writes a beat
into each, and lets each thread read its topic. It says `first` when the few services beat, `last` when the many do.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from kafka import KafkaConsumer, KafkaProducer

from bench.peers.ours import say
from streams.topics import ensure_topic

#: The original looks so long for a beat before it looks at its clock, ms.
_POLL_MS: Final = 1_000
#: All consumers have read a beat within this time, s: each starts in some 200 ms, one after the other.
_WITHIN_S: Final = 120.0


class Service:
    """One service and who watches it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        #: When it beat last, s.
        self.beat_s = 0.0
        self.heard = threading.Event()
        threading.Thread(target=self._watch, name=topic, daemon=True).start()

    def _watch(self) -> None:
        consumer = KafkaConsumer(
            self._topic, bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", group_id=None
        )
        while True:
            if consumer.poll(timeout_ms=_POLL_MS):
                self.beat_s = time.monotonic()
                self.heard.set()


def main() -> None:
    """Watch until killed."""
    bootstrap, prefix, few, many = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    topics = [f"{prefix}.service-{number}" for number in range(many)]
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for topic in topics:
        ensure_topic(bootstrap, topic, {})
        producer.send(topic, b"beat")
    producer.flush()
    services: list[Service] = []
    deadline_s = time.monotonic() + _WITHIN_S
    for count, mark in ((few, "first"), (many, "last")):
        services += [Service(bootstrap, topic) for topic in topics[len(services) : count]]
        for service in services:
            if not service.heard.wait(max(0.0, deadline_s - time.monotonic())):
                raise TimeoutError("a service was not heard")
        say(mark)
    threading.Event().wait()


if __name__ == "__main__":
    main()
