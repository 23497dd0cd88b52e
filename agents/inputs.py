"""What goes into the runner and what comes out of it, as values. Pure core of the agents."""

import msgspec

from agents.state import Image
from sdk.contract.heartbeats import Hello, PoolReport, Report, Unchanged
from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders, PoolOrders

#: What an agent says.
Spoken = Hello | Report | PoolReport | Unchanged


class _Input(msgspec.Struct, frozen=True):
    """Base of what the shell tells the runner."""


class ClaimDrawn(_Input, frozen=True):
    """The claim that `DrawClaim` asked for."""

    claim: str


class OrdersRead(_Input, frozen=True):
    """Orders under our key were read."""

    orders: NodeOrders | PoolOrders


class CaughtUp(_Input, frozen=True):
    """Orders have been read to the end that was seen when reading began."""


class Spawned(_Input, frozen=True):
    """A thing has a process."""

    key: str
    epoch: int
    pid: int
    name: str = ""


class Beaten(_Input, frozen=True):
    """An app beat, or a node's agent answered."""

    key: str
    epoch: int


class TopicsRead(_Input, frozen=True):
    """The topics that apps beat into were read to their end: topic -> records it has ever had."""

    counts: dict[str, int]


class Exited(_Input, frozen=True):
    """A thing has ended, or never came to be; nothing of it is left."""

    key: str
    epoch: int
    exit_code: int | None = None
    reason: str = ""


class Acknowledged(_Input, frozen=True):
    """Kafka has the record of this number."""

    number: int
    is_report: bool
    #: Where it stands, -1 if that is not known.
    offset: int = -1


class StopAsked(_Input, frozen=True):
    """The platform stops this agent: everything ends politely and starts again next time."""


Input = ClaimDrawn | OrdersRead | CaughtUp | Spawned | Beaten | TopicsRead | Exited | Acknowledged | StopAsked


class _Instruction(msgspec.Struct, frozen=True):
    """Base of what the runner tells the shell."""


class DrawClaim(_Instruction, frozen=True):
    """Draw a claim and hand it in."""


class ReadOrders(_Instruction, frozen=True):
    """Read the orders from the beginning (again); say when the end is reached."""


class Send(_Instruction, frozen=True):
    """Write this record, instead of any that still waits; the shell adds wall clock and load."""

    record: Spoken


class Spawn(_Instruction, frozen=True):
    """Start a thing; the answer is `Spawned` or `Exited`. `order` is None of a parked node."""

    key: str
    epoch: int
    order: AppOrder | NodeOrder | None


class Stop(_Instruction, frozen=True):
    """Ask a thing to stop."""

    key: str
    epoch: int


class Kill(_Instruction, frozen=True):
    """End a thing and all that belongs to it, now."""

    key: str
    epoch: int


class Forget(_Instruction, frozen=True):
    """The thing is over and everybody knows: its records may go."""

    key: str
    epoch: int


class Save(_Instruction, frozen=True):
    """Bring this to disk before going on."""

    image: Image


class Say(_Instruction, frozen=True):
    """One line for the log."""

    level: str
    text: str


class Finish(_Instruction, frozen=True):
    """Everything is stopped: the process may end."""


Instruction = DrawClaim | ReadOrders | Send | Spawn | Stop | Kill | Forget | Save | Say | Finish
