"""Room on a node: what an app needs, what a node has, what is taken of it. Pure; whole numbers only."""

from typing import NamedTuple

from sdk.contract.specs import AppSpec
from tables.rows import AppRow, GrantRow, NodeRow

#: Free, where the node never said how much it has: as good as without end, and still a number.
UNBOUNDED = 1 << 40


class Need(NamedTuple):
    """Slots, processor in hundredths of a core, memory in MiB: needed, taken or free."""

    slots: int
    cpu_percent: int
    memory_mib: int

    def plus(self, other: "Need") -> "Need":
        """Both together."""
        return Need(
            self.slots + other.slots,
            self.cpu_percent + other.cpu_percent,
            self.memory_mib + other.memory_mib,
        )

    def minus(self, other: "Need") -> "Need":
        """What is left of it."""
        return Need(
            self.slots - other.slots,
            self.cpu_percent - other.cpu_percent,
            self.memory_mib - other.memory_mib,
        )

    def fits(self, free: "Need") -> bool:
        """Whether that much is free."""
        return (
            self.slots <= free.slots
            and self.cpu_percent <= free.cpu_percent
            and self.memory_mib <= free.memory_mib
        )

    def at_most(self, other: "Need") -> "Need":
        """The smaller of each."""
        return Need(*(min(one, another) for one, another in zip(self, other, strict=True)))

    def words(self) -> str:
        """As a person says it: 2 slots, 0.5 cores and 300 MiB."""
        parts = [f"{self.slots} slot" + "s" * (self.slots > 1)]
        if self.cpu_percent:
            parts.append(f"{self.cpu_percent / 100:g} cores")
        if self.memory_mib:
            parts.append(f"{self.memory_mib} MiB")
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


NOTHING = Need(0, 0, 0)


def need_of(spec: AppSpec) -> Need:
    """What a copy under this spec takes."""
    return Need(spec.slots, spec.cpu_percent, spec.memory_mib)


def need_of_grant(grant: GrantRow) -> Need:
    """What is kept, or asked for, under a grant."""
    return Need(grant.slots, grant.cpu_percent, grant.memory_mib)


def capacity_of(node: NodeRow) -> Need:
    """All that the node has; without end where it did not say."""
    return Need(node.slots, node.cpu_percent or UNBOUNDED, node.memory_mib or UNBOUNDED)


def placed_spec_of(app: AppRow) -> AppSpec:
    """The spec that the generation in force was placed with."""
    return app.placed_spec or app.spec


def runs_once(app: AppRow) -> bool:
    """Whether the copy in force is the only one that its spec asks for."""
    return placed_spec_of(app).restart == "never"


def stays(old: AppRow, row: AppRow) -> bool:
    """Whether the copies of an app are on the nodes they were on, as most events leave them."""
    return old.node == row.node and old.standby is row.standby
