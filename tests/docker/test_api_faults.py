"""Faults of a docker daemon that the real SDK meets: errors, answers that never come, containers half made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents import docker_driver, docker_provider
from agents.docker_calls import DockerCalls
from agents.docker_driver import DockerDriver
from agents.docker_image import IMAGE
from agents.docker_provider import DockerProvider
from agents.docker_sdk import DockerContainers
from agents.driver import StartError
from agents.provider import CreateError
from agents.settings import PoolConfig
from sdk.contract.orders import AppOrder, NodeOrder
from sdk.contract.specs import DockerSpec
from tests.agents.waiting import until
from tests.docker.drivers import make_docker_driver
from tests.docker.http_daemon import HttpDaemon

APP = "application-a"
#: Method and end of path of the calls of a start.
CREATE, START = ("POST", "/create"), ("POST", "/start")
Exits = list[tuple[object, ...]]


def order(generation: int = 7) -> AppOrder:
    """An order."""
    return AppOrder(APP, generation, ["sleep", "600"], docker=DockerSpec(IMAGE))


def play(folder: Path, daemon: HttpDaemon, act: Callable[[DockerDriver, Exits], Awaitable[None]]) -> None:
    """Run `act` with a driver over this daemon."""

    async def run() -> None:
        driver = make_docker_driver(folder, lambda: DockerContainers(daemon.host))
        exits: Exits = []
        driver.on_exit = lambda *exit_: exits.append(exit_)
        try:
            await act(driver, exits)
        finally:
            daemon.go_on()
            driver.close()

    asyncio.run(run())


@pytest.mark.parametrize("call", [CREATE, START], ids=["create", "start"])
def test_error_of_the_daemon_is_said_and_nothing_is_left(
    tmp_path: Path, http_daemon: HttpDaemon, call: tuple[str, str]
) -> None:
    """A 500 is a start that failed, in the daemon's words; no container stays, and the next start works."""

    async def act(driver: DockerDriver, exits: Exits) -> None:
        http_daemon.fail(*call, 500)
        with pytest.raises(StartError, match="made to fail"):
            await driver.start(order())
        assert http_daemon.containers == {}
        assert await driver.start(order())
        await driver.kill(APP, 7)
        await until(lambda: exits)

    play(tmp_path, http_daemon, act)


@pytest.mark.parametrize("call", [CREATE, START], ids=["create", "start"])
def test_half_made_container_does_not_stay(
    tmp_path: Path, http_daemon: HttpDaemon, call: tuple[str, str]
) -> None:
    """The daemon did it and its answer was lost: the start has failed, and what came of it is removed."""

    async def act(driver: DockerDriver, exits: Exits) -> None:
        http_daemon.drop(*call)
        with pytest.raises(StartError, match="does not answer"):
            await driver.start(order())
        await driver.tidy()
        assert http_daemon.containers == {}
        assert exits == []

    play(tmp_path, http_daemon, act)


