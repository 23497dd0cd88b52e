"""Processes told apart by pid and start time, and found by the mark of the `up` that began them.

Part of the shell; Linux, stdlib only, because the supervisor keeps it in memory.

1. A pid alone names nobody: it is used again. Pid and start time (clock ticks since boot) do.
2. A process that has ended but was not yet collected (state Z) counts as dead.
3. Whatever `up` starts inherits the mark in its environment, also what starts a session of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

#: Carries `run_mark(data_dir)` to every process that belongs to the `up` of that directory.
MARK_ENV: Final = "WATCHKEEP_RUN_MARK"

#: Position of the start time in `/proc/PID/stat`, counted after the name: field 22 of the manual is 19 here.
_START_FIELD: Final = 19
_STATE: Final = 0
_PARENT_FIELD: Final = 1
#: States of a process that has ended.
DEAD: Final = frozenset("ZXx")

_POLL_S: Final = 0.05


class ProcessId(NamedTuple):
    """One process, for good."""

    pid: int
    #: Clock ticks between the boot of the machine and its start.
    start: int


def identify(pid: int) -> ProcessId | None:
    """Return the living process with that pid, None if there is none."""
    fields = read_stat(pid)
    if fields[_STATE] in DEAD:
        return None
    return ProcessId(pid, int(fields[_START_FIELD]))


def state_of(pid: int) -> str:
    """The letter that the kernel gives a process (T: stopped, Z: ended), X if there is none."""
    return read_stat(pid)[_STATE]


def read_stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` after the name; those of a process that is gone are just `X`."""
    try:
        return split_stat(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ["X"]


def split_stat(stat: str) -> list[str]:
    """The fields after the name, which is in brackets and may hold anything, brackets and blanks too."""
    return stat[stat.rindex(")") + 2 :].split()


def is_alive(process: ProcessId) -> bool:
    """Tell whether exactly this process still runs."""
    return identify(process.pid) == process


def run_mark(data_dir: Path) -> str:
    """Return the mark of everything that belongs to one data directory."""
    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]


def find_marked(mark: str) -> list[ProcessId]:
    """Return the processes of this user that carry the mark, this one and its parents apart."""
    needle = f"{MARK_ENV}={mark}".encode()
    own = _ancestry()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in own:
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                process = identify(int(entry.name))
                if process:
                    found.append(process)
    return sorted(found)


def end_all(processes: Iterable[ProcessId], *, grace_s: float) -> None:
    """End processes: asked first, forced after the grace; returns when none is alive."""
    asked = [process for process in processes if is_alive(process)]
    for process in asked:
        send(process, signal.SIGTERM)
        send(process, signal.SIGCONT)
    left = _wait_gone(asked, grace_s)
    for process in left:
        send(process, signal.SIGKILL)
    _wait_gone(left, grace_s)


def send(process: ProcessId, number: signal.Signals) -> None:
    """Send a signal to a process if it is still the same one."""
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def send_group(process: ProcessId, number: signal.Signals) -> None:
    """Send a signal to the process group that a child leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)


def _wait_gone(processes: list[ProcessId], timeout_s: float) -> list[ProcessId]:
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [process for process in left if is_alive(process)]
    return left


def _ancestry() -> set[int]:
    """Return this process and its parents: whoever runs `down` inside a marked shell must not end itself."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        fields = read_stat(pid)
        if fields[_STATE] == "X":
            break
        pid = int(fields[_PARENT_FIELD])
    return found
