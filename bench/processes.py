"""What processes cost, as the kernel counts it (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from streams.local.processes import split_stat

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
#: Positions in `/proc/PID/stat`, counted after the name: user and system time.
_UTIME, _STIME = 11, 12


def pss_mib(pid: int) -> float:
    """Resident memory with shared pages divided among those who share them."""
    return read_pss_kib(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")) / 1024


def read_pss_kib(rollup: str) -> int:
    """The `Pss` of a `smaps_rollup`, KiB.

    Raises:
        LookupError: there is none.
    """
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise LookupError("smaps_rollup without Pss")


def resident_mib(pid: int) -> float:
    """Resident memory, shared pages included; 0 of a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, all its threads together."""
    return (
        read_cpu_ticks(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")) / _TICKS_PER_S
    )


def read_cpu_ticks(stat: str) -> int:
    """User and system time of a `/proc/PID/stat`, clock ticks."""
    fields = split_stat(stat)
    return int(fields[_UTIME]) + int(fields[_STIME])


def describe(pid: int) -> str:
    """What a process of ours is, from its command line."""
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return describe_argv(argv)


def describe_argv(argv: Iterable[str]) -> str:
    """A short name: the module or main class that runs."""
    line = " ".join(argv)
    for part, name in (
        ("kafka.Kafka", "kafka"),
        ("faust", "worker"),
        ("agents.provisioner", "provisioner, template and nodes"),
        ("agents.template", "provisioner, template and nodes"),
        ("agents.node", "provisioner, template and nodes"),
        ("supervise", "supervisor"),
    ):
        if part in line:
            return name
    return line[:40].strip() or "unknown"
