"""The port below a node agent: how one app runs. Shell of the agents.

Rules for every driver; `tests/agents/driver_contract.py` checks them:
1. A copy is (app, generation). Starting one that runs already gives the same copy.
2. Each copy that was started, or adopted alive, ends with one call of `on_exit`; nothing of it is left then.
3. `stop` and `kill` of what is not there are harmless; `kill` takes the descendants too.
4. `adopt` finds, after a restart of the agent, what the last one ran: alive or dead, each once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from agents.state import Found
from sdk.contract.frames import Terminal
from sdk.contract.orders import AppOrder

if TYPE_CHECKING:
    from agents.execution import Execution

#: Called with app, generation, exit code (None if nobody knows) and reason.
OnExit = Callable[[str, int, int | None, str], None]


class StartError(RuntimeError):
    """A copy could not be started; the text says why."""


class Driver(Protocol):
    """Runs apps."""

    #: Word for it in orders and hellos.
    name: str
    #: Set by the owner before anything is started.
    on_exit: OnExit

    async def adopt(self) -> list[Found]:
        """What ran before this process; the living are watched from now on."""
        ...

    async def start(self, order: AppOrder) -> int:
        """Start a copy; its pid.

        Raises:
            StartError: it cannot be started; `on_exit` is not called.
        """
        ...

    async def stop(self, app: str, generation: int) -> None:
        """Ask a copy to end."""
        ...

    async def kill(self, app: str, generation: int) -> None:
        """End a copy and its descendants now."""
        ...

    async def forget(self, app: str, generation: int) -> None:
        """Drop the record of a copy that has ended."""
        ...

    async def tidy(self) -> None:
        """Housekeeping, every few seconds."""
        ...

    async def log_tail(self, app: str, lines: int) -> bytes:
        """The last lines that the app wrote."""
        ...

    def address_of(self, app: str, generation: int) -> str:
        """The ip that a living copy's ports are on; empty: the node's own, or no copy of ours."""
        ...

    async def execute(
        self, app: str, generation: int, command: list[str], terminal: Terminal | None = None
    ) -> "Execution | None":
        """Run a command where a living copy runs, with its environment, in a terminal if it is to have one.

        None if the copy is not ours.

        Raises:
            StartError: it cannot be started.
        """
        ...
