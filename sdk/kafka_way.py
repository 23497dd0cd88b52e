"""How the beat of a program that no agent runs leaves it: straight to Kafka. Imported with the first such beat."""

import logging
import time
from typing import Any

from kafka import KafkaProducer

from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Beat
from sdk.contract.topics import Topics, partition_of

#: Patience with one request and with one beat. Source: DESIGN 6.
KAFKA_REQUEST_MS = 3_000
KAFKA_DELIVERY_MS = 5_000


class KafkaWay:
    """Beats straight into the heartbeats topic."""

    def __init__(self, source: str, bootstrap: str, prefix: str) -> None:
        self.goal = f"Kafka at {bootstrap}"
        self._source = source
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._producer: Any = None

    def send(self, number: int) -> None:
        """One record, acknowledged."""
        if self._producer is None:
            self._producer = self._new_producer()
        beat = Beat(self._source, epoch=0, number=number, sent_at_ms=int(time.time() * 1000))
        try:
            self._producer.send(
                Topics(self._prefix).heartbeats,
                key=self._source.encode(),
                value=encode_heartbeat(beat),
                partition=partition_of(self._source),
            ).get(timeout=KAFKA_DELIVERY_MS / 1000 + 1)
        except Exception:
            # A fresh client meets a broker that came back without the pauses that the old one has grown into.
            self.close()
            raise

    def close(self) -> None:
        """Drop the client and what it still holds."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=0)
            except Exception as error:  # noqa: BLE001 - it is being thrown away; rule 1
                logging.getLogger("watchkeep.heartbeat").debug(
                    "%s: closing the client: %s", self._source, error
                )

    def _new_producer(self) -> Any:
        # Its own lines tell of each retry; ours of each outage.
        logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
        return KafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._source,
            api_version=(2, 6),
            acks="all",
            enable_idempotence=False,
            linger_ms=0,
            max_block_ms=KAFKA_REQUEST_MS,
            request_timeout_ms=KAFKA_REQUEST_MS,
            delivery_timeout_ms=KAFKA_DELIVERY_MS,
            reconnect_backoff_ms=100,
            reconnect_backoff_max_ms=1_000,
        )
