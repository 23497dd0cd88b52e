"""What an audit will do to a platform and ask of it: a pure function of seed and length.

1. Whom a fault hits is decided when it strikes, from the state of the platform and the fault's own chance.
2. The first faults are one of each group, so that a short run meets all of them; the rest is drawn.
3. Only one fault at a time hits the broker or most nodes; everything else may overlap.
4. After each minute in which anything may come, there is one in which only nodes and apps are hit: much that is
   judged excuses whoever was blind a moment ago, and would never be judged if somebody always was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Final, NamedTuple

#: Time before the first fault and after the last one begins, seconds.
LEAD_S: Final = 4.0
TAIL_S: Final = 6.0
#: Mean time between two faults and between two requests.
FAULT_EVERY_S: Final = 6.0
REQUEST_EVERY_S: Final = 4.0

#: Kind -> how often it is drawn, and the lengths it may have, seconds (0: over at once).
FAULTS: Final[dict[str, tuple[int, tuple[float, ...]]]] = {
    "kill agent": (3, (0,)),
    "kill app": (4, (0,)),
    "kill worker": (3, (0,)),
    "kill leader": (3, (0,)),
    "kill provisioner": (2, (0,)),
    "kill broker": (2, (0.5, 6)),
    "pause broker": (2, (2, 8, 14)),
    "pause agent": (2, (4, 8, 16)),
    "pause node": (2, (4, 8, 16)),
    "pause worker": (2, (2, 5, 12)),
    "pause leader": (3, (4, 7, 10, 20)),
    "kill leader at append": (2, (0,)),
    "pause leader at append": (2, (5, 12)),
    "pause app": (2, (4, 15)),
    "pause provisioner": (2, (4, 15)),
    "cut node": (2, (4, 15)),
    "cut node up": (1, (15,)),
    "cut node down": (1, (15,)),
    "cut worker": (1, (5, 12)),
    "cut worker up": (1, (8,)),
    "cut worker down": (1, (8,)),
    "cut leader": (2, (5, 12)),
    "cut provisioner": (1, (5, 15)),
    "kill most nodes": (1, (0,)),
    "pause most nodes": (1, (7, 20)),
    "cut most nodes": (1, (20,)),
    "garbage": (3, (0,)),
    "say again": (2, (0,)),
}
#: Met first, in a drawn order, so that two minutes have them all.
FIRST: Final = (
    "kill leader",
    "pause leader",
    "kill agent",
    "pause node",
    "cut node",
    "kill app",
    "kill broker",
    "pause agent",
    "cut leader",
    "garbage",
    "kill provisioner",
    "pause most nodes",
)
#: These need the field for themselves.
ALONE: Final = frozenset(
    {"kill broker", "pause broker", "kill most nodes", "pause most nodes", "cut most nodes"}
)
#: A minute of everything, then one of these alone.
STRETCH_S: Final = 60.0
OF_NODES: Final = frozenset(
    {
        "kill agent",
        "kill app",
        "pause agent",
        "pause node",
        "pause app",
        "cut node",
        "cut node up",
        "cut node down",
    }
)
#: Rest after a fault of that kind before the next of them.
ALONE_REST_S: Final = 20.0

#: What people ask for, and how often.
REQUESTS: Final[dict[str, int]] = {
    "run app": 4,
    "stop app": 2,
    "restart app": 3,
    "create node": 1,
    "shut down node": 1,
    "change policy": 3,
}


class Step(NamedTuple):
    """One thing that the audit does."""

    #: After the begin of the run.
    at_s: float
    #: `fault` or `request`.
    kind: str
    what: str
    #: How long a fault lasts.
    for_s: float
    #: Decides whom it hits.
    chance: int

    def __str__(self) -> str:
        """The step in a line."""
        lasts = f" for {self.for_s:g} s" if self.for_s else ""
        return f"{self.at_s:7.1f} s  {self.kind:<8} {self.what}{lasts}"


def plan_steps(seed: int, *, length_s: float) -> list[Step]:
    """Everything that is to be done, in order of time."""
    chance = Random(f"audit/{seed}/{length_s:g}")
    return sorted([*_faults(chance, length_s), *_requests(chance, length_s)])


def _faults(chance: Random, length_s: float) -> list[Step]:
    first = chance.sample(FIRST, len(FIRST))
    faults: list[Step] = []
    at_s, free_s = LEAD_S, 0.0
    while at_s <= length_s - TAIL_S:
        what = _draw(chance, first, at_s)
        for_s = chance.choice(FAULTS[what][1])
        if what in ALONE:
            # Overlapping ones of these would be one long outage, of which a log has little to tell.
            at_s = max(at_s, free_s)
            if at_s > length_s - TAIL_S:
                break
            free_s = at_s + for_s + ALONE_REST_S
        faults.append(Step(round(at_s, 2), "fault", what, for_s, chance.getrandbits(32)))
        at_s += chance.uniform(0.3, 1.7) * FAULT_EVERY_S
    return faults


def _draw(chance: Random, first: list[str], at_s: float) -> str:
    """The next fault: of the first round while there are any, of nodes alone in every second stretch."""
    is_of_nodes = at_s % (2 * STRETCH_S) >= STRETCH_S
    fitting = [what for what in first if (what in OF_NODES) == is_of_nodes] or (first if not is_of_nodes else [])
    if fitting:
        what = fitting[-1]
        first.remove(what)
        return what
    kinds = [what for what in FAULTS if not is_of_nodes or what in OF_NODES]
    return chance.choices(kinds, [FAULTS[what][0] for what in kinds])[0]


def _requests(chance: Random, length_s: float) -> list[Step]:
    requests = []
    at_s = LEAD_S / 2
    while at_s <= length_s:
        what = chance.choices(list(REQUESTS), list(REQUESTS.values()))[0]
        requests.append(Step(round(at_s, 2), "request", what, 0.0, chance.getrandbits(32)))
        at_s += chance.uniform(0.5, 1.5) * REQUEST_EVERY_S
    return requests


def count_kinds(steps: Iterable[Step], kind: str) -> dict[str, int]:
    """How often each thing of a kind is in a plan."""
    return dict(sorted(Counter(step.what for step in steps if step.kind == kind).items()))
