"""A pool of machines of a cloud on this machine, for the tests of its provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agents.cloud_provider import CloudProvider, Pace
from sdk.contract.orders import NodeOrder
from tests.cloud.local import PACE, LocalCloud, local_pool, naming_of

Exits = list[tuple[Any, ...]]
Act = Callable[[CloudProvider, Exits], Awaitable[None]]
FIRST_PORT = 18_400


class Pool:
    """Providers over one folder and one cloud."""

    def __init__(self, folder: Path) -> None:
        self.cloud = LocalCloud(folder / "machines")
        self.config = local_pool(folder)
        self.naming = naming_of(self.config)
        self.answers: list[int] = []

    def play(self, act: Act, pace: Pace = PACE) -> None:
        """Run `act` with a fresh provider."""

        async def run() -> None:
            provider = self.cloud.provider(self.config, pace)
            exits: Exits = []
            provider.on_exit = lambda *exit_: exits.append(exit_)
            provider.on_answer = self.answers.append
            try:
                await act(provider, exits)
            finally:
                self.cloud.answers.set()
                provider.close()

        asyncio.run(run())

    def wish(self, order: int = 80) -> NodeOrder:
        """An order."""
        return NodeOrder(order, 4, FIRST_PORT)

    def make(self, order: int, owner: str = "", **extra: Any) -> str:
        """A machine that the provider did not make in this life; its name."""
        naming = self.naming
        driver = self.cloud.connector(self.config)()._driver
        name = naming.name_of(order) if not owner else f"test-home-{owner}-{order}"
        tags = (
            naming.tags_of(order) if not owner else {"watchkeep-owner": owner, "watchkeep-order": str(order)}
        )
        node = driver.create_node(name, None, None, '#cloud-config\n{"write_files": [], "runcmd": []}', tags)
        node.extra.update(extra)
        return name


async def look_until(provider: CloudProvider, is_so: Callable[[], object]) -> None:
    """Let the provider keep house until the condition holds."""
    async with asyncio.timeout(20.0):
        while not is_so():
            await provider.tidy()
            await asyncio.sleep(0.01)
