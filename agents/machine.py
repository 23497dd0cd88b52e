"""What the machine has and how busy it is, as /proc and the control group show it. Shell of the agents.

A node in a container sees its own limits where it has some, else the whole machine. Nodes that share a machine
each offer all of it: what they run together shows in the measured load.
"""

import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_KIB_PER_MIB = 1_024
_MIB = 1 << 20


class Capacity(NamedTuple):
    """All that a node may use; 0 where it cannot be known."""

    #: Hundredths of a core.
    cpu_percent: int
    memory_mib: int


class Usage(NamedTuple):
    """How busy the machine is; zeros where it cannot be known."""

    #: One-minute load per core.
    load: float
    memory_mib: int
    memory_used_mib: int


def read_capacity(proc: Path = _PROC, cgroup: Path = _CGROUP) -> Capacity:
    """What this process may use."""
    cpu_percent = len(os.sched_getaffinity(0)) * 100
    quota, period = _numbers(cgroup / "cpu.max", 2)
    if quota and period:
        cpu_percent = min(cpu_percent, max(1, quota * 100 // period))
    return Capacity(cpu_percent, _memory(proc, cgroup)[0])


def read_usage(capacity: Capacity, proc: Path = _PROC, cgroup: Path = _CGROUP) -> Usage:
    """How busy it is now. The load is that of the whole machine, over the cores that we may use."""
    cores = max(1, capacity.cpu_percent) / 100
    try:
        load = float((proc / "loadavg").read_text().split()[0]) / max(1.0, cores)
    except (OSError, ValueError, IndexError):
        load = 0.0
    return Usage(round(load, 2), *_memory(proc, cgroup))


def _memory(proc: Path, cgroup: Path) -> tuple[int, int]:
    """Memory in MiB and how much of it is in use, without what the kernel could take back at once."""
    machine = _fields(proc / "meminfo")
    total, available = machine.get("MemTotal:", 0), machine.get("MemAvailable:", 0)
    (limit,) = _numbers(cgroup / "memory.max", 1)
    if limit and limit // _MIB < total // _KIB_PER_MIB:
        (used,) = _numbers(cgroup / "memory.current", 1)
        idle = _fields(cgroup / "memory.stat").get("inactive_file", 0)
        return limit // _MIB, max(0, used - idle) // _MIB
    return total // _KIB_PER_MIB, (total - available) // _KIB_PER_MIB


def _numbers(path: Path, count: int) -> list[int]:
    """The numbers in a file; 0 for one that is missing, or is `max`."""
    try:
        words = path.read_text().split()
    except OSError:
        words = []
    found = [int(word) if word.isdecimal() else 0 for word in words[:count]]
    return found + [0] * (count - len(found))


def _fields(path: Path) -> dict[str, int]:
    """The first number of each line by the line's first word."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
