"""How the beat of a program that no agent runs leaves it: straight to Kafka. Imported with the first such beat."""

import time

from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Beat
from sdk.contract.topics import Topics, partition_of
from sdk.kafka_post import KafkaPost


class KafkaWay:
    """Beats straight into the heartbeats topic."""

    def __init__(self, source: str, bootstrap: str, prefix: str) -> None:
        self.goal = f"Kafka at {bootstrap}"
        self._source = source
        self._topic = Topics(prefix).heartbeats
        self._post = KafkaPost(bootstrap, source)

    def send(self, number: int) -> None:
        """One record, acknowledged."""
        beat = Beat(self._source, epoch=0, number=number, sent_at_ms=int(time.time() * 1000))
        self._post.send(
            self._topic, self._source.encode(), encode_heartbeat(beat), partition_of(self._source)
        )

    def close(self) -> None:
        """Drop the client and what it still holds."""
        self._post.close()
