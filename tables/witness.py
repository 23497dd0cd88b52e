"""What the planner asks the watcher beside it before it acts: the fence. Pure; a protocol and its answers.

Every answer is given from heartbeats read to their end less than a second ago, else it is None: not known.
"""

from typing import NamedTuple, Protocol

from sdk.contract.events import Band, Position


class Load(NamedTuple):
    """How busy a node's machine was at its newest report."""

    #: Thousandths of the processor in use, over 1000 if work is waiting for it, and of the memory.
    cpu_permille: int
    memory_permille: int
    #: The report that says so.
    position: Position

    @property
    def highest_permille(self) -> int:
        """The one that runs out first."""
        return max(self.cpu_permille, self.memory_permille)


class Witness(Protocol):
    """A watcher that has read the heartbeats as far as anybody can."""

    def confirm_silence(self, source: str, epoch: int) -> Position | None:
        """Where the watcher stood when the silence of this epoch still held; None if it does not or is unknown."""

    def confirm_heard(self, node: str) -> Position | None:
        """Where it stood, if the node was heard within the overdue limit."""

    def knows(self, node: str) -> bool:
        """Whether it can say at all if it heard the node."""

    def measured_load(self, node: str) -> Load | None:
        """What the node's newest report says of its machine; None if it says nothing, or none is known."""

    def has_beaten(self, app: str, generation: int) -> bool | None:
        """Whether a report names this generation as beating; None if unknown."""

    def has_hello(self, order: int) -> bool | None:
        """Whether an agent of this order said hello; None if unknown."""

    def overdue_band(self) -> Band | None:
        """The share of nodes overdue now; None if unknown."""
