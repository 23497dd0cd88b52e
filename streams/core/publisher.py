"""Orders: published by the leader, read back by everyone, written again where they differ. Shell.

Rules (DESIGN 4):
1. What stands on the topic is what was read back; the leader writes what differs from its fold.
2. Never over a higher `as_of`: who sees one has not folded far enough and waits.
"""

from msgspec.structs import replace

from sdk.contract.codec import DecodeError, decode_orders, encode_orders
from sdk.contract.orders import Orders
from sdk.contract.topics import Topics, partition_of
from streams.core import monotonic
from streams.core.appender import Appender
from tables.orders import newest_unnamed, orders_for, reporters_touched
from tables.state import State

#: Orders that were not read back within this time are written again, ms.
AGAIN_MS = 8_000
#: After a failed write, ms since it was begun.
FAILED_AGAIN_MS = 1_000


class Publisher:
    """The orders topic as this worker reads it, and what ought to stand there."""

    def __init__(self, state: State, appender: Appender, topics: Topics, topic_id: str) -> None:
        self._state = state
        self._appender = appender
        self._topic = topics.commands
        self._topic_id = topic_id
        self._changed = state.listen()
        self._standing: dict[str, Orders] = {}
        self._flight: dict[str, tuple[Orders, int]] = {}
        self._dirty: set[str] = set()

    def read_back(self, key: bytes | None, value: bytes | None) -> None:
        """A record of the orders topic; raises DecodeError if it is not ours."""
        try:
            reporter = (key or b"").decode()
        except UnicodeDecodeError:
            raise DecodeError("orders: the key is not UTF-8") from None
        self._dirty.add(reporter)
        self._standing.pop(reporter, None)
        orders = decode_orders(reporter, value)
        self._standing[reporter] = orders
        flying = self._flight.get(reporter)
        if flying is not None and flying[0] == orders:
            del self._flight[reporter]

    def begin_term(self) -> None:
        """A new leader looks at all orders."""
        self._dirty.update(self._state.nodes, self._state.pools)
        self._flight.clear()

    def publish(self) -> None:
        """Write the orders that differ from the fold; only the leader does."""
        if self._changed:
            self._dirty |= reporters_touched(self._state, self._changed)
            self._changed.clear()
        now_ms = monotonic.now_ms()
        self._dirty.update(name for name, (_, at_ms) in self._flight.items() if now_ms - at_ms >= AGAIN_MS)
        for reporter in sorted(self._dirty):
            if self._settle(reporter, now_ms):
                self._dirty.discard(reporter)

    def follow(self) -> None:
        """Note what changed without writing: a worker that does not lead."""
        if self._changed:
            self._dirty |= reporters_touched(self._state, self._changed)
            self._changed.clear()

    def _settle(self, reporter: str, now_ms: int) -> bool:
        """Write the orders of `reporter` if they differ; whether nothing is left to do until one of its rows changes.

        What is on its way is looked at again when it was read back, or was not for too long.
        """
        wanted = orders_for(self._state, reporter, topic_id=self._topic_id)
        if wanted is None:
            self._flight.pop(reporter, None)
            return True
        standing = self._standing.get(reporter)
        needed = newest_unnamed(self._state, reporter)
        if standing is not None and _same(standing, wanted) and standing.as_of >= needed:
            self._flight.pop(reporter, None)
            return True
        if standing is not None and standing.topic_id == wanted.topic_id and standing.as_of > wanted.as_of:
            return False
        flying = self._flight.get(reporter)
        is_flying = flying is not None and _same(flying[0], wanted) and flying[0].as_of >= needed
        if flying is not None and is_flying and now_ms - flying[1] < AGAIN_MS:
            return True
        self._flight[reporter] = (wanted, now_ms)
        put = self._appender.put(
            self._topic, reporter.encode(), encode_orders(wanted), partition=partition_of(reporter)
        )
        self._appender.later(put, lambda: self._try_soon(reporter))
        return True

    def _try_soon(self, reporter: str) -> None:
        """A write failed: again in a second, not in every turn."""
        orders, at_ms = self._flight.get(reporter, (None, 0))
        if orders is not None:
            self._flight[reporter] = (orders, at_ms - AGAIN_MS + FAILED_AGAIN_MS)


def _same(one: Orders, other: Orders) -> bool:
    """Whether two orders say the same, whatever offset they were computed at."""
    return type(one) is type(other) and replace(one, as_of=0) == replace(other, as_of=0)
