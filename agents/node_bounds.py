"""Bounds of a whole node that is a process: its agent and all its apps together. Shell of the agents.

1. With control groups the node has a group of its own: the agent enters a leaf of it before it starts anything, and the
   groups of copies are made below, so what they take together is bounded, and what an app forks too.
2. Without, an rlimit of address space is set in the agent and inherited by all that it starts. It holds for each
   process by itself: their sum is not bounded, nor is the processor, of which an rlimit can only bound a total of
   seconds, after which the kernel kills.
3. What is set is offered as the node's capacity either way: placement keeps to it by what apps say that they need.
"""

import logging
import resource
from typing import NamedTuple

from agents import cgroups
from agents.cgroups import Cgroups
from agents.machine import Capacity
from agents.settings import NodeProcess

log = logging.getLogger("watchkeep.node")

_MIB = 1 << 20


class Bounded(NamedTuple):
    """What came of it."""

    #: Where the groups of copies are made.
    groups: Cgroups | None
    #: What keeps the node as a whole, for people; empty without bounds.
    words: str
    #: Whether the agent and its apps share a group of this node.
    is_grouped: bool = False


def bound_node(home: str, bounds: NodeProcess | None, groups: Cgroups | None) -> Bounded:
    """Put this process, and so all that it will start, within the bounds of its node."""
    if bounds is None or not (bounds.memory_mib or bounds.cpu_percent):
        return Bounded(groups, "")
    if groups is not None:
        try:
            group = groups.create(
                cgroups.node_group_name(home), memory_mib=bounds.memory_mib, cpu_percent=bounds.cpu_percent
            )
            inner = cgroups.nest(groups, group)
        except OSError as error:
            log.warning("the node's own control group cannot be used: %s; rlimits instead", error)
        else:
            return Bounded(
                inner, f"the node as a whole: {_shown(bounds)} by cgroup v{groups.version}", is_grouped=True
            )
    if not bounds.memory_mib:
        return Bounded(groups, "the node as a whole: processor not limited, no rlimit can")
    _limit_address_space(bounds.memory_mib * _MIB)
    return Bounded(
        groups,
        f"the node as a whole: {bounds.memory_mib} MiB of address space for each process by rlimit, "
        "their sum and the processor not limited",
    )


def offered(capacity: Capacity, bounds: NodeProcess | None) -> Capacity:
    """What a node offers: its bounds where it has some, never more than the machine's."""
    if bounds is None:
        return capacity
    return Capacity(
        _least(capacity.cpu_percent, bounds.cpu_percent), _least(capacity.memory_mib, bounds.memory_mib)
    )


def _least(*values: int) -> int:
    """The smallest that is known; 0 stands for one that is not."""
    return min((it for it in values if it), default=0)


def _limit_address_space(size: int) -> None:
    """Of this process and what it starts; a limit that somebody set lower stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _shown(bounds: NodeProcess) -> str:
    parts = []
    if bounds.memory_mib:
        parts.append(f"{bounds.memory_mib} MiB")
    if bounds.cpu_percent:
        parts.append(f"{bounds.cpu_percent} % of a core")
    return " and ".join(parts)
