"""Whether the Faust processors keep pace with their topics: the watchdog of a worker that owns them. Shell.

Faust can stand still without a word (a recovery or a rebalance that never ends, an event that was cleared and not
delivered again). The core reads the same topics by itself, so it knows what ought to have been handled.
"""

import time

#: A processor that handles nothing for this long while records wait and the broker answers is stuck, s. Source:
#: several times the longest rebalance and recovery measured (3 s); less would end workers that are only busy.
STUCK_S = 20.0
#: The broker counts as answering while a tick was acknowledged this lately, s.
_ONLINE_S = 2.0


class Pace:
    """Newest offset seen and handled per topic; written by two threads, each its own fields."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._handled: dict[str, int] = {}
        self._online_s = 0.0
        self._checked_s = 0.0
        #: Topic -> time (s) that it stood still while the broker answered.
        self._still: dict[str, float] = {}

    def online(self) -> None:
        """The broker has acknowledged something."""
        self._online_s = time.monotonic()

    def saw(self, topic: str, offset: int) -> None:
        """The core has read a record."""
        self._seen[topic] = offset

    def handled(self, topic: str, offset: int) -> None:
        """A processor is done with a record."""
        self._handled[topic] = offset
        self._still.pop(topic, None)

    def rest(self) -> None:
        """This worker does not own the partitions: others handle them."""
        self._still.clear()

    def stuck(self, committed: dict[str, int]) -> str:
        """Which topic stands still, or an empty string; call it every second or so while owning.

        Args:
            committed: Per topic the offset after the last record that a former owner has handled, 0 if none.
        """
        now_s = time.monotonic()
        step_s, self._checked_s = min(now_s - self._checked_s, 1.0), now_s
        if now_s - self._online_s > _ONLINE_S:
            return ""
        for topic, seen in self._seen.items():
            if seen <= max(self._handled.get(topic, -1), committed.get(topic, 0) - 1):
                self._still.pop(topic, None)
                continue
            self._still[topic] = self._still.get(topic, 0.0) + step_s
            if self._still[topic] > STUCK_S:
                return topic
        return ""
