"""The drivers of a node behind one face."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from agents.check_book import CheckBook
from agents.driver import StartError
from agents.drivers import AppHands
from sdk.contract.orders import AppOrder
from tests.agents.fakes import FakeDriver, FakeWorld

#: No secrets.
_NONE = Path("nowhere")


def no_checks() -> CheckBook:
    """A book that stays empty, because nothing but plain apps is started."""
    return CheckBook(_NONE / "checks.json", ip="127.0.0.1")


def named(name: str, world: FakeWorld) -> FakeDriver:
    """A driver of this name."""
    driver = FakeDriver(world)
    driver.name = name
    return driver


def test_orders_choose_their_driver() -> None:
    """Each app is started by the driver that its order names, and whatever else happens to it goes there too."""

    async def act() -> None:
        worlds = {"process": FakeWorld(), "docker": FakeWorld()}
        hands = AppHands(
            [named(name, world) for name, world in worlds.items()], secrets=_NONE, checks=no_checks()
        )
        exits: list[tuple[object, ...]] = []
        hands.on_exit = lambda *exit_: exits.append(exit_)
        await hands.spawn("application-a", 7, AppOrder("application-a", 7, ["sleep"], driver="docker"))
        assert (len(worlds["process"].running), len(worlds["docker"].running)) == (0, 1)
        assert [it.key for it in await hands.adopt()] == ["application-a"]
        await hands.kill("application-a", 7)
        await asyncio.sleep(0)
        assert exits == [("application-a", 7, -9, "made up")]

    asyncio.run(act())


def test_driver_that_a_node_lacks_is_named() -> None:
    """The reason says what is missing and what is there."""

    async def act() -> None:
        hands = AppHands([named("process", FakeWorld())], secrets=_NONE, checks=no_checks())
        with pytest.raises(StartError, match="this node has no driver 'docker'; it has process"):
            await hands.spawn("application-a", 7, AppOrder("application-a", 7, ["sleep"], driver="docker"))

    asyncio.run(act())


def test_agents_without_docker_never_load_its_sdk() -> None:
    """The start of an agent is measured: the docker SDK is no part of it."""
    code = (
        "import sys, agents.node, agents.provisioner; print([it for it in ('docker',) if it in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
