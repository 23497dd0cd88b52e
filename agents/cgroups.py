"""Control groups: limits of memory and processor that the kernel keeps for a process and all below it. Shell.

Both versions. Rules:
1. A group is made inside the one that we are in. With version 2 that is often not possible, because a group with
   processes cannot hand out controllers; then it is made further up, but never past a group with a limit: what
   somebody allowed the platform holds for its apps too.
2. The name says whose it is: `watchkeep-<home>-<app>-<generation>`. Whoever knows the home can remove what is left.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agents import procfs

_CONTROLLERS = ("memory", "cpu")
#: Processor time is handed out in slices of this length, µs; the kernel's default.
_PERIOD_US = 100_000
_US_PER_PERCENT = _PERIOD_US // 100
_MIB = 1 << 20
#: The group below a node's own in which its agent is.
LEAF = "agent"


class Group(NamedTuple):
    """The directories of one group: with version 2 one for both."""

    memory: Path
    cpu: Path

    @property
    def places(self) -> list[Path]:
        """Each directory once."""
        return list(dict.fromkeys(self))


class Cgroups:
    """Directories in which groups can be made."""

    def __init__(self, version: int, memory: Path, cpu: Path) -> None:
        self.version = version
        self._memory = memory
        self._cpu = cpu

    @property
    def places(self) -> list[Path]:
        """Each directory once."""
        return list(dict.fromkeys((self._memory, self._cpu)))

    def group(self, name: str) -> Group:
        """The group of that name, which need not be there."""
        return Group(self._memory / name, self._cpu / name)

    def create(self, name: str, *, memory_mib: int, cpu_percent: int) -> Group:
        """Make a group with these limits, 0 for none.

        Raises:
            OSError: the kernel refuses; nothing is left of it.
        """
        group = self.group(name)
        try:
            for place in group.places:
                place.mkdir(exist_ok=True)
            for path, value in _limits(self.version, group, memory_mib, cpu_percent):
                path.write_text(value)
            for path, value in _wishes(self.version, group, memory_mib):
                # Kernels without accounting of swap, or without these files, limit all the same.
                with contextlib.suppress(OSError):
                    path.write_text(value)
        except OSError:
            remove(group)
            raise
        return group


def find_cgroups(proc: Path = Path("/proc")) -> Cgroups | None:
    """Where this process can make groups; None if nowhere. None is made: that would cost an agent's start 10 ms."""
    for version, memory, cpu in _candidates(proc):
        if not all(os.access(place, os.W_OK | os.X_OK) for place in (memory, cpu)):
            continue
        if version == 1:
            return Cgroups(version, memory, cpu)
        with contextlib.suppress(OSError):
            _hand_out(memory)
            return Cgroups(version, memory, cpu)
    return None


def explain_cgroups(proc: Path = Path("/proc")) -> tuple[Cgroups | None, str]:
    """What `find_cgroups` finds, and for people: which limits this process can keep, and why no better ones."""
    found = find_cgroups(proc)
    if found is not None and found.version != 1:
        return found, "memory and processor by cgroup v2, for each app and for a whole node"
    lack = _lack_of_v2(proc)
    if found is not None:
        return found, f"memory and processor by cgroup v1, for each app and for a whole node; not v2: {lack}"
    return None, (
        "rlimits only: address space of each process, not the sum of a node, not the processor; "
        f"no cgroup v2: {lack}; no cgroup v1 of memory and cpu that can be written"
    )


def _lack_of_v2(proc: Path) -> str:
    """Why no group of version 2 can be made."""
    own, both = _own_paths(proc), [mount for mount in _mounts(proc) if mount.kind == "cgroup2"]
    if not both:
        return "it is not mounted"
    place = both[0].place_of(own[""]) if "" in own else None
    if place is None:
        return f"our group is not below its mount {both[0].point}"
    missing = sorted(set(_CONTROLLERS) - set(_read(place / "cgroup.controllers").split()))
    if missing:
        return f"{place} has no controller {' and '.join(missing)}"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place} cannot be written"
    return f"{place} has processes, so it hands out no controllers, and above it no group may be made"


def group_name(home: str, app: str, generation: int) -> str:
    """The name of a copy's group."""
    return f"watchkeep-{home}-{app}-{generation}"


def node_group_name(home: str) -> str:
    """The name of the group of a whole node; without a generation, so it is no copy's."""
    return f"watchkeep-{home}-node"


def open_doors(group: Group) -> list[int]:
    """File descriptors into which a process writes 0 to enter; whoever asked for them closes them."""
    doors: list[int] = []
    try:
        for place in group.places:
            doors.append(os.open(place / "cgroup.procs", os.O_WRONLY))  # noqa: PERF401 - closed if one fails
    except OSError:
        for door in doors:
            os.close(door)
        raise
    return doors


def was_out_of_memory(group: Group) -> bool:
    """Whether the kernel has killed something in it for its memory."""
    for file in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            for line in (group.memory / file).read_text().splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill" and int(count):
                    return True
    return False


