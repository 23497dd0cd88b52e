"""Reads the topics that apps of the original heartbeat client beat into. Shell of the agents.

While no app here has one, it does nothing and holds no connection.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from agents.ages import topics_wanted
from agents.inputs import TopicsRead
from agents.state import State
from sdk.topic_counts import AWAY, TopicCounts

log = logging.getLogger("watchkeep.topics")

#: The topics are read so often: half of what counts as unread, a tenth of the beats' interval.
READ_EVERY_S = 0.5
#: Orders are looked at so often, so that a topic is counted before the app it belongs to has written into it.
LOOK_EVERY_S = 0.05


class TopicReader:
    """Hands in how many records the topics have, for as long as they can be read."""

    def __init__(
        self, bootstrap: str, reporter: str, *, state: Callable[[], State], feed: Callable[[TopicsRead], None]
    ) -> None:
        self._counts = TopicCounts(bootstrap, client_id=f"{reporter}-beats")
        self._state = state
        self._feed = feed
        self._is_away = False
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Read no more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._counts.close()

    async def _run(self) -> None:
        read: frozenset[str] = frozenset()
        read_s = 0.0
        while True:
            wanted = topics_wanted(self._state())
            if not wanted and read:
                await self._counts.close()
                read = wanted
            if wanted and (wanted != read or time.monotonic() - read_s >= READ_EVERY_S):
                read, read_s = wanted, time.monotonic()
                await self._read(wanted)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _read(self, wanted: frozenset[str]) -> None:
        try:
            counts = await self._counts.read(wanted)
        except AWAY as error:
            if not self._is_away:
                self._is_away = True
                why = str(error) or type(error).__name__
                log.warning("the topics of beats cannot be read (%s): nobody who beats there is judged", why)
        else:
            if self._is_away:
                self._is_away = False
                log.warning("the topics of beats can be read again")
            self._feed(TopicsRead(counts))
            self._counts.create_missing()
