"""How a program hears what became of its commands: one thread that reads the log and the published rows. SDK shell.

1. It knows the end of the log before the first command is sent, so no answer is missed; after an outage it goes on
   where it stopped.
2. A refusal stands on the log (`RequestRefused`, caused by the request); every other end is a published row.
3. It ends when no handle has been open for `IDLE_S`, and starts again with the next.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sdk.contract.codec import DecodeError, decode_event
from sdk.contract.events import ControllerSetRequested, RequestRefused
from sdk.contract.topics import Topics

if TYPE_CHECKING:
    from sdk.command_handle import Handle
    from sdk.kafka_post import KafkaPost

_log = logging.getLogger("watchkeep.controllers")

#: Without an open handle the thread ends after this long: to follow the log costs an idle app a fetch a second.
IDLE_S: Final = 30.0
#: One poll; a record that comes meanwhile ends it.
_POLL_MS: Final = 100
#: How long a broker without news holds an answer back: longer than a poll, so that an idle app asks twice a second.
_FETCH_WAIT_MS: Final = 500
_RETRY_S: Final = 0.3
#: How long a command waits in one try for the thread to have found the end of the log.
_ATTACH_WITHIN_S: Final = 3.0
#: The thread begins this much later than the first command: what it imports would hold up who gave that.
_LET_GO_S: Final = 0.01
_ROWS: Final = "commands/"
_FORGOTTEN: Final = "the platform keeps it no more: its controller was retired, or many newer commands came"
_ANSWERS: Final = (b"controller.set-requested", b"request.refused")


class _CommandRow(msgspec.Struct):
    """What is read of the fold's row of a command."""

    command: str
    phase: str
    reason: str = ""
    reported: str = ""


class _View(msgspec.Struct):
    row: _CommandRow


_decode_view = msgspec.json.Decoder(_View).decode