def memory_limit_mib(group: Group) -> int:
    """Its limit of memory; 0 if it has none that can be read."""
    for file in ("memory.max", "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int((group.memory / file).read_text()) // _MIB
    return 0


def nest(groups: Cgroups, group: Group) -> Cgroups:
    """Where groups below this one can be made, and enter it: by a leaf, for with version 2 it holds no processes.

    Raises:
        OSError: the kernel refuses.
    """
    if groups.version != 1:
        _hand_out(group.memory)
    for place in group.places:
        leaf = place / LEAF
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0")
    return Cgroups(groups.version, group.memory, group.cpu)


def remove(group: Group) -> bool:
    """Kill what is in it and below and remove it; False if the kernel does not let go yet: try again in some ms."""
    for place in group.places:
        for each in [*_below(place), place]:
            _kill_members(each)
            with contextlib.suppress(OSError):
                each.rmdir()
    return not any(place.exists() for place in group.places)


def sweep(
    home: str,
    *,
    keep: frozenset[str] = frozenset(),
    within: Cgroups | None = None,
    proc: Path = Path("/proc"),
) -> list[str]:
    """Remove the groups of one home but those to keep; what is still there.

    They are looked for `within`, and without it wherever they could have been made.
    """
    left = set()
    if within is not None:
        places = within.places
    else:
        places = list(dict.fromkeys(place for _, *both in _candidates(proc) for place in both))
    for place in places:
        for found in place.glob(f"watchkeep-{home}-*"):
            if found.name not in keep and not remove(Group(found, found)):
                left.add(found.name)
    return sorted(left)


def _limits(version: int, group: Group, memory_mib: int, cpu_percent: int) -> Iterator[tuple[Path, str]]:
    """What must be written, and where."""
    if version == 1:
        if memory_mib:
            yield group.memory / "memory.limit_in_bytes", str(memory_mib * _MIB)
        if cpu_percent:
            yield group.cpu / "cpu.cfs_period_us", str(_PERIOD_US)
            yield group.cpu / "cpu.cfs_quota_us", str(cpu_percent * _US_PER_PERCENT)
        return
    if memory_mib:
        yield group.memory / "memory.max", str(memory_mib * _MIB)
    if cpu_percent:
        yield group.cpu / "cpu.max", f"{cpu_percent * _US_PER_PERCENT} {_PERIOD_US}"


def _wishes(version: int, group: Group, memory_mib: int) -> Iterator[tuple[Path, str]]:
    """What is written where the kernel has it: no swap on top, and all die together."""
    if not memory_mib:
        return
    if version == 1:
        yield group.memory / "memory.memsw.limit_in_bytes", str(memory_mib * _MIB)
        yield group.memory / "memory.swappiness", "0"
        return
    yield group.memory / "memory.swap.max", "0"
    yield group.memory / "memory.oom.group", "1"


def _candidates(proc: Path) -> Iterator[tuple[int, Path, Path]]:
    """Version and directories for memory and processor, best first."""
    own, mounts = _own_paths(proc), list(_mounts(proc))
    both = next((mount for mount in mounts if mount.kind == "cgroup2"), None)
    if both is not None and "" in own:
        place = both.place_of(own[""])
        while place is not None:
            if not set(_CONTROLLERS) <= set(_read(place / "cgroup.controllers").split()):
                break
            yield 2, place, place
            place = None if place == both.point or _is_limited(place) else place.parent
    places = [
        mount.place_of(own[controller])
        for controller in _CONTROLLERS
        if controller in own
        for mount in mounts
        if mount.kind == "cgroup" and controller in mount.options
    ]
    memory, cpu = places if len(places) == len(_CONTROLLERS) else (None, None)
    if memory is not None and cpu is not None:
        yield 1, memory, cpu


class _Mount(NamedTuple):
    """A mounted hierarchy."""

    #: The group that it shows as its root.
    root: str
    point: Path
    kind: str
    options: list[str]

    def place_of(self, path: str) -> Path | None:
        """Where a group is in it; None if outside."""
        if self.root == "/":
            return self.point / path.lstrip("/")
        inside = path.removeprefix(self.root)
        return self.point / inside.lstrip("/") if path.startswith(self.root) else None


def _mounts(proc: Path) -> Iterator[_Mount]:
    for line in _read(proc / "self" / "mountinfo").splitlines():
        front, _, back = line.partition(" - ")
        fields, more = front.split(" "), back.split(" ")
        if more[0] in ("cgroup", "cgroup2"):
            yield _Mount(fields[3], Path(fields[4]), more[0], more[-1].split(","))


def _own_paths(proc: Path) -> dict[str, str]:
    """Controller -> our group; version 2 has an empty controller."""
    found: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _is_limited(place: Path) -> bool:
    """Whether a group of version 2 has a limit of its own."""
    values = (_read(place / "memory.max"), _read(place / "memory.high"), _read(place / "cpu.max"))
    return any(value and not value.startswith("max") for value in values)


def _hand_out(place: Path) -> None:
    """Let groups below have controllers; OSError if this one may not."""
    handed = _read(place / "cgroup.subtree_control").split()
    missing = [name for name in _CONTROLLERS if name not in handed]
    if missing:
        (place / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in missing))


def _below(place: Path) -> Iterator[Path]:
    """The groups below one, the deepest first."""
    with contextlib.suppress(OSError):
        for entry in list(place.iterdir()):
            if entry.is_dir():
                yield from _below(entry)
                yield entry


def _kill_members(place: Path) -> None:
    for word in _read(place / "cgroup.procs").split():
        procfs.send_signal(int(word), signal.SIGKILL)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
