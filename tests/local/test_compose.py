"""The compose file says the same as the configuration of our own broker."""

from __future__ import annotations

import re
from pathlib import Path

from streams.local.jars import read_lock
from streams.local.kafka_config import BrokerPlace, server_properties
from streams.settings import PROJECT_ROOT, Settings

#: Differ by nature: inside a container other addresses and folders hold.
_PLACES = {"listeners", "advertised.listeners", "log.dirs", "controller.quorum.voters"}


def test_compose_has_the_settings_of_the_local_broker() -> None:
    """Each setting of our own broker stands in the compose file with the same value."""
    text = (PROJECT_ROOT / "docker-compose.kafka.yml").read_text(encoding="utf-8")
    composed = {
        name.lower().replace("_", "."): value
        for name, value in re.findall(r'^ +KAFKA_([A-Z_]+): "(.*)"$', text, re.MULTILINE)
    }
    properties = server_properties(BrokerPlace("127.0.0.1", 9092, 9093, Path("/x")), {})
    ours = dict(line.split("=", 1) for line in properties.splitlines())

    assert {key: composed.get(key) for key in ours if key not in _PLACES} == {
        key: value for key, value in ours.items() if key not in _PLACES
    }


def test_compose_runs_the_version_of_the_settings() -> None:
    """Image, default setting and lock file name one version."""
    text = (PROJECT_ROOT / "docker-compose.kafka.yml").read_text(encoding="utf-8")

    assert f"image: apache/kafka:{Settings().kafka_version}\n" in text
    assert read_lock(Settings().kafka_version)
