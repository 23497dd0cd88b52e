"""The port below a provisioner: how nodes come to be. Shell of the agents.

Rules for every provider; `tests/agents/provider_contract.py` checks them:
1. An order makes at most one node: creating it again gives the same one. No name or port is ever used twice.
2. What was decided about a node (its port) is on disk before anything is started.
3. Each node that was created, or adopted alive, ends with one call of `on_exit`; nothing of it is left then.
4. `destroy` ends whatever is left of a node, stopped or not, within a bound; twice or too late is harmless.
5. `stop` parks a node: the next start of the platform brings the same one back under the same order.
6. `adopt` finds what an earlier provisioner made, half-made leftovers included, each once.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from agents.state import Found
from sdk.contract.orders import NodeOrder

#: Called with order, exit code (None if nobody knows) and reason.
OnNodeExit = Callable[[int, int | None, str], None]
#: Called with order when the node's agent answers.
OnNodeAnswer = Callable[[int], None]
#: Called with order, node and pid when the node's agent was started again in its place.
OnNodeRestart = Callable[[int, str, int], None]


class CreateError(RuntimeError):
    """A node could not be created; the text says why."""


class Provider(Protocol):
    """Makes and unmakes nodes."""

    #: All three are set by the owner before anything is created.
    on_exit: OnNodeExit
    on_answer: OnNodeAnswer
    on_restart: OnNodeRestart

    async def adopt(self) -> list[Found]:
        """What was made before this process: alive, dead or parked; the living are watched from now on."""
        ...

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """Create the node of an order, or bring back a parked one (no wish): its id and the pid of its agent.

        Raises:
            CreateError: it cannot be; `on_exit` is not called.
        """
        ...

    async def stop(self, order: int) -> None:
        """Ask a node's agent to stop everything and end; the node is parked."""
        ...

    async def destroy(self, order: int) -> None:
        """End all that is left of a node, now."""
        ...

    async def forget(self, order: int) -> None:
        """Drop the record of a node that has ended."""
        ...

    async def tidy(self) -> None:
        """Housekeeping, every few seconds."""
        ...

    def close(self) -> Awaitable[None] | None:
        """Let go of what watches the nodes and talks about them; the nodes themselves are left as they are.

        Returns:
            What is to be awaited if letting go takes a while.
        """
        ...
