"""The hash of the fold, written to the log every so many events by the leader. Shell.

Every worker keeps the hash up to date, at the cost of the rows that changed, so that whoever leads next goes on. One
whose append failed is not written again: the next one says as much.
"""

from __future__ import annotations

from sdk.contract.events import FoldHashed
from sdk.contract.ids import derive_id
from streams.core.appender import Appender
from tables.digest import Digest
from tables.fold import FOLD_VERSION
from tables.state import State

#: Events between two hashes. More makes it later that a fold is found to have gone another way, and the stretch to be
#: looked at longer; less makes more of the log about itself. A thousand is a tenth of a percent. Source: ADR 35.
HASH_EVERY = 1_000


class Hashing:
    """When a hash is due, and what it is."""

    def __init__(self, state: State, appender: Appender, *, every: int = HASH_EVERY) -> None:
        self._state = state
        self._appender = appender
        self._every = every
        self._digest = Digest(state)
        #: Which stretch of the log the newest hash is of.
        self._hashed = max(state.offset, 0) // every
        # All rows are hashed once: now, while nobody waits for a turn.
        self._digest.take()

    def read(self, event: FoldHashed) -> None:
        """A hash stands on the log."""
        self._hashed = max(self._hashed, event.as_of // self._every)

    def turn(self, *, leads: bool, cause: str) -> None:
        """Write the hash of the state as it is, if the last one was taken a stretch ago."""
        at = self._state.offset // self._every
        if at <= self._hashed:
            return
        self._hashed = at
        found = self._digest.take()
        if leads:
            event = FoldHashed(self._state.term.term, self._state.offset, found, FOLD_VERSION)
            event_id = derive_id("fold-hashed", event.term, event.as_of)
            self._appender.later(self._appender.append([(event_id, event, cause)]))
