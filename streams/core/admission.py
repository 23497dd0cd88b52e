"""Requests become events of the log, and unusable ones dead letters, before Faust acknowledges them. Shell.

Faust delivers them, and now and then loses one in a takeover (docs/adr/0005). So the core reads the topic too: what
the leader finds unanswered after `RESCUE_MS` it admits by itself. Twice is harmless, the fold keeps the first.
"""

import asyncio
import logging
from typing import Any

from aiokafka.errors import KafkaError

from sdk.contract.codec import Asked, DecodeError, decode_request
from sdk.contract.events import RequestRefused
from sdk.contract.ids import derive_id
from streams.core import monotonic
from streams.core.appender import Appender
from streams.core.letters import Letters
from streams.core.planning import Planning
from tables.admit import admit
from tables.state import State

_log = logging.getLogger(__name__)

#: How often a condition of the core is looked at, s: half a turn.
_LOOK_S = 0.05
#: The same for the fold to reach an event appended a moment ago, which takes a few ms.
_FOLD_S = 0.002
#: Pause before an admission with an unknown outcome is appended again, s; the fold keeps the first.
_AGAIN_S = 0.5
#: A request that nobody answered for this long while somebody leads is admitted by the core, ms: several times what
#: Faust takes under load, well under the patience of who asked.
RESCUE_MS = 3_000
#: Requests that the core admits at the same time: enough for some thousand a second, and so few (a few hundred KiB)
#: that each is acknowledged long before its writer gives it up, whatever the backlog.
RESCUE_MAX = 256


class Admission:
    """Answers requests, one after the other, in the worker that leads."""

    def __init__(self, state: State, planning: Planning, appender: Appender, letters: Letters) -> None:
        self._state = state
        self._planning = planning
        self._appender = appender
        self._letters = letters
        #: Offset of the last admission.
        self._admitted_at = -1
        #: Requests read by the core, with when each was read or last admitted by it, the oldest first; those that the
        #: fold knows by then are struck when they are old enough to be admitted.
        self._unanswered: dict[str, tuple[Asked, int]] = {}
        #: How many the core admits just now.
        self._rescuing = 0

    async def admit(self, asked: Asked) -> None:
        """Append the answer to a request; returns when it is acknowledged."""
        while not self._planning.leads:
            await asyncio.sleep(_LOOK_S)
        event = admit(self._state, asked)
        while isinstance(event, RequestRefused) and self._state.offset < self._admitted_at:
            # What it asks about may be in a request admitted a moment ago.
            await asyncio.sleep(_FOLD_S)
            event = admit(self._state, asked)
        event_id = derive_id("admitted", asked.id)
        while not self._is_answered(asked.id):
            try:
                offsets = await self._appender.append([(event_id, event, asked.id)])
            except KafkaError as error:
                _log.warning("request %s was not acknowledged (%r): again", asked.id, error)
                await asyncio.sleep(_AGAIN_S)
            else:
                self._admitted_at = offsets[-1]
                return

    def note(self, record: Any) -> None:
        """The core has read a record of the requests topic."""
        try:
            asked = decode_request(record.value)
        except DecodeError as error:
            self._letters.meet(record, str(error))
            return
        self._unanswered[asked.id] = (asked, monotonic.now_ms())

    def rescue(self, now_ms: int) -> None:
        """Admit what was left unanswered too long, oldest first and not all at once; only the leader does."""
        while self._unanswered and self._rescuing < RESCUE_MAX:
            key, (asked, at_ms) = next(iter(self._unanswered.items()))
            if now_ms - at_ms < RESCUE_MS:
                return
            del self._unanswered[key]
            if not self._is_answered(key):
                self._unanswered[key] = (asked, now_ms)
                self._rescuing += 1
                _log.info("request %s was not delivered by Faust yet; admitting it", key)
                self._appender.later(self._rescue(asked))

    async def _rescue(self, asked: Asked) -> None:
        try:
            await self.admit(asked)
        finally:
            self._rescuing -= 1
        # The next one at once, not in the next turn: with 1,000 nodes a turn takes 50 to 400 ms.
        if self._planning.leads:
            self.rescue(monotonic.now_ms())

    def _is_answered(self, request: str) -> bool:
        return request in self._state.tables["requests"]

    async def bury(self, record: object, reason: str) -> None:
        """Write a dead letter; returns when it was read back."""
        key = self._letters.meet(record, reason)
        while not self._letters.is_written(key):
            await asyncio.sleep(_LOOK_S)