def test_start_that_hangs_is_bounded(
    tmp_path: Path, http_daemon: HttpDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails after its bound; the container that the daemon makes of it later is removed."""
    monkeypatch.setattr(docker_driver, "START_WITHIN_S", 0.2)

    async def act(driver: DockerDriver, exits: Exits) -> None:
        assert await driver.can_serve(5.0)
        http_daemon.hangs.set()
        with pytest.raises(StartError, match=r"did not answer within 0\.2 s"):
            await driver.start(order())
        http_daemon.go_on()
        await until(lambda: any(it.status == "running" for it in http_daemon.containers.values()))
        await driver.tidy()
        await until(lambda: not http_daemon.containers)

    play(tmp_path, http_daemon, act)


def test_kill_that_the_daemon_refuses_is_done_without_it(tmp_path: Path, http_daemon: HttpDaemon) -> None:
    """The first process is ours to signal."""

    async def act(driver: DockerDriver, exits: Exits) -> None:
        await driver.start(order())
        http_daemon.fail("POST", "/kill", 500)
        await driver.kill(APP, 7)
        await until(lambda: exits)
        assert exits[0][:3] == (APP, 7, -9)

    play(tmp_path, http_daemon, act)


def test_removal_that_failed_is_made_up_for(tmp_path: Path, http_daemon: HttpDaemon) -> None:
    """An ended container that could not be removed when it was forgotten goes with the next look."""

    async def act(driver: DockerDriver, exits: Exits) -> None:
        await driver.start(order())
        await driver.kill(APP, 7)
        await until(lambda: exits)
        (container,) = http_daemon.containers
        http_daemon.fail("DELETE", container, 500)
        await driver.forget(APP, 7)
        assert list(http_daemon.containers) == [container]
        await driver.tidy()
        assert http_daemon.containers == {}

    play(tmp_path, http_daemon, act)


def test_agent_that_begins_beside_an_ill_daemon_keeps_its_apps(
    tmp_path: Path, http_daemon: HttpDaemon
) -> None:
    """A list that fails does not say that anything has ended: the book counts until a look can tell."""

    async def before(driver: DockerDriver, exits: Exits) -> None:
        await driver.start(order())

    async def after(driver: DockerDriver, exits: Exits) -> None:
        http_daemon.fail("GET", "/containers/json", 500)
        assert [(it.key, it.epoch, it.status) for it in await driver.adopt()] == [(APP, 7, "alive")]
        await driver.kill(APP, 7)
        await until(lambda: exits)

    play(tmp_path, http_daemon, before)
    play(tmp_path, http_daemon, after)


class Pool:
    """Providers over one folder and a daemon."""

    def __init__(self, folder: Path, daemon: HttpDaemon) -> None:
        self.daemon = daemon
        self.exits: Exits = []
        self.config = PoolConfig(
            bootstrap="127.0.0.1:9", data_dir=str(folder), pool="home", prefix="test", provider="docker"
        )

    def play(self, act: Callable[[DockerProvider], Awaitable[None]]) -> None:
        """Run `act` with a fresh provider."""

        async def run() -> None:
            calls = DockerCalls(lambda: DockerContainers(self.daemon.host))
            provider = DockerProvider(self.config, calls, look_every_s=0.02)
            provider.on_exit = lambda *exit_: self.exits.append(exit_)
            try:
                await act(provider)
            finally:
                self.daemon.go_on()
                provider.close()

        asyncio.run(run())


@pytest.mark.parametrize("fault", ["fail", "drop"])
@pytest.mark.parametrize("call", [CREATE, START], ids=["create", "start"])
def test_node_that_was_not_made_leaves_nothing(
    tmp_path: Path, http_daemon: HttpDaemon, call: tuple[str, str], fault: str
) -> None:
    """The order has failed, whatever the daemon did; its container goes, and its name is not given again."""
    pool = Pool(tmp_path, http_daemon)

    async def act(provider: DockerProvider) -> None:
        if fault == "fail":
            http_daemon.fail(*call, 500)
        else:
            http_daemon.drop(*call)
        with pytest.raises(CreateError, match="cannot start the container of node-"):
            await provider.create(80, NodeOrder(80, 4, 18_300))
        await provider.tidy()
        assert http_daemon.containers == {}
        with pytest.raises(CreateError, match="has ended before"):
            await provider.create(80, NodeOrder(80, 4, 18_300))

    pool.play(act)


def test_node_that_hangs_is_bounded(
    tmp_path: Path, http_daemon: HttpDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation fails after its bound, and a destruction is made up for once the daemon goes on."""
    monkeypatch.setattr(docker_provider, "START_WITHIN_S", 0.2)
    pool = Pool(tmp_path, http_daemon)

    async def act(provider: DockerProvider) -> None:
        assert await provider.adopt() == []
        http_daemon.hangs.set()
        with pytest.raises(CreateError, match=r"did not answer within 0\.2 s"):
            await provider.create(80, NodeOrder(80, 4, 18_300))
        http_daemon.go_on()
        await until(lambda: any(it.status == "running" for it in http_daemon.containers.values()))
        await provider.tidy()
        await until(lambda: not http_daemon.containers)

    pool.play(act)


def test_provisioner_that_begins_beside_an_ill_daemon_keeps_its_nodes(
    tmp_path: Path, http_daemon: HttpDaemon
) -> None:
    """The book counts until a look can tell, and its nodes can be destroyed."""
    pool = Pool(tmp_path, http_daemon)

    async def before(provider: DockerProvider) -> None:
        await provider.create(80, NodeOrder(80, 4, 18_300))

    async def after(provider: DockerProvider) -> None:
        http_daemon.fail("GET", "/containers/json", 500)
        assert [(it.epoch, it.status) for it in await provider.adopt()] == [(80, "alive")]
        await provider.destroy(80)
        await until(lambda: pool.exits)
        assert http_daemon.containers == {}

    pool.play(before)
    pool.play(after)
