"""Machines of a cloud, as the provider needs them: the port to libcloud, and the names by which they are ours.

Rules:
1. A machine's name is made of platform, pool, owner and order, and so are its tags: the same order gives the same name,
   so that a repeated creation finds what the first one made.
2. Only what carries our owner is ever touched. The owner is drawn once per data directory: two platforms of the same
   name in one account do not know each other's.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

#: Of names: the tightest of all clouds (GCE, RFC 1035); the order, 19 digits at most, and the owner must fit in, too.
NAME_CHARACTERS_MAX = 63
_STEM_CHARACTERS_MAX = 30
_OWNER_CHARACTERS = 12
#: Tags: keys that all clouds take.
_OWNER_TAG, _ORDER_TAG = "watchkeep-owner", "watchkeep-order"
_PREFIX_TAG, _POOL_TAG = "watchkeep-prefix", "watchkeep-pool"


class CloudError(RuntimeError):
    """The cloud refused, or what was asked is wrong; asking again does not help. The text holds no credentials."""


class CloudAwayError(CloudError):
    """The cloud does not answer or is busy: asking again may help."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        #: What the cloud asked for; 0: nothing.
        self.retry_after_s = retry_after_s


class Machine(NamedTuple):
    """A machine that carries our owner."""

    id: str
    name: str
    #: -1: none that can be read.
    order: int
    state: Literal["coming", "running", "stopped", "failed", "gone"]
    #: Empty: none yet, or not told.
    ip: str = ""


class Part(NamedTuple):
    """What belongs to a machine and can stay without it, such as a network interface."""

    id: str
    name: str
    #: Name of the machine.
    machine: str


class MachinePlan(NamedTuple):
    """A machine to be made."""

    name: str
    tags: Mapping[str, str]
    user_data: str


class Machines(Protocol):
    """The machines of one pool. Calls block, each for a bounded time; one thread uses one of these.

    All raise CloudAwayError if the cloud does not answer or is busy, CloudError if it refuses.
    """

    def list_machines(self) -> list[Machine]:
        """All that carry our owner, whatever their state; addresses only where they cost nothing."""
        ...

    def describe(self, order: int) -> list[Machine]:
        """The machines of an order, with addresses; one or none, unless a repeated call made a second."""
        ...

    def make(self, plan: MachinePlan) -> None:
        """Make a machine, unless there is one of that name that is not gone."""
        ...

    def destroy(self, machine: str) -> None:
        """Destroy the machine of this id with its disk and interfaces; harmless if it is gone."""
        ...

    def stop(self, machine: str) -> None:
        """Shut it down, to be started again; returns once the cloud has accepted that."""
        ...

    def start(self, machine: str) -> None:
        """Start one that was shut down."""
        ...

    def list_parts(self) -> list[Part]:
        """The parts of ours that are in no machine now; of a machine that is being made, too."""
        ...

    def destroy_part(self, part: str) -> None:
        """Remove the part of this id; harmless if it is gone."""
        ...


class Naming:
    """The names and tags of a pool's machines."""

    def __init__(self, *, prefix: str, pool: str, owner: str) -> None:
        #: Also different for each pool, where somebody gives two pools the same.
        self.owner = hashlib.sha256(f"{owner}|{prefix}|{pool}".encode()).hexdigest()[:_OWNER_CHARACTERS]
        stem = f"{_slug(prefix)}-{_slug(pool)}"[:_STEM_CHARACTERS_MAX].strip("-")
        # A digit or nothing in front is no name to GCE.
        self._stem = stem if stem[:1].isalpha() else f"w{stem}"[:_STEM_CHARACTERS_MAX]
        self._shown = {_PREFIX_TAG: _slug(prefix)[:63], _POOL_TAG: _slug(pool)[:63]}

    def name_of(self, order: int) -> str:
        """The machine of an order; at most 63 lower-case letters, digits and hyphens."""
        return f"{self._stem}-{self.owner}-{order}"

    def tags_of(self, order: int) -> dict[str, str]:
        """Its tags; lower-case, so that GCE takes them for labels."""
        return {**self._shown, _OWNER_TAG: self.owner, _ORDER_TAG: str(order)}

    @property
    def owner_tag(self) -> tuple[str, str]:
        """Key and value that all of ours carry."""
        return _OWNER_TAG, self.owner

    def is_ours(self, name: str, tags: Mapping[str, str]) -> bool:
        """Whether a machine belongs to this pool."""
        return tags.get(_OWNER_TAG) == self.owner or self._order_in(name) >= 0

    def order_of(self, name: str, tags: Mapping[str, str]) -> int:
        """The order of a machine of ours, -1 if it cannot be read."""
        tag = tags.get(_ORDER_TAG, "")
        return int(tag) if re.fullmatch(r"[0-9]{1,19}", tag) else self._order_in(name)

    def owner_of_part(self, part: str) -> str:
        """The machine that a part named after it (`<name>-nic`) belongs to; empty: none of ours."""
        found = re.match(rf"({re.escape(f'{self._stem}-{self.owner}-')}[0-9]{{1,19}})(?![0-9])", part)
        return found[1] if found else ""

    def _order_in(self, name: str) -> int:
        found = re.fullmatch(rf"{re.escape(f'{self._stem}-{self.owner}-')}([0-9]{{1,19}})", name)
        return int(found[1]) if found else -1


def _slug(text: str) -> str:
    """Lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
