"""The docker driver over a made-up daemon that hangs, is away, or comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents import docker_calls, docker_driver
from agents.containers import ContainerError, DaemonAwayError
from agents.docker_calls import CALLS_MAX, DockerCalls
from agents.docker_driver import DockerDriver
from agents.docker_image import IMAGE
from agents.driver import StartError
from sdk.contract.orders import AppOrder
from sdk.contract.specs import DockerSpec
from tests.agents.waiting import until
from tests.docker.drivers import make_docker_driver
from tests.docker.fakes import FakeDaemon

APP = "application-a"
Exits = list[tuple[object, ...]]


def order(generation: int = 7) -> AppOrder:
    """An order."""
    return AppOrder(APP, generation, ["sleep", "600"], docker=DockerSpec(IMAGE))


def play(folder: Path, daemon: FakeDaemon, act: Callable[[DockerDriver, Exits], Awaitable[None]]) -> None:
    """Run `act` with a driver over this daemon; a daemon that hangs is let go at the end."""

    async def run() -> None:
        driver = make_docker_driver(folder, lambda: daemon)
        exits: Exits = []
        driver.on_exit = lambda *exit_: exits.append(exit_)
        try:
            await act(driver, exits)
        finally:
            daemon.answers.set()
            driver.close()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the bounds short, so that nobody waits for them."""
    monkeypatch.setattr(docker_calls, "CALL_WITHIN_S", 0.1)
    monkeypatch.setattr(DockerCalls.call, "__defaults__", (0.1,))
    monkeypatch.setattr(docker_driver, "START_WITHIN_S", 0.1)


def test_hanging_daemon_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    """While a start waits for the daemon the loop turns, and the start fails after its bound."""
    daemon = FakeDaemon(IMAGE)

    async def act(driver: DockerDriver, exits: Exits) -> None:
        daemon.answers.clear()
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.ensure_future(turn())
        with pytest.raises(StartError, match="did not answer within"):
            await driver.start(order())
        turning.cancel()
        assert turns > 100

    play(tmp_path, daemon, act)


def test_container_that_came_to_life_too_late_is_removed(tmp_path: Path) -> None:
    """A start that was given up and has its effect after all leaves no copy that nobody obeys."""
    daemon = FakeDaemon(IMAGE)

    async def act(driver: DockerDriver, exits: Exits) -> None:
        daemon.answers.clear()
        with pytest.raises(StartError):
            await driver.start(order())
        daemon.answers.set()
        await until(lambda: daemon.there)
        await driver.tidy()
        assert daemon.there == {}
        assert exits == []

    play(tmp_path, daemon, act)


def test_calls_to_a_hanging_daemon_do_not_pile_up(tmp_path: Path) -> None:
    """Beyond a number of waiting calls the next fails at once."""
    daemon = FakeDaemon(IMAGE)

    async def run() -> None:
        calls = DockerCalls(lambda: daemon)
        daemon.answers.clear()
        results = await asyncio.gather(
            *(calls.call(lambda it: it.ping(), 0.2) for _ in range(CALLS_MAX)), return_exceptions=True
        )
        assert {type(it) for it in results} == {DaemonAwayError}
        for _ in range(CALLS_MAX):
            with pytest.raises(ContainerError):
                await calls.call(lambda it: it.ping(), 0.001)
        began_s = time.monotonic()
        daemon.answers.set()
        await until(lambda: not calls._under_way)
        await calls.call(lambda it: it.ping(), 5.0)
        assert time.monotonic() - began_s < 5.0
        calls.close()

    asyncio.run(run())


def test_kill_that_did_not_get_through_is_tried_again(tmp_path: Path) -> None:
    """A copy that was to die while the daemon hung dies when it answers."""
    daemon = FakeDaemon(IMAGE)

    async def act(driver: DockerDriver, exits: Exits) -> None:
        await driver.start(order())
        daemon.answers.clear()
        await driver.kill(APP, 7)
        assert exits == []
        daemon.answers.set()
        await until(lambda: exits)
        assert exits == [(APP, 7, -9, "killed by signal 9")]

    play(tmp_path, daemon, act)


def test_agent_that_starts_without_its_daemon_takes_nothing_for_gone(tmp_path: Path) -> None:
    """What the book names is alive until the daemon can say otherwise; then the truth is told once."""
    daemon = FakeDaemon(IMAGE)

    async def before(driver: DockerDriver, exits: Exits) -> None:
        await driver.start(order())

    async def after(driver: DockerDriver, exits: Exits) -> None:
        assert await driver.can_serve(0.1)
        assert [(it.key, it.epoch, it.status) for it in await driver.adopt()] == [(APP, 7, "alive")]
        await driver.tidy()
        assert exits == []
        daemon.end(next(iter(daemon.there)), 4)
        daemon.is_away = False
        await until(lambda: exits)
        assert exits == [(APP, 7, 4, "exited with code 4")]

    play(tmp_path, daemon, before)
    daemon.is_away = True
    play(tmp_path, daemon, after)


def test_node_without_a_daemon_does_not_offer_docker(tmp_path: Path) -> None:
    """No book and no answer: the driver is not offered."""
    daemon = FakeDaemon(IMAGE)
    daemon.is_away = True

    async def act(driver: DockerDriver, exits: Exits) -> None:
        assert not await driver.can_serve(0.1)

    play(tmp_path, daemon, act)


def test_older_of_two_copies_does_not_live_on(tmp_path: Path) -> None:
    """Should two generations of an app be there after a restart, the newest is adopted and the other removed."""
    daemon = FakeDaemon(IMAGE)

    async def one(driver: DockerDriver, exits: Exits) -> None:
        await driver.start(order(7))
        first = next(iter(daemon.there.values()))
        daemon.there["later"] = type(first)(
            "later", "later", {**first.labels, "watchkeep.generation": "9"}, "running", pid=1
        )

    async def two(driver: DockerDriver, exits: Exits) -> None:
        assert [(it.key, it.epoch) for it in await driver.adopt()] == [(APP, 9)]
        assert list(daemon.there) == ["later"]

    play(tmp_path, daemon, one)
    play(tmp_path, daemon, two)
