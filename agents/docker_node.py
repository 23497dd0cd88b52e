"""The docker driver of a node agent, with its daemon and its addresses. Shell of the agents; loaded where used."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from agents.containers import ContainerError, Containers
from agents.docker_calls import PING_WITHIN_S, DockerCalls
from agents.docker_driver import DockerDriver
from agents.docker_plan import place_of
from agents.docker_provider import DockerProvider
from agents.door import Door
from agents.settings import DockerConfig, NodeConfig, PoolConfig

#: Bound of ending what a node left. Source: policy `destroy_within_ms`, of which this takes a part.
SWEEP_WITHIN_S = 1.5

log = logging.getLogger("watchkeep.docker")


def create_docker_provider(config: PoolConfig) -> DockerProvider:
    """The provider of a pool whose nodes are containers."""
    host = config.docker.host if config.docker is not None else ""
    return DockerProvider(config, DockerCalls(_connector(host)))


def create_docker_sweep(config: DockerConfig, prefix: str) -> Callable[[str, Path], Awaitable[None]]:
    """A function that removes what containers a node left; a daemon that does not answer is not waited for."""
    calls = DockerCalls(_connector(config.host))

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


def _connector(host: str) -> Callable[[], Containers]:
    def connect() -> Containers:
        from agents.docker_sdk import DockerContainers

        return DockerContainers(host)

    return connect


async def create_docker_driver(
    config: NodeConfig, node: str, directory: Path, door: Door
) -> DockerDriver | None:
    """The driver, None if the daemon does not answer and has nothing of ours."""
    assert config.docker is not None
    calls = DockerCalls(_connector(config.docker.host))

    async def reach(network: str) -> str:
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
        return driver
    log.warning(
        "the docker daemon does not answer: this node runs no apps as containers until it starts anew"
    )
    calls.close()
    return None
