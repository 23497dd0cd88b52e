"""Where apps in a docker bridge reach our own Kafka, which otherwise listens on loopback only. Part of the shell.

Containers in a bridge network see this machine under one address, the gateway. Kafka gets a listener there, which no
other machine reaches: the address belongs to a network inside this one.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

import msgspec

from streams.pool_plans import plan_pools
from streams.settings import Settings

#: A daemon answers in some ms; a start is not held up for longer by one that hangs.
_DOCKER_WITHIN_S: Final = 3
_USUAL_HOST: Final = "unix:///var/run/docker.sock"
_NETWORK: Final = "bridge"


def with_bridge(settings: Settings) -> tuple[Settings, str]:
    """The settings with `docker_bootstrap`, if it is left to us; else as they are, and a sentence why not, if any."""
    uses_docker = any(_runs_containers(plan.config) for plan in plan_pools(settings))
    if not (settings.own_broker and uses_docker) or settings.docker_bootstrap:
        return settings, ""
    try:
        gateway = _gateway(settings.docker_host)
        _check_address(gateway, settings.kafka_bridge_port)
    except OSError as error:
        return settings, f"Apps in a docker bridge will not reach Kafka: {error}."
    return msgspec.structs.replace(settings, docker_bootstrap=f"{gateway}:{settings.kafka_bridge_port}"), ""


def _runs_containers(config: dict[str, object]) -> bool:
    """Whether nodes of the pool have the driver `docker` and share this machine."""
    docker = config.get("docker")
    if config["provider"] == "docker":
        return isinstance(docker, dict) and docker.get("socket_in_nodes") is True
    return config["provider"] == "process" and docker is not None


def _check_address(host: str, port: int) -> None:
    """Raise OSError unless a server could listen there: Kafka would not start at all."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise OSError(
                f"{host}:{port} cannot be listened on ({why}); kafka_bridge_port is the port"
            ) from None


def _check_socket(host: str) -> None:
    """Raise OSError unless somebody listens on a local socket: the SDK's own failure to connect leaks one."""
    path = host.removeprefix("unix://")
    if path == host:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_DOCKER_WITHIN_S)
        try:
            probe.connect(path)
        except OSError as error:
            why = f"{path}: {error.strerror or error}"
            raise OSError(f"the docker daemon does not say its address ({why})") from None


def _gateway(host: str) -> str:
    """The machine's address in the default bridge.

    Raises:
        OSError: the daemon does not answer or has no such network.
    """
    import docker
    from docker.errors import DockerException

    host = host or os.environ.get("DOCKER_HOST") or _USUAL_HOST
    _check_socket(host)
    try:
        with contextlib.closing(docker.DockerClient(base_url=host, timeout=_DOCKER_WITHIN_S)) as client:
            settings = client.api.inspect_network(_NETWORK)["IPAM"]["Config"] or []
    except DockerException as error:
        raise OSError(f"the docker daemon does not say its address ({error})") from None
    gateway = next((it["Gateway"] for it in settings if it.get("Gateway")), "")
    if not gateway:
        raise OSError(f"the docker network {_NETWORK} has no gateway")
    return str(gateway)
