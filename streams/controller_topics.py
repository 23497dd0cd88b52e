"""The topics of controllers: made with their settings, or looked at where somebody named an existing one. Shell."""

from sdk.contract.topics import CONTROLLER_CONFIG
from streams.topics import open_admin


def ensure_controller_topic(bootstrap: str, name: str) -> str:
    """Create a controller's topic, compacted, if it does not exist; what was done, in a word, empty if nothing.

    Raises:
        KafkaAwayError: no broker answers.
    """
    from kafka.errors import TopicAlreadyExistsError

    admin = open_admin(bootstrap)
    try:
        if name in set(admin.list_topics()):
            return ""
        how = {"num_partitions": 1, "replication_factor": -1, "configs": dict(CONTROLLER_CONFIG)}
        admin.create_topics({name: how}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        # Made by somebody else in between, the leading worker most likely.
        return ""
    finally:
        admin.close()
    return "made"


def topic_fault(bootstrap: str, name: str) -> str:
    """Why an existing topic cannot be a controller's; empty if it can.

    Raises:
        KafkaAwayError: no broker answers.
    """
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = open_admin(bootstrap)
    try:
        if name not in set(admin.list_topics()):
            return f"there is no topic {name}"
        (described,) = admin.describe_topics([name])
        if len(described["partitions"]) != 1:
            return f"{name} has {len(described['partitions'])} partitions; a controller's topic has one"
        configs = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        policy = configs["topic"].get(name, {}).get("cleanup.policy", {}).get("value", "delete")
        return "" if "compact" in policy else f"{name} is not compacted: it would forget what is desired"
    finally:
        admin.close()
