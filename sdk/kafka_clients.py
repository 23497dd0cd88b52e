"""Where the SDK's Kafka clients come from: kafka-python, or a broker in memory while tests of apps run.

Everything of the SDK that reads or writes goes through these two functions, so all that lies above them is the same
code in a test and in production.
"""

import socket
from typing import Any, Final, Protocol

#: Addresses that begin so are brokers of this process (`sdk.testing`).
MEMORY: Final = "memory:"


class MemoryBroker(Protocol):
    """A broker in memory, as far as this module knows it."""

    def consumer(self, reset: str) -> Any:
        """Something with the methods of a KafkaConsumer that the SDK uses."""

    def producer(self) -> Any:
        """Something with the methods of a KafkaProducer that the SDK uses."""


#: Brokers in memory by their address.
brokers: Final[dict[str, MemoryBroker]] = {}


def create_consumer(**config: Any) -> Any:
    """A KafkaConsumer; raises KafkaError or ValueError if nobody answers."""
    broker = _memory(config)
    if broker is not None:
        return broker.consumer(config.get("auto_offset_reset", "earliest"))
    from kafka import KafkaConsumer

    return KafkaConsumer(**config)


def create_producer(**config: Any) -> Any:
    """A KafkaProducer."""
    broker = _memory(config)
    if broker is not None:
        return broker.producer()
    from kafka import KafkaProducer

    return KafkaProducer(**config)


def is_there(bootstrap: str, *, within_s: float) -> bool:
    """Whether somebody listens at one of these addresses.

    Asked before a client is made: one that finds nobody tries on and on, and costs the program's other threads
    milliseconds each time.
    """
    return bootstrap.startswith(MEMORY) or any(_listens(it, within_s) for it in bootstrap.split(","))


def _listens(server: str, within_s: float) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), within_s):
            return True
    except (OSError, ValueError):
        return False


def _memory(config: dict[str, Any]) -> MemoryBroker | None:
    address = config["bootstrap_servers"][0]
    if not address.startswith(MEMORY):
        return None
    if address not in brokers:
        from kafka.errors import KafkaConnectionError

        raise KafkaConnectionError(f"the platform of the test at {address} is over")
    return brokers[address]
