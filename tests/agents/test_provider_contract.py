"""What every provider promises: processes, containers (real and behind a fake API), ssh (real and by pipes), cloud."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents import procfs
from agents.cloud_provider import CloudProvider
from agents.containers import Containers
from agents.disk import read_holder
from agents.docker_calls import DockerCalls
from agents.docker_provider import DockerProvider
from agents.docker_sdk import DockerContainers
from agents.process_provider import ProcessProvider
from agents.provider import CreateError, Provider
from agents.settings import PoolConfig
from agents.spawner import PlainSpawner, Spawner, TemplateSpawner
from agents.ssh_connection import connect
from agents.ssh_hosts import HostConfig, read_hosts
from agents.ssh_provider import ConnectTo, SshProvider
from sdk.contract.ids import split_node_id
from sdk.contract.orders import NodeOrder
from tests.agents.fake_wire import FakeNetwork, fake_host
from tests.agents.fakes import FakeProvider, FakeWorld
from tests.agents.waiting import until
from tests.cloud.local import LocalCloud, local_pool

Exits = list[tuple[object, ...]]
Act = Callable[[Provider, Exits, list[int]], Awaitable[None]]


class Maker:
    """Makes providers over the same disk, as a provisioner does that was started again."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.floor = free_port()
        self.world = FakeWorld()
        #: The daemon of the docker provider.
        self.connect: Callable[[], Containers]
        #: Where the cloud's machines are.
        self.cloud = LocalCloud(folder / "machines")
        # Nobody listens there: agents live without Kafka.
        self.config = PoolConfig(
            bootstrap="127.0.0.1:9",
            data_dir=str(folder),
            pool="home",
            prefix=f"test-{folder.name}",
            provider="docker" if kind == "docker" else "process",
        )
        #: The hosts of the ssh provider, and how they are reached.
        self.hosts: list[HostConfig] = []
        self.connect_to: ConnectTo = FakeNetwork().connect
        if kind == "cloud":
            self.config = local_pool(folder)

    def play(self, act: Act) -> None:
        """Run `act` with a fresh provider, the exits it tells and the orders whose agents answered."""

        async def run() -> None:
            spawner: Spawner | None = None
            provider: Provider
            if self.kind == "fake":
                provider = FakeProvider(self.world)
            elif self.kind == "cloud":
                provider = self.cloud.provider(self.config)
            elif self.kind == "docker":
                provider = DockerProvider(self.config, DockerCalls(self.connect), look_every_s=0.02)
            elif self.hosts:
                provider = SshProvider(self.config, self.hosts, self.connect_to)
            else:
                spawner = PlainSpawner() if self.kind == "plain" else TemplateSpawner()
                provider = ProcessProvider(self.config, spawner)
            exits: Exits = []
            answers: list[int] = []
            provider.on_exit = lambda *exit_: exits.append(exit_)
            provider.on_answer = answers.append
            try:
                await act(provider, exits, answers)
            finally:
                if spawner is not None:
                    spawner.close()
                if isinstance(provider, DockerProvider | CloudProvider):
                    provider.close()
                if isinstance(provider, SshProvider):
                    await provider.close()

        asyncio.run(run())

    def wish(self, order: int = 80) -> NodeOrder:
        """An order."""
        return NodeOrder(order, 4, self.floor)


@pytest.fixture(params=["plain", "template", "docker", "docker-http", "ssh", "pipe", "cloud", "fake"])
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """A maker of each kind; what a failed test left running is ended."""
    if request.param == "docker":
        daemon = request.getfixturevalue("docker_daemon")
        with daemon.network():
            maker = Maker("docker", tmp_path)
            maker.connect = lambda: DockerContainers(daemon.host)
            yield maker
        with closing(DockerContainers(daemon.host)) as containers:
            for left in containers.list_labelled({"watchkeep.prefix": maker.config.prefix}):
                containers.remove(left.id)
        return
    maker = Maker(request.param.removesuffix("-http"), tmp_path)
    if request.param == "docker-http":
        served = request.getfixturevalue("http_daemon")
        maker.connect = lambda: DockerContainers(served.host)
    elif request.param == "pipe":
        maker.hosts = [fake_host(str(tmp_path / "home"))]
    elif request.param == "ssh":
        server = request.getfixturevalue("ssh_server")
        path = tmp_path / "hosts.toml"
        path.write_text(server.table(tmp_path / "home"))
        maker.hosts, maker.connect_to = read_hosts(path), connect
    yield maker
    maker.cloud.close()
    for directory in tmp_path.glob("**/nodes/*"):
        pid, start = read_holder(directory)
        if procfs.is_alive(pid, start):
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port above which there is room."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 60_000)


