"""The drivers of a node as one pair of hands. Shell of the agents."""

import asyncio
from collections.abc import Awaitable, Iterable
from pathlib import Path

from agents.check_book import CheckBook
from agents.driver import Driver, OnExit, StartError
from agents.execution import Execution
from agents.secrets import with_secrets
from agents.state import Found
from sdk.contract.frames import Terminal
from sdk.contract.orders import AppOrder, NodeOrder


class AppHands:
    """Drivers as the shell wants them: orders choose one by name, everything else goes to whoever has the copy."""

    def __init__(self, drivers: list[Driver], *, secrets: Path, checks: CheckBook) -> None:
        self._drivers = drivers
        #: Which copies are checked, and how.
        self._checks = checks
        #: Folder of the secrets that orders name.
        self._secrets = secrets

    @property
    def names(self) -> list[str]:
        """What orders may choose from."""
        return [driver.name for driver in self._drivers]

    @property
    def on_exit(self) -> OnExit:
        """Who is told of ends."""
        return self._drivers[0].on_exit

    @on_exit.setter
    def on_exit(self, told: OnExit) -> None:
        for driver in self._drivers:
            driver.on_exit = told

    async def adopt(self) -> list[Found]:
        """What ran before this process, of all drivers; of an app that two of them know, the living copy."""
        found: dict[str, Found] = {}
        for driver in self._drivers:
            for there in await driver.adopt():
                known = found.get(there.key)
                if known is None or (known.status != "alive" and there.epoch >= known.epoch):
                    found[there.key] = there
        return list(found.values())

    async def spawn(self, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> tuple[int, str]:
        """Start an app."""
        if not isinstance(order, AppOrder):
            raise StartError(f"no order of an app: {key}, {epoch}")
        for driver in self._drivers:
            if driver.name == order.driver:
                checked = self._checks.begin(order)
                return await driver.start(with_secrets(checked, self._secrets)), ""
        raise StartError(f"this node has no driver {order.driver!r:.40}; it has {', '.join(self.names)}")

    # The same copy is known to one driver at most; to the others these are harmless (rule 3 of the port).

    async def stop(self, key: str, epoch: int) -> None:
        """Ask an app to end."""
        await self._all(driver.stop(key, epoch) for driver in self._drivers)

    async def kill(self, key: str, epoch: int) -> None:
        """End an app now."""
        await self._all(driver.kill(key, epoch) for driver in self._drivers)

    async def forget(self, key: str, epoch: int) -> None:
        """Drop the record of an app."""
        await self._all(driver.forget(key, epoch) for driver in self._drivers)
        self._checks.forget(key, epoch)

    async def tidy(self) -> None:
        """Housekeeping."""
        await self._all(driver.tidy() for driver in self._drivers)

    def address_of(self, app: str, generation: int) -> str:
        """The ip that a copy's ports are on, empty if that is the node's own."""
        addresses = (driver.address_of(app, generation) for driver in self._drivers)
        return next((ip for ip in addresses if ip), "")

    async def execute(
        self, app: str, generation: int, command: list[str], terminal: Terminal | None = None
    ) -> Execution:
        """Run a command where a living copy runs, in a terminal if it is to have one.

        Raises:
            StartError: it cannot be started, or there is no such copy.
        """
        for driver in self._drivers:
            found = await driver.execute(app, generation, command, terminal)
            if found is not None:
                return found
        raise StartError(f"{app} does not run here")

    async def log_tail(self, app: str, lines: int) -> bytes:
        """The last lines of an app: the drivers keep them in one place once a copy is gone."""
        tails = [await driver.log_tail(app, lines) for driver in reversed(self._drivers)]
        return next((tail for tail in tails if tail), b"")

    async def _all(self, work: Iterable[Awaitable[None]]) -> None:
        await asyncio.gather(*work)
