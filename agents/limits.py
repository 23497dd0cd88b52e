"""Limits of apps that are processes: by control groups where this machine lets us, else by rlimits. Shell.

A copy enters its group, or gets its rlimit, between fork and exec, so nothing that it ever does lies outside.
"""

import asyncio
import contextlib
import os
import resource
from collections.abc import Callable, Collection, Iterator

from agents import cgroups
from agents.cgroups import Cgroups
from agents.driver import StartError
from sdk.contract.orders import AppOrder

#: The kernel lets a group go some ms after its last process; what takes longer is left to tidying.
_TRIES = 10
_LOOK_AGAIN_S = 0.01
_MIB = 1 << 20

#: Run between fork and exec; None if there is nothing to do.
Enter = Callable[[], None] | None


class Limits:
    """The limits of one node's apps."""

    def __init__(self, home: str, groups: Cgroups | None, *, whole: str = "", nested: bool = False) -> None:
        """Use these groups; without them rlimits.

        Args:
            home: Of the node.
            groups: Where groups can be made.
            whole: What keeps the node as a whole, for people.
            nested: Whether `groups` is a group of this node: then nothing of it lies elsewhere but it itself.
        """
        self._home = home
        self._groups = groups
        self._whole = whole
        self._nested = nested

    @property
    def words(self) -> str:
        """What is used, for people."""
        own = "address space by rlimit; processor not limited"
        if self._groups is not None:
            own = f"memory and processor by cgroup v{self._groups.version}"
        return f"{own}; {self._whole}" if self._whole else own

    @property
    def is_address_space(self) -> bool:
        """Whether a limit of memory is one of address space: who reaches it is not killed but gets no more."""
        return self._groups is None

    @contextlib.contextmanager
    def begin(self, order: AppOrder) -> Iterator[Enter]:
        """What a copy does between fork and exec to be within its limits.

        Raises:
            StartError: they cannot be set.
        """
        memory_mib, cpu_percent = order.memory_limit_mib, order.cpu_limit_percent
        if not memory_mib and not cpu_percent:
            yield None
        elif self._groups is None:
            yield _rlimit(memory_mib) if memory_mib else None
        else:
            name = cgroups.group_name(self._home, order.app, order.generation)
            try:
                group = self._groups.create(name, memory_mib=memory_mib, cpu_percent=cpu_percent)
                doors = cgroups.open_doors(group)
            except OSError as error:
                raise StartError(f"its limits cannot be set: {error}") from None
            try:
                yield _entry(doors)
            finally:
                for door in doors:
                    os.close(door)

    def join(self, app: str, generation: int, address_mib: int) -> tuple[Enter, list[int]]:
        """How another process comes within the limits of a copy, and the descriptors to close afterwards."""
        if self._groups is None:
            return _rlimit(address_mib) if address_mib else None, []
        group = self._groups.group(cgroups.group_name(self._home, app, generation))
        try:
            doors = cgroups.open_doors(group)
        except OSError:
            return None, []
        return _entry(doors), doors

    def how_it_ended(self, app: str, generation: int, code: int | None, said: str) -> str:
        """The reason of an end, with what its limits had to do with it."""
        if self._groups is None:
            return said
        group = self._groups.group(cgroups.group_name(self._home, app, generation))
        if not cgroups.was_out_of_memory(group):
            return said
        limit = f"its limit of {cgroups.memory_limit_mib(group)} MiB"
        if code == -9:  # noqa: PLR2004  # SIGKILL, and the kernel says that it was not ours
            return f"killed: it used more memory than {limit}"
        return f"{said}; the kernel had killed a process of it that took more memory than {limit}"

    async def end(self, app: str, generation: int) -> None:
        """Kill what is in the group of a copy that is over, and remove it."""
        if self._groups is None:
            return
        group = self._groups.group(cgroups.group_name(self._home, app, generation))
        for _ in range(_TRIES):
            if cgroups.remove(group):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    def tidy(self, living: Collection[tuple[str, int]]) -> None:
        """Remove the groups of this node that belong to no living copy."""
        keep = frozenset(cgroups.group_name(self._home, app, generation) for app, generation in living)
        # Who had bounds before may have none now: what lives in the node's own group stays until the node ends.
        keep |= {cgroups.node_group_name(self._home)}
        cgroups.sweep(self._home, keep=keep, within=self._groups if self._nested else None)


def _entry(doors: list[int]) -> Callable[[], None]:
    def enter() -> None:
        for door in doors:
            os.write(door, b"0")

    return enter


def _rlimit(memory_mib: int) -> Callable[[], None]:
    size = memory_mib * _MIB

    def enter() -> None:
        # The node's own may be lower.
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        least = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (least, least))

    return enter
