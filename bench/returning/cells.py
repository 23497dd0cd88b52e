"""What each fault must come to, for each policy: a table that is read, tested and measured. Pure.

A node carries two apps of the table, one with `on_isolation = "keep"` and one with `"stop"`, when the fault hits it.
The fault lasts `away_s` seconds. Rules:

1. `killed`: `kill -9` of the process group of the node, agent and apps.
2. `cut-destroyed`: the agent is cut off from Kafka; its provisioner destroys the node, as it does by default.
3. `stopped`, `cut`, `agent-killed`: nobody can destroy the node while the fault lasts. `stopped` is SIGSTOP of the
   group and SIGCONT, `cut` is `cut-destroyed` with `destroy_silent_nodes` off, `agent-killed` is `kill -9` of the
   agent while its provisioner, which would end the apps at once, is stopped, and continued later.
4. Copies run together while the processes of two generations of one app exist and neither is stopped by a signal.
"""

from __future__ import annotations

from itertools import product
from typing import Final, Literal, NamedTuple

Fault = Literal["killed", "cut-destroyed", "stopped", "cut", "agent-killed"]
Policy = Literal["new-node", "spread"]
Isolation = Literal["keep", "stop"]

#: In the order in which a platform suffers them: the first two with `destroy_silent_nodes`, the others without.
FAULTS: Final[tuple[Fault, ...]] = ("killed", "cut-destroyed", "stopped", "cut", "agent-killed")
POLICIES: Final[tuple[Policy, ...]] = ("new-node", "spread")
ISOLATIONS: Final[tuple[Isolation, ...]] = ("keep", "stop")

#: How the old copy ends: by the fault itself; by its agent that nobody hears, before it is given up; by its
#: provisioner, before the new copy is placed; when the fault is over; not in time.
OldEnd = Literal["with the fault", "stopped unheard", "destroyed", "at the return", "ran on"]
#: Where the new copy runs: on the node that replaces the old one, on a node that was there before, or not at all.
NewHome = Literal["replacement", "rest", "elsewhere"]
#: What became of the node: declared down for good, or registered anew without apps.
NodeEnd = Literal["down", "free", "neither"]

#: From the end of a fault until its agent or provisioner has read what is so, ms: what was begun during a cut fails
#: after 3 s (an agent's request), its reader after 5 s and begins again within 0.25 s; the rest is a busy machine.
RETURNED_MS: Final = 8_000
#: From the fault to the first look at a new copy at the earliest and at the latest, ms: the limit of 10 s counts from a
#: report that was up to 2.75 s old; 0.4 s to find it, some for the start, the rest is a busy machine.
REPLACED_MS: Final = (7_000, 16_000)


class Cell(NamedTuple):
    """One cell: the fault and the rules it happens under."""

    fault: Fault
    policy: Policy
    isolation: Isolation

    def __str__(self) -> str:
        """Its id."""
        return f"{self.fault}-{self.policy}-{self.isolation}"


#: All of them.
CELLS: Final = tuple(
    Cell(fault, policy, isolation) for fault, policy, isolation in product(FAULTS, POLICIES, ISOLATIONS)
)


class Stated(NamedTuple):
    """What a cell must come to."""

    old: OldEnd
    new: NewHome
    node: NodeEnd
    #: For how long both copies run: at least, at most, ms.
    together_ms: tuple[int, int]


def state_cell(cell: Cell, *, away_s: float) -> Stated:
    """What the design says that a cell comes to (DESIGN 8 and 9)."""
    new: NewHome = "replacement" if cell.policy == "new-node" else "rest"
    never = (0, 0)
    # From the first beat of the new copy to the return of whoever ends the old one.
    away_ms = int(away_s * 1000)
    while_away = (max(0, away_ms - REPLACED_MS[1]), max(0, away_ms - REPLACED_MS[0]) + RETURNED_MS)
    match cell:
        case Cell("killed", _, _):
            return Stated("with the fault", new, "down", never)
        case Cell("cut-destroyed", _, "keep"):
            return Stated("destroyed", new, "down", never)
        case Cell("cut-destroyed", _, "stop"):
            return Stated("stopped unheard", new, "down", never)
        case Cell("stopped", _, _):
            # It runs from SIGCONT until its agent has read that its registration is over.
            return Stated("at the return", new, "free", (0, RETURNED_MS))
        case Cell("cut", _, "keep"):
            # A true zombie: the fold refuses all that it says, but it runs. This is what `stop` is for.
            return Stated("at the return", new, "free", while_away)
        case Cell("cut", _, "stop"):
            return Stated("stopped unheard", new, "free", never)
        case Cell("agent-killed", _, "stop"):
            # Nobody is left to keep the promise, so the kernel ends it with its agent.
            return Stated("stopped unheard", new, "down", never)
        case Cell("agent-killed", "new-node", _):
            # The same provisioner ends the old copies and makes the node for the new ones, in this order.
            return Stated("at the return", new, "down", never)
        case Cell("agent-killed", "spread", _):
            return Stated("at the return", new, "down", while_away)
    raise AssertionError(cell)
