"""Faust 0.15.3 with its silent losses taken out, in subclasses. Shell.

What is mended (docs/adr/0005 has the evidence):
1. A failed produce, changelogs included, is only logged, and offsets are committed all the same: here it ends
   the process (`SafeTopic`), and nothing is committed before everything put before it is acknowledged.
2. Offsets are committed past a message still in flight (faust-streaming #606): held back here.
3. A long poll of 1.5 s from before a takeover delays the first events by as much: 100 ms here.
4. A worker paused past its session writes old rows over the new owner's: `LoopGuard` ends it before it writes.

All of this overrides private methods, so the version is pinned and tests/streams/test_faust_fixes.py fails when
they are gone.
"""

import asyncio
import contextlib
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import faust
from faust.streams import _current_event
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, Message

_log = logging.getLogger(__name__)

#: Exit code of a worker that must not go on; its supervisor starts it again. `EX_TEMPFAIL` of sysexits.h.
EXIT_AGAIN = 75
#: Long poll of Faust's consumer, ms.
_FETCH_WAIT_MS = 100
#: A commit is put off if what was put before it is not acknowledged within this time, s. It is tried again in a second.
_FLUSH_WITHIN_S = 6.0


def exit_at_once(why: str) -> None:
    """End the process without a goodbye; nothing unacknowledged is committed."""
    _log.critical("%s; ending the process so that it is started again", why, exc_info=True)
    logging.shutdown()
    os._exit(EXIT_AGAIN)


class SafeTopic(faust.Topic):
    """A topic whose failed produce ends the process instead of a line in a log."""

    def send_soon(self, **how: Any) -> Any:
        """Put a record into the producer's buffer, and note it as the newest."""
        self.app.newest_put = sent = super().send_soon(**how)  # type: ignore[attr-defined]
        return sent

    def _on_published(self, fut: Any, message: Any, producer: Any, state: Any) -> None:
        super()._on_published(fut, message, producer, state)
        error = None if fut.cancelled() else fut.exception()
        if error is not None:
            exit_at_once(f"a record for {self} was not acknowledged: {error!r}")


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a short long poll."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS  # noqa: SLF001  # Faust gives no setting for it
        return consumer


class SafeConsumer(driver.Consumer):
    """A consumer that commits only what is done and whose output is acknowledged."""

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        in_flight = [m.offset for m in self._unacked_messages if m.tp == tp and not m.acked]
        acked = self._acked[tp]
        if not in_flight or not acked:
            return super()._new_offset(tp)
        lowest = min(in_flight)
        held = [offset for offset in acked if offset > lowest]
        acked[:] = [offset for offset in acked if offset < lowest]
        try:
            return super()._new_offset(tp) if acked else None
        finally:
            acked.extend(held)

    async def _commit_offsets(self, offsets: Any, start_new_transaction: bool = True) -> bool:
        # Not until the buffer is empty: while rows are written as fast as they are sent it never is.
        newest = getattr(self.app, "newest_put", None)
        if newest is not None and not newest.done():
            await asyncio.wait([newest], timeout=_FLUSH_WITHIN_S)
            if not newest.done():
                return False
        # Records are sent in their order, but those for other partitions are acknowledged apart.
        producer: Any = getattr(
            self.app.producer, "_producer", None
        )  # its own `flush` waits for the whole buffer
        if producer is not None:
            await producer.flush()
        done = await super()._commit_offsets(offsets, start_new_transaction=start_new_transaction)
        return bool(done)


class SafeTransport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer = SafeConsumer


class LoopGuard:
    """Ends the process if Faust's loop stood still too long to be sure that it still owns its partitions."""

    #: How often the loop shows that it turns, s.
    TURN_S = 0.1

    def __init__(self, *, stand_still_max_s: float, armed: Callable[[], bool]) -> None:
        self._max_s = stand_still_max_s
        #: Only who may write has something to fear: a follower that was paused goes on.
        self._armed = armed
        #: None until `run` begins: making the app and waiting for the broker is no pause of a member.
        self._turned_s: float | None = None

    async def run(self) -> None:
        """Show that the loop turns, until cancelled; to be begun before the group is joined."""
        while True:
            self.check()
            self._turned_s = time.monotonic()
            await asyncio.sleep(self.TURN_S)

    def check(self) -> None:
        """Call before every write to a table."""
        still_s = 0.0 if self._turned_s is None else time.monotonic() - self._turned_s
        if still_s > self._max_s and self._armed():
            exit_at_once(f"the loop stood still for {still_s:.1f} s, at most {self._max_s:.1f} s are safe")


@contextlib.contextmanager
def partition_context(app: faust.App, topic: str, partition: int) -> Iterator[None]:
    """Make table writes outside a stream legal: they go to `partition` of the changelog."""
    message = Message(topic, partition, -1, 0.0, 0, None, None, None, None)
    event = app.create_event(None, None, None, message)
    token = _current_event.set(weakref.ref(event))
    try:
        yield
    finally:
        _current_event.reset(token)
