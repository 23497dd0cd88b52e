"""Processes as /proc shows them: identity, family, group. Shell of the agents.

A pid alone is nobody: pid and start time are. A zombie counts as dead, because pid 1 may reap it late.
"""

import os
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

_DEAD = frozenset("ZXx")


class Process(NamedTuple):
    """One line of /proc/<pid>/stat, as far as it matters here."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    #: Ticks after boot; with the pid it is the identity of a process.
    start: int

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, though it may still be listed."""
        return self.state in _DEAD


def look_up(pid: int) -> Process | None:
    """The process with this pid, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - hot: one scan opens them all
            text = file.read(512)
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold anything, brackets and blanks too.
    fields = text[text.rfind(b")") + 2 :].split()
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def start_of(pid: int) -> int:
    """Start time of a process, 0 if there is none."""
    found = look_up(pid)
    return found.start if found else 0


def is_alive(pid: int, start: int) -> bool:
    """Whether the very process that had this pid and start time still runs."""
    found = look_up(pid) if pid > 0 else None
    return found is not None and found.start == start and not found.is_dead


def list_processes() -> Iterator[Process]:
    """All processes."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - hot
        if name.isdigit() and (found := look_up(int(name))) is not None:
            yield found


def descendants_of(pid: int) -> list[int]:
    """Children of `pid`, their children and so on."""
    children: dict[int, list[int]] = {}
    for process in list_processes():
        if not process.is_dead:
            children.setdefault(process.parent, []).append(process.pid)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with, empty if it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - as its neighbours
            content = file.readall() or b""
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in content.split(b"\0") if b"=" in entry)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs if key}


def has_marks(pid: int, marks: dict[str, str]) -> bool:
    """Whether the process was started with these environment variables."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - hot
            entries = file.read(1 << 20).split(b"\0")
    except OSError:
        return False
    return all(f"{key}={value}".encode() in entries for key, value in marks.items())


def select(matches: Callable[[Process], bool]) -> list[int]:
    """Living processes that match, ourselves left out."""
    own = os.getpid()
    return [it.pid for it in list_processes() if not it.is_dead and it.pid != own and matches(it)]


def send_signal(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def reap(pid: int) -> int | None:
    """Exit code of an ended child (minus the signal that ended it); None if it is not ours to reap."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None