def test_order_makes_one_node(maker: Maker) -> None:
    """Creating twice gives the same node; it answers, and ends once."""

    async def act(provider: Provider, exits: Exits, answers: list[int]) -> None:
        made = await provider.create(80, maker.wish())
        assert await provider.create(80, maker.wish()) == made
        await until(lambda: answers)
        await provider.destroy(80)
        await until(lambda: exits)
        assert [it[:2] for it in exits] == [(80, -9)]
        assert answers == [80]

    maker.play(act)


def test_ports_are_never_used_twice(maker: Maker) -> None:
    """A new node gets a higher port than all before, also after its forerunner is gone and forgotten."""
    ports = []

    async def act(provider: Provider, exits: Exits, answers: list[int]) -> None:
        for order in (80, 81):
            node, _ = await provider.create(order, maker.wish(order))
            ports.append(split_node_id(node)[1])
            await provider.destroy(order)
            await until(lambda: exits)
            exits.clear()
            await provider.forget(order)

    maker.play(act)
    maker.play(act)
    assert ports == sorted(set(ports))
    assert ports[0] >= maker.floor


def test_destroying_twice_or_nothing_is_harmless(maker: Maker) -> None:
    """Destroy and forget of what is not there do nothing."""

    async def act(provider: Provider, exits: Exits, answers: list[int]) -> None:
        await provider.destroy(99)
        await provider.forget(99)
        await provider.stop(99)
        await provider.create(80, maker.wish())
        await provider.destroy(80)
        await provider.destroy(80)
        await until(lambda: exits)
        await provider.destroy(80)
        assert len(exits) == 1

    maker.play(act)


def test_ended_node_does_not_come_back(maker: Maker) -> None:
    """An order whose node has ended is not carried out again."""

    async def act(provider: Provider, exits: Exits, answers: list[int]) -> None:
        await provider.create(80, maker.wish())
        await provider.destroy(80)
        await until(lambda: exits)
        with pytest.raises(CreateError):
            await provider.create(80, maker.wish())

    maker.play(act)


def test_parked_node_comes_back_the_same(maker: Maker) -> None:
    """A node that was stopped with the platform has the same id under the same order next time."""
    nodes = []

    async def before(provider: Provider, exits: Exits, answers: list[int]) -> None:
        nodes.append((await provider.create(80, maker.wish()))[0])
        await until(lambda: answers)
        await provider.stop(80)
        await until(lambda: exits)

    async def after(provider: Provider, exits: Exits, answers: list[int]) -> None:
        assert [(it.key, it.status, it.name) for it in await provider.adopt()] == [("80", "parked", nodes[0])]
        nodes.append((await provider.create(80, None))[0])
        await provider.destroy(80)
        await until(lambda: exits)

    maker.play(before)
    maker.play(after)
    assert nodes[0] == nodes[1]


def test_restarted_provisioner_finds_its_nodes(maker: Maker) -> None:
    """After a restart the living are adopted and watched, the dead found dead, both by name."""

    async def before(provider: Provider, exits: Exits, answers: list[int]) -> None:
        await provider.create(80, maker.wish())
        await provider.create(81, maker.wish(81))
        await provider.destroy(81)
        await until(lambda: exits)

    async def after(provider: Provider, exits: Exits, answers: list[int]) -> None:
        assert {it.epoch: it.status for it in await provider.adopt()} == {80: "alive", 81: "dead"}
        await provider.destroy(80)
        await until(lambda: exits)
        assert exits[0][0] == 80

    maker.play(before)
    maker.play(after)


def test_order_without_wish_must_be_known(maker: Maker) -> None:
    """There is nothing to bring back under an order that nobody knows."""

    async def act(provider: Provider, exits: Exits, answers: list[int]) -> None:
        with pytest.raises(CreateError):
            await provider.create(80, None)
        assert exits == []

    maker.play(act)
