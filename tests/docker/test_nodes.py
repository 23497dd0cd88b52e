"""Nodes as containers of a real docker daemon: what the contract of every provider does not ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from agents import docker_provider
from agents.containers import Containers
from agents.docker_calls import DockerCalls
from agents.docker_image import IMAGE
from agents.docker_provider import DockerProvider
from agents.docker_sdk import DockerContainers
from agents.provider import CreateError
from agents.settings import NodeContainer, PoolConfig
from sdk.contract.orders import NodeOrder
from tests.agents.waiting import until
from tests.docker.daemon import Daemon
from tests.docker.fakes import FakeDaemon

Exits = list[tuple[object, ...]]
FIRST_PORT = 18_200


class Pool:
    """Providers over one folder and one daemon."""

    def __init__(self, folder: Path, connect: Callable[[], Containers], image: str = IMAGE) -> None:
        self.connect = connect
        self.exits: Exits = []
        self.config = PoolConfig(
            bootstrap="127.0.0.1:9",
            data_dir=str(folder),
            pool="home",
            prefix=f"test-{folder.name}",
            provider="docker",
            container=NodeContainer(image),
        )

    def play(self, act: Callable[[DockerProvider], Awaitable[None]]) -> None:
        """Run `act` with a fresh provider."""

        async def run() -> None:
            provider = DockerProvider(self.config, DockerCalls(self.connect), look_every_s=0.02)
            provider.on_exit = lambda *exit_: self.exits.append(exit_)
            try:
                await act(provider)
            finally:
                provider.close()

        asyncio.run(run())

    def labels(self, order: int) -> dict[str, str]:
        """The labels of a node's container."""
        provider = DockerProvider(self.config, DockerCalls(self.connect))
        return {**provider._labels, "watchkeep.order": str(order)}


@pytest.fixture
def containers(docker_daemon: Daemon, tmp_path: Path) -> Iterator[DockerContainers]:
    """The real daemon, cleaned up afterwards."""
    containers = DockerContainers(docker_daemon.host)
    yield containers
    for left in containers.list_labelled({"watchkeep.prefix": f"test-{tmp_path.name}"}):
        containers.remove(left.id)
    containers.close()


def test_half_made_and_unknown_nodes_are_removed(
    docker_daemon: Daemon, containers: DockerContainers, tmp_path: Path
) -> None:
    """A container that was created and never started, or that the book does not know, does not stay."""
    pool = Pool(tmp_path, lambda: DockerContainers(docker_daemon.host))

    def create(order: int) -> str:
        made = containers._api.create_container(IMAGE, ["sleep", "600"], labels=pool.labels(order))
        return str(made["Id"])

    async def act(provider: DockerProvider) -> None:
        create(80)
        assert await provider.adopt() == []
        assert containers.list_labelled(pool.labels(80)) == []
        containers._api.start(create(81))
        await provider.tidy()
        assert containers.list_labelled(pool.labels(81)) == []

    pool.play(act)


def test_nothing_is_left_of_a_node(
    docker_daemon: Daemon, containers: DockerContainers, tmp_path: Path
) -> None:
    """A node that was destroyed, or whose container somebody removed, has ended and leaves no container."""
    pool = Pool(tmp_path, lambda: DockerContainers(docker_daemon.host))

    async def act(provider: DockerProvider) -> None:
        for order in (80, 81):
            await provider.create(order, NodeOrder(order, 4, FIRST_PORT))
        await provider.destroy(80)
        await until(lambda: len(pool.exits) == 1)
        (second,) = containers.list_labelled(pool.labels(81))
        containers.remove(second.id)
        await until(lambda: len(pool.exits) == 2)

    pool.play(act)
    assert [it[0] for it in pool.exits] == [80, 81]
    assert containers.list_labelled({"watchkeep.prefix": pool.config.prefix}) == []


def test_missing_image_is_said(docker_daemon: Daemon, containers: DockerContainers, tmp_path: Path) -> None:
    """A node whose image is not there is an error with the image's name."""
    pool = Pool(tmp_path, lambda: DockerContainers(docker_daemon.host), image="no-such/image:1")

    async def act(provider: DockerProvider) -> None:
        with pytest.raises(CreateError, match="no image no-such/image:1"):
            await provider.create(80, NodeOrder(80, 4, FIRST_PORT))

    pool.play(act)


def test_hanging_daemon_is_bounded_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation that does not come about in time fails; what comes of it later is removed, and no port comes again."""
    monkeypatch.setattr(docker_provider, "START_WITHIN_S", 0.1)
    monkeypatch.setattr(DockerCalls.call, "__defaults__", (0.5,))
    daemon = FakeDaemon(IMAGE, programs=None)
    pool = Pool(tmp_path, lambda: daemon)

    async def act(provider: DockerProvider) -> None:
        daemon.answers.clear()
        with pytest.raises(CreateError, match="did not answer within"):
            await provider.create(80, NodeOrder(80, 4, FIRST_PORT))
        daemon.answers.set()
        await until(lambda: daemon.there)
        await provider.tidy()
        assert daemon.there == {}
        first, _ = await provider.create(81, NodeOrder(81, 4, FIRST_PORT))
        assert int(first.rpartition("_")[2]) > FIRST_PORT
        await provider.destroy(81)
        await until(lambda: pool.exits)

    pool.play(act)