class CommandFeed:
    """Ends handles; everything public may be called from any thread."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        topics = Topics(prefix)
        self._bootstrap = bootstrap
        self._events, self._rows = topics.events, topics.state("platform")
        self._changed = threading.Condition()
        self._open: dict[str, list[Handle]] = {}
        #: Commands that have ended, as far as the platform keeps them.
        self._ended: dict[str, _CommandRow] = {}
        #: Open commands that the log has admitted.
        self._admitted: set[str] = set()
        #: Next offsets, by topic; empty while the ends are not known.
        self._positions: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._idle_since_s = 0.0
        self._over = False

    def follow(self, handle: Handle) -> None:
        """End this handle when its command has."""
        with self._changed:
            self._open.setdefault(handle.command, []).append(handle)
            if (row := self._ended.get(handle.command)) is not None:
                self._end(row)
            if self._thread is None:
                self._over = False
                self._thread = threading.Thread(target=self._run, name="watchkeep commands", daemon=True)
                self._thread.start()

    def wait_attached(self, within_s: float) -> bool:
        """Whether the end of the log is known, in that time."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._positions), within_s)

    def close(self) -> None:
        """Follow nothing more."""
        self._over = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        time.sleep(_LET_GO_S)
        from kafka.errors import KafkaError

        from sdk.reading_kafka import open_consumer

        while not self._is_done():
            try:
                consumer = open_consumer(
                    self._bootstrap, client_id="watchkeep-commands", fetch_wait_ms=_FETCH_WAIT_MS
                )
            except (KafkaError, ValueError, OSError) as error:
                _log.debug("Kafka at %s does not answer: %s", self._bootstrap, error)
                time.sleep(_RETRY_S)
                continue
            try:
                self._read_with(consumer)
            except (KafkaError, ValueError, OSError) as error:
                # A fresh client meets a broker that came back without what the old one has grown into.
                _log.debug("reading what became of commands begins anew: %r", error)
                time.sleep(_RETRY_S)
            finally:
                consumer.close()

    def _is_done(self) -> bool:
        """Whether the thread is to end; then it is not this feed's any more."""
        with self._changed:
            followed = [(command, list(handles)) for command, handles in self._open.items()]
        # Asked without the lock: who sets a controller must not wait for a look at many handles.
        ended = [(command, them) for command, them in followed if all(it.state != "pending" for it in them)]
        with self._changed:
            for command, handles in ended:
                if self._open.get(command) == handles:
                    del self._open[command]
                    self._admitted.discard(command)
            now_s = time.monotonic()
            if self._open:
                self._idle_since_s = now_s
            if self._over or now_s - self._idle_since_s >= IDLE_S:
                self._thread = None
                self._positions.clear()
                self._ended.clear()
                return True
            return False

    def _read_with(self, consumer: Any) -> None:
        from kafka import TopicPartition

        places = {topic: TopicPartition(topic, 0) for topic in (self._events, self._rows)}
        consumer.assign(list(places.values()))
        if not self._positions:
            # Rows from their beginning: a command that an app repeats by its id may have ended long ago.
            ends = consumer.end_offsets([places[self._events]])
            begins = consumer.beginning_offsets([places[self._rows]])
            found = {self._events: ends[places[self._events]], self._rows: begins[places[self._rows]]}
            with self._changed:
                self._positions.update(found)
                self._changed.notify_all()
        for topic, place in places.items():
            consumer.seek(place, self._positions[topic])
        while not self._is_done():
            for place, records in consumer.poll(timeout_ms=_POLL_MS).items():
                for record in records:
                    self._take(place.topic, record)
                self._positions[place.topic] = records[-1].offset + 1

    def _take(self, topic: str, record: Any) -> None:
        with self._changed:
            if topic == self._events:
                self._take_event(record.value)
            elif record.key is not None and record.key.startswith(_ROWS.encode()):
                self._take_row(record.key.decode(errors="replace").removeprefix(_ROWS), record.value)

    def _take_event(self, value: bytes | None) -> None:
        """The answer to an open command; it is looked for by its text, because most events are of no interest.

        The first counts: two workers may answer one request.
        """
        if not self._open or value is None or not any(kind in value for kind in _ANSWERS):
            return
        try:
            event = decode_event(value).event
        except DecodeError:
            return
        if isinstance(event, ControllerSetRequested) and event.request in self._open:
            self._admitted.add(event.request)
        elif isinstance(event, RequestRefused) and event.request not in self._admitted:
            self._end(_CommandRow(event.request, "rejected", event.reason))

    def _take_row(self, command: str, value: bytes | None) -> None:
        if value is None:
            self._ended.pop(command, None)
            self._end(_CommandRow(command, "rejected", _FORGOTTEN))
            return
        try:
            row = _decode_view(value).row
        except msgspec.DecodeError:
            return
        if row.phase == "desired":
            return
        self._ended[command] = row
        self._end(row)

    def _end(self, row: _CommandRow) -> None:
        state: Any = "rejected" if row.phase == "refused" else row.phase
        if state not in ("done", "rejected", "expired"):
            return
        reported = msgspec.json.decode(row.reported) if row.reported else None
        self._admitted.discard(row.command)
        for handle in self._open.pop(row.command, ()):
            handle.end(state, row.reason, reported)


class RequestPost:
    """Sends commands once it is certain that their answers will be read."""

    def __init__(self, bootstrap: str, client_id: str, feed: CommandFeed) -> None:
        self.goal = f"Kafka at {bootstrap}"
        self._bootstrap, self._client_id = bootstrap, client_id
        self._feed = feed
        self._post: KafkaPost | None = None

    def send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        """One record, acknowledged; after any exception it may or may not have arrived."""
        if not self._feed.wait_attached(_ATTACH_WITHIN_S):
            raise ConnectionError(f"{self.goal} does not say where the log ends")
        if self._post is None:
            # With the first command, not with the import of the module: it takes a tenth of a second.
            from sdk.kafka_post import KafkaPost

            self._post = KafkaPost(self._bootstrap, self._client_id)
        self._post.send(topic, key, value, partition)

    def close(self) -> None:
        """Drop the client and what it still holds."""
        if self._post is not None:
            self._post.close()
