"""What a simulated agent acts through: processes or nodes, and a disk of its own. Part of the simulator."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from agents.state import Found, Image
from sdk.contract.orders import AppOrder, NodeOrder

if TYPE_CHECKING:
    from tests.simulation.machines import Agent


class Hands(ABC):
    """What acts on things, and what the agent keeps on disk."""

    image = Image()

    @abstractmethod
    def adopt(self, agent: "Agent") -> list[Found]:
        """What is known from before."""

    @abstractmethod
    def spawn(self, agent: "Agent", key: str, epoch: int, order: AppOrder | NodeOrder | None) -> None:
        """Start a thing."""

    @abstractmethod
    def stop(self, agent: "Agent", key: str, epoch: int) -> None:
        """Ask it to end."""

    @abstractmethod
    def kill(self, agent: "Agent", key: str, epoch: int) -> None:
        """End it now."""

    @abstractmethod
    def forget(self, key: str, epoch: int) -> None:
        """Drop its record."""

    def finish(self, agent: "Agent") -> None:
        """The agent was told to stop and is done: its process ends."""
        agent.kill()
