"""What every driver promises: processes, containers (real, behind a fake API, of a dictionary), and the fake."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents.docker_driver import DockerDriver
from agents.docker_image import IMAGE
from agents.docker_sdk import DockerContainers
from agents.driver import Driver, StartError
from agents.process_driver import ProcessDriver
from sdk.contract.orders import AppOrder
from sdk.contract.specs import DockerSpec
from tests.agents.fakes import FakeDriver, FakeWorld
from tests.agents.limited import limits_of
from tests.agents.waiting import until
from tests.docker.drivers import make_docker_driver, remove_containers
from tests.docker.fakes import FakeDaemon

#: Makes a driver over the same disk each time, as an agent does that was started again.
MakeDriver = Callable[[], Driver]
SLEEP = ["sleep", "600"]


@pytest.fixture(params=["process", "docker", "docker-http", "docker-fake", "fake"])
def make_driver(request: pytest.FixtureRequest, tmp_path: Path) -> MakeDriver:
    """A maker of drivers of each kind."""
    match request.param:
        case "fake":
            world = FakeWorld()
            return lambda: FakeDriver(world)
        case "docker":
            daemon = request.getfixturevalue("docker_daemon")
            request.addfinalizer(lambda: remove_containers(daemon.host, tmp_path))  # noqa: PT021 - only here
            return lambda: make_docker_driver(tmp_path, lambda: DockerContainers(daemon.host))
        case "docker-http":
            served = request.getfixturevalue("http_daemon")
            return lambda: make_docker_driver(tmp_path, lambda: DockerContainers(served.host))
        case "docker-fake":
            fake = FakeDaemon(IMAGE)
            return lambda: make_docker_driver(tmp_path, lambda: fake)
        case _:
            return lambda: ProcessDriver(
                tmp_path, node="node-127.0.0.1_1", agent_url="http://127.0.0.1:1", limits=limits_of(tmp_path)
            )


def order(command: list[str] = SLEEP, *, app: str = "application-a", generation: int = 1) -> AppOrder:
    """An order."""
    return AppOrder(app, generation, command, docker=DockerSpec(IMAGE))


def play(make: MakeDriver, act: Callable[[Driver, list[tuple[object, ...]]], Awaitable[None]]) -> None:
    """Run `act` with a fresh driver and the list of exits it tells."""

    async def run() -> None:
        driver = make()
        exits: list[tuple[object, ...]] = []
        driver.on_exit = lambda *exit_: exits.append(exit_)
        try:
            await act(driver, exits)
        finally:
            if isinstance(driver, DockerDriver):
                driver.close()

    asyncio.run(run())


def test_starting_twice_gives_one_copy(make_driver: MakeDriver) -> None:
    """The same copy is started once, and ends once."""

    async def act(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        assert await driver.start(order()) == await driver.start(order())
        await driver.kill("application-a", 1)
        await until(lambda: exits)
        assert [(it[0], it[1], it[2]) for it in exits] == [("application-a", 1, -9)]

    play(make_driver, act)


def test_exit_by_itself_is_told_with_its_code(make_driver: MakeDriver) -> None:
    """A copy that ends is told with its exit code."""

    async def act(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(order(["false"]))
        await until(lambda: exits)
        assert exits[0][:3] == ("application-a", 1, 1)

    play(make_driver, act)


def test_stop_asks_politely(make_driver: MakeDriver) -> None:
    """A stopped copy ends by SIGTERM."""

    async def act(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(order())
        await driver.stop("application-a", 1)
        await until(lambda: exits)
        assert exits[0][2] == -15

    play(make_driver, act)


def test_what_is_not_there_cannot_be_hurt(make_driver: MakeDriver) -> None:
    """Stop, kill and forget of unknown copies and of other generations do nothing."""

    async def act(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(order(generation=2))
        for app, generation in (("application-x", 1), ("application-a", 1)):
            await driver.stop(app, generation)
            await driver.kill(app, generation)
            await driver.forget(app, generation)
        assert await driver.start(order(generation=2))
        assert exits == []
        await driver.kill("application-a", 2)
        await until(lambda: exits)

    play(make_driver, act)


def test_start_that_fails_says_why(make_driver: MakeDriver) -> None:
    """A program that does not exist is an error of the start, not an exit."""

    async def act(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        with pytest.raises(StartError):
            await driver.start(order(["/no/such/program"]))
        assert exits == []

    play(make_driver, act)


def test_second_generation_waits_for_the_first(make_driver: MakeDriver) -> None:
    """A driver never runs two generations of one app."""

    async def act(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(order())
        with pytest.raises(StartError):
            await driver.start(order(generation=2))
        await driver.kill("application-a", 1)
        await until(lambda: exits)
        await driver.start(order(generation=2))
        await driver.kill("application-a", 2)
        await until(lambda: len(exits) == 2)

    play(make_driver, act)


def test_restarted_agent_finds_its_copies(make_driver: MakeDriver) -> None:
    """After a restart the living are adopted and watched, the dead are found dead."""
    ended: list[tuple[object, ...]] = []

    async def before(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(order())
        await driver.start(order(["false"], app="application-b"))
        await until(lambda: exits)

    async def after(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        found = {it.key: it.status for it in await driver.adopt()}
        assert found == {"application-a": "alive", "application-b": "dead"}
        await driver.kill("application-a", 1)
        await until(lambda: exits)
        ended.extend(exits)

    play(make_driver, before)
    play(make_driver, after)
    assert [it[:2] for it in ended] == [("application-a", 1)]


def test_forgotten_copies_are_not_found(make_driver: MakeDriver) -> None:
    """What was forgotten is gone from the book."""

    async def before(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(order(["false"]))
        await until(lambda: exits)
        await driver.forget("application-a", 1)

    async def after(driver: Driver, exits: list[tuple[object, ...]]) -> None:
        assert await driver.adopt() == []
        assert exits == []

    play(make_driver, before)
    play(make_driver, after)
