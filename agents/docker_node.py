"""The docker driver of a node agent, with its daemon and its addresses. Shell of the agents; loaded where used."""

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from agents.containers import ContainerError, Containers
from agents.docker_calls import PING_WITHIN_S, DockerCalls
from agents.docker_driver import DockerDriver
from agents.docker_plan import Surroundings, place_of
from agents.docker_provider import DockerProvider
from agents.door import Door
from agents.settings import DockerConfig, NodeConfig, PoolConfig

#: Bound of ending what a node left. Source: policy `destroy_within_ms`, of which this takes a part.
SWEEP_WITHIN_S = 1.5

log = logging.getLogger("watchkeep.docker")


def create_docker_provider(config: PoolConfig) -> DockerProvider:
    """The provider of a pool whose nodes are containers."""
    docker = config.docker or DockerConfig()
    sweep = create_docker_sweep(docker, config.prefix) if docker.socket_in_nodes else None
    return DockerProvider(config, DockerCalls(_connector(docker)), sweep=sweep)


def create_docker_sweep(config: DockerConfig, prefix: str) -> Callable[[str, Path], Awaitable[None]]:
    """A function that removes what containers a node left; a daemon that does not answer is not waited for."""
    calls = DockerCalls(_connector(config))

    async def sweep(node: str, directory: Path) -> None:
        labels = place_of(prefix, node, directory).labels

        def remove_all(containers: Containers) -> None:
            for left in containers.list_labelled(labels):
                containers.remove(left.id)

        try:
            await calls.call(remove_all, SWEEP_WITHIN_S)
        except ContainerError as error:
            log.warning("containers of %s may be left: %s", node, error)

    return sweep


def _connector(config: DockerConfig) -> Callable[[], Containers]:
    def connect() -> Containers:
        from agents.docker_sdk import DockerContainers

        return DockerContainers(config.host, shares_pids=config.shares_pids)

    return connect


async def create_docker_driver(
    config: NodeConfig, node: str, directory: Path, door: Door
) -> DockerDriver | None:
    """The driver, None if the daemon does not answer and has nothing of ours."""
    assert config.docker is not None
    calls = DockerCalls(_connector(config.docker))
    inside = config.docker.bootstrap or config.bootstrap

    async def reach(network: str) -> Surroundings:
        """What the SDK asks for: the agent, Kafka and the prefix, as they are from there."""
        bootstrap = config.bootstrap if network == "host" else inside
        platform = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "WATCHKEEP_PREFIX": config.prefix}
        return Surroundings(await agent_url(network), platform)

    async def agent_url(network: str) -> str:
        """Host network: the agent's own address. Bridge: the same, or the gateway if that address is loopback."""
        if network == "host" or not door.is_loopback:
            return door.url
        gateway = await calls.call(lambda it: it.gateway(network))
        try:
            return await door.url_at(gateway)
        except OSError as error:
            raise ContainerError(
                f"an app on the network {network} cannot reach this agent: {gateway} cannot be listened on "
                f"({error.strerror or error}); is the daemon in another network namespace?"
            ) from None

    driver = DockerDriver(directory, place_of(config.prefix, node, directory), calls, reach)
    if await driver.can_serve(PING_WITHIN_S):
        if _is_loopback(inside):
            log.warning(
                "Kafka at %s is out of reach for apps in a bridge network, as it is loopback: they beat, but read and "
                "send nothing; `docker_bootstrap` of the settings, or `bootstrap` of the pool's table `docker`, "
                "names an address that they reach",
                inside,
            )
        return driver
    log.warning(
        "the docker daemon does not answer: this node runs no apps as containers until it starts anew"
    )
    calls.close()
    return None


def _is_loopback(bootstrap: str) -> bool:
    """Whether each of these addresses means, in a network of its own, the container itself."""
    hosts = [server.strip().rpartition(":")[0].strip("[]") for server in bootstrap.split(",")]
    return all(host == "localhost" or _is_loopback_ip(host) for host in hosts)


def _is_loopback_ip(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
