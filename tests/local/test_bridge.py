"""Where our own Kafka listens for apps in a docker bridge."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.local import bridge
from streams.local.bridge import with_bridge
from streams.local.kafka_config import BrokerPlace, bridge_listener
from streams.local.ports import find_free_ports
from streams.pool_plans import plan_pools
from streams.settings import Settings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The daemons that were asked for their gateway; each says 127.0.0.1."""
    asked: list[str] = []

    def gateway(host: str) -> str:
        asked.append(host)
        return "127.0.0.1"

    monkeypatch.setattr(bridge, "_gateway", gateway)
    return asked


def settings(**given: object) -> Settings:
    """Settings with a free port for the listener."""
    return Settings(kafka_bridge_port=find_free_ports(1)[0], **given)  # type: ignore[arg-type]  # each test its own


def test_gateway_is_where_kafka_listens_too(asked: list[str]) -> None:
    """With the driver docker on any node, Kafka gets a listener at the gateway, and nodes hear of it."""
    given = settings(docker=True, docker_host="unix:///there")

    found, note = with_bridge(given)

    assert (found.docker_bootstrap, note) == (f"127.0.0.1:{given.kafka_bridge_port}", "")
    assert asked == ["unix:///there"]
    assert plan_pools(found)[0].config["docker"] == {
        "bootstrap": found.docker_bootstrap,
        "host": "unix:///there",
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"provider": "docker"},
        {"docker": True, "bootstrap_servers": "far:9092"},
        {"docker": True, "docker_bootstrap": "10.0.0.1:9094"},
    ],
)
def test_nobody_is_asked_who_need_not_be(asked: list[str], given: dict[str, object]) -> None:
    """Without apps as containers, with another Kafka, or where it is said: the settings stay as they are."""
    same = settings(**given)

    assert with_bridge(same) == (same, "")
    assert asked == []


def test_taken_port_is_said_and_nothing_else_is_lost(asked: list[str]) -> None:
    """Kafka starts without the listener if it could not listen there."""
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        given = replace(settings(docker=True), kafka_bridge_port=other.getsockname()[1])
        found, note = with_bridge(given)

    assert found == given
    assert note.startswith("Apps in a docker bridge will not reach Kafka: 127.0.0.1:")
    assert "kafka_bridge_port" in note
    assert asked == [""]


def test_daemon_that_is_away_is_said(tmp_path: Path) -> None:
    """A socket that nobody listens on is a sentence, not an end."""
    given = settings(docker=True, docker_host=f"unix://{tmp_path}/none.sock")

    found, note = with_bridge(given)

    assert found == given
    assert "the docker daemon does not say its address" in note


def test_listener_advertises_itself() -> None:
    """Clients are sent back to the address that they came to; the controller stays where it was."""
    extra = bridge_listener(BrokerPlace("127.0.0.1", 9_092, 9_093, Path("/x")), "172.17.0.1:9094")

    assert extra["listeners"] == (
        "PLAINTEXT://127.0.0.1:9092,BRIDGE://172.17.0.1:9094,CONTROLLER://127.0.0.1:9093"
    )
    assert extra["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092,BRIDGE://172.17.0.1:9094"


def test_nodes_as_containers_get_the_socket_only_if_asked() -> None:
    """`docker = true` gives it to them; the provider alone does not."""
    with_socket = plan_pools(Settings(provider="docker", docker=True))[0].config["docker"]
    without = plan_pools(Settings(provider="docker"))[0].config["docker"]

    assert (with_socket["socket_in_nodes"], without["socket_in_nodes"]) == (True, False)
