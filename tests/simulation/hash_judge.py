"""The judge of hashes: what a leader says its fold comes to, by a fold that nobody disturbs. Part of the simulator."""

from random import Random

from sdk.contract.codec import DecodeError, Recorded
from sdk.contract.events import FoldHashed
from streams.core.hashing import HASH_EVERY
from tables.digest import digest_of
from tables.state import State

#: Events between two hashes in some worlds: a simulated log ends long before the interval of the platform.
HASH_SOON = 12
#: In one world of so many. Each hash is an event more, and so are the turns that follow it.
HASHED_WORLDS = 10


def hash_every(seed: int) -> int:
    """Events between two hashes in the world of a seed."""
    return HASH_EVERY if Random(f"hashes/{seed}").randrange(HASHED_WORLDS) else HASH_SOON


class HashJudge:
    """The hash as of every offset, computed anew from all rows of the judges' own fold."""

    def __init__(self, state: State, *, every: int) -> None:
        self._state = state
        self._is_due = every < HASH_EVERY
        self._hashes: dict[int, str] = {}
        #: Hashes that were found right.
        self.right = 0

    def folded(self, said: Recorded | DecodeError) -> tuple[str, str] | None:
        """The judges have folded one more record."""
        if not self._is_due:
            return None
        self._hashes[self._state.offset] = digest_of(self._state)
        if isinstance(said, DecodeError) or not isinstance(said.event, FoldHashed):
            return None
        if self._hashes.get(said.event.as_of) != said.event.hash:
            return "every fold comes to the same", f"{said.event}"
        self.right += 1
        return None
