"""The admin step: every topic made, with its settings, before anything else runs. Shell.

Faust misbehaves on topics that are missing or were made automatically with another partition count, so a topic
that exists with wrong partitions or settings is an error that says which, never silently used.

`python -m streams.topics` does this step for the settings in force.
"""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from sdk.contract.topics import Topics, TopicSpec, topic_specs
from streams.local.probe import probe_any

#: A broker that does not answer within this time is away, ms.
ANSWER_WITHIN_MS = 5_000


class TopicIds(msgspec.Struct, frozen=True):
    """Kafka's ids of the topics that facts and orders refer to; a topic made again has another id."""

    events: str
    heartbeats: str
    notifications: str


class TopicFault(msgspec.Struct, frozen=True):
    """What is wrong with a topic, in one sentence."""

    topic: str
    fault: str


class KafkaAwayError(ConnectionError):
    """No broker answers at the given address."""


def open_admin(bootstrap: str) -> Any:
    """A kafka-python admin client; the caller closes it.

    Raises:
        KafkaAwayError: no broker answers.
    """
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    if probe_any(bootstrap, timeout_s=ANSWER_WITHIN_MS / 1000) is None:
        # Asked first in a few bytes: a client that cannot start leaks its socket.
        raise KafkaAwayError(f"no Kafka broker answers at {bootstrap}")
    try:
        return KafkaAdminClient(
            bootstrap_servers=bootstrap,
            request_timeout_ms=ANSWER_WITHIN_MS,
            bootstrap_timeout_ms=ANSWER_WITHIN_MS,
        )
    except (KafkaError, OSError, ValueError) as error:
        raise KafkaAwayError(f"no Kafka broker answers at {bootstrap} ({error})") from None


def ensure_topics(bootstrap: str, prefix: str, *, replication: int = 1) -> list[TopicFault]:
    """Create what is missing and return what is wrong with what was there."""
    admin = open_admin(bootstrap)
    try:
        existing = set(admin.list_topics())
        missing = [spec for spec in topic_specs(prefix) if spec.name not in existing]
        if missing:
            admin.create_topics(
                {
                    spec.name: {
                        "num_partitions": spec.partitions,
                        "replication_factor": replication,
                        "configs": spec.config,
                    }
                    for spec in missing
                },
                wait_for_metadata=True,
            )
        return _faults(admin, topic_specs(prefix))
    finally:
        admin.close()


def ensure_topic(bootstrap: str, name: str, config: Mapping[str, str]) -> str:
    """Create one topic of a device if it does not exist; what was done, in a word, empty if nothing.

    Raises:
        KafkaAwayError: no broker answers.
    """
    from kafka.errors import TopicAlreadyExistsError

    admin = open_admin(bootstrap)
    try:
        if name in set(admin.list_topics()):
            return ""
        wish = {"num_partitions": 1, "replication_factor": 1, "configs": dict(config)}
        admin.create_topics({name: wish}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        # A worker that is to listen to the device was quicker.
        return ""
    finally:
        admin.close()
    return "made"


def check_topics(bootstrap: str, prefix: str) -> list[TopicFault]:
    """What is wrong with the topics, missing ones included; changes nothing."""
    admin = open_admin(bootstrap)
    try:
        return _faults(admin, topic_specs(prefix))
    finally:
        admin.close()


def read_topic_ids(bootstrap: str, prefix: str) -> TopicIds:
    """Kafka's ids of the events, heartbeats and notifications topics."""
    topics = Topics(prefix)
    names = [topics.events, topics.heartbeats, topics.notifications]
    admin = open_admin(bootstrap)
    try:
        found = {topic["name"]: topic for topic in admin.describe_topics(names)}
        return TopicIds(*(str(found[name]["topic_id"]) for name in names))
    finally:
        admin.close()


def _faults(admin: Any, specs: list[TopicSpec]) -> list[TopicFault]:
    described = {topic["name"]: topic for topic in admin.describe_topics([spec.name for spec in specs])}
    faults = []
    present = []
    for spec in specs:
        topic = described.get(spec.name)
        if topic is None or topic.get("error_code", 0):
            faults.append(TopicFault(spec.name, "does not exist"))
        elif len(topic["partitions"]) != spec.partitions:
            count = len(topic["partitions"])
            faults.append(TopicFault(spec.name, f"has {count} partitions and needs {spec.partitions}"))
        else:
            present.append(spec)
    actual = _configs_of(admin, [spec.name for spec in present])
    for spec in present:
        faults += [
            TopicFault(spec.name, f"has {key}={actual[spec.name].get(key)} and needs {value}")
            for key, value in spec.config.items()
            if _differs(actual[spec.name].get(key), value)
        ]
    return faults


def _differs(actual: str | None, wanted: str) -> bool:
    try:
        return actual is None or float(actual) != float(wanted)
    except ValueError:
        return actual != wanted


def _configs_of(admin: Any, topics: list[str]) -> dict[str, dict[str, str]]:
    """The settings of each topic that differ from the broker's defaults; ours are always set explicitly."""
    from kafka.admin import ConfigResource, ConfigResourceType

    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics])
    return {
        topic: {key: entry["value"] for key, entry in described["topic"].get(topic, {}).items()}
        for topic in topics
    }


def main() -> int:
    """Make the topics of the settings in force; one plain sentence and 1 if that is not possible."""
    from streams.settings import load_settings

    settings = load_settings()
    try:
        faults = ensure_topics(settings.bootstrap, settings.prefix)
    except KafkaAwayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for fault in faults:
        sys.stderr.write(
            f"topic {fault.topic} {fault.fault}: delete it, or choose another prefix (WATCHKEEP_PREFIX)\n"
        )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
