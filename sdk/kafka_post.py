"""How single records of a program reach Kafka: one producer, one record at a time. Imported with the first record."""

import logging
from typing import Any

from sdk.kafka_clients import create_producer, is_there

#: Patience with one request and with one record. Source: DESIGN 6.
REQUEST_MS = 3_000
DELIVERY_MS = 5_000


class KafkaPost:
    """A producer that is made anew after each failure."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self.goal = f"Kafka at {bootstrap}"
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._producer: Any = None

    def send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        """One record, acknowledged; after any exception it may or may not have arrived."""
        if self._producer is None:
            self._producer = self._new_producer()
        try:
            self._producer.send(topic, key=key, value=value, partition=partition).get(
                timeout=DELIVERY_MS / 1000 + 1
            )
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
            except Exception as error:  # noqa: BLE001 - it is being thrown away
                logging.getLogger("watchkeep.kafka").debug("closing the client: %s", error)

    def _new_producer(self) -> Any:
        if not is_there(self._bootstrap, within_s=REQUEST_MS / 1000):
            raise ConnectionError(f"nobody listens at {self._bootstrap}")
        # Its own lines tell of each retry; ours of each outage.
        logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
        return create_producer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            api_version=(2, 6),
            acks="all",
            enable_idempotence=False,
            linger_ms=0,
            max_block_ms=REQUEST_MS,
            request_timeout_ms=REQUEST_MS,
            delivery_timeout_ms=DELIVERY_MS,
            reconnect_backoff_ms=100,
            reconnect_backoff_max_ms=1_000,
        )
