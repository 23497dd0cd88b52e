"""How the SDK reads Kafka: consumers without a group that give up soon and come back soon. Imported when needed."""

import logging
from typing import Any

from kafka.errors import KafkaError

from sdk.kafka_clients import create_consumer, is_there

#: Patience with one question to Kafka. Source: a caller waits no longer for a plain answer.
ASK_WITHIN_MS = 3_000


def open_consumer(bootstrap: str, *, client_id: str, reset: str = "earliest", fetch_wait_ms: int = 50) -> Any:
    """A consumer without a group; it commits nothing and makes no topics.

    Args:
        bootstrap: Kafka, with commas between several.
        client_id: Who it says that it is.
        reset: Where it goes on when its place was deleted; `none`: that is an error.
        fetch_wait_ms: How long a broker without news holds an answer back; a record that comes ends it.

    Raises:
        KafkaError, ValueError: nobody answers.
    """
    if not is_there(bootstrap, within_s=ASK_WITHIN_MS / 1000):
        # The client would try again and again, and leaves its refused sockets to the garbage collector.
        raise KafkaError(f"nobody listens at {bootstrap}")
    # Its own lines tell of each retry; ours of each outage.
    logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
    return create_consumer(
        bootstrap_servers=bootstrap.split(","),
        client_id=client_id,
        api_version=(2, 6),
        enable_auto_commit=False,
        auto_offset_reset=reset,
        allow_auto_create_topics=False,
        fetch_max_wait_ms=fetch_wait_ms,
        request_timeout_ms=ASK_WITHIN_MS,
        bootstrap_timeout_ms=ASK_WITHIN_MS,
        reconnect_backoff_ms=100,
        reconnect_backoff_max_ms=1_000,
    )
