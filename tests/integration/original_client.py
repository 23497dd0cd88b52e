"""A service that still runs the original heartbeat client: it knows nothing of Watchkeep.

    python3 original_client.py SERVERS TOPIC [--every S] [--api-version 0.10.1] [--payload TEXT]

A thread sends one payload every few seconds into a topic named after the service, without a key, and takes no notice of
how that ends: so does the original.
"""

import argparse
import json
import threading
import time

from kafka import KafkaProducer


def send_for_ever(producer: KafkaProducer, topic: str, payload: str, every_s: float) -> None:
    """The client's thread."""
    while True:
        producer.send(topic, value=payload)
        time.sleep(every_s)


def main() -> None:
    """Be a service that does nothing but beat."""
    parser = argparse.ArgumentParser()
    parser.add_argument("servers")
    parser.add_argument("topic")
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--api-version", default="")
    parser.add_argument("--payload", default="1")
    given = parser.parse_args()
    version = tuple(map(int, given.api_version.split("."))) if given.api_version else None
    more = {"api_version": version} if version else {}
    producer = KafkaProducer(
        bootstrap_servers=[given.servers], value_serializer=lambda value: json.dumps(value).encode(), **more
    )
    beats = (producer, given.topic, given.payload, given.every)
    thread = threading.Thread(target=send_for_ever, args=beats)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
