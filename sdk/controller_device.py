"""What a device program does: reads what is desired of its controller, acts, and reports. Shell of the SDK.

    from sdk import controllers

    def switch(value):
        if "on" not in value:
            raise controllers.Rejected("on is missing")
        lamp.power(value["on"])
        return {"on": lamp.is_on()}            # what is reported; None: the value as it was desired

    controllers.serve("lamp", switch)

What is promised:
1. A command is given to the handler at most once while the program lives, and never again once its report stands,
   whatever is started again or written twice: the last report is read back before anything is done.
2. A program that dies between acting and its report standing is given that one command again when it comes back. So a
   handler says what shall be (`{"on": true}`), not by how much it changes.
3. A command that is older than the last one acted on, or that was withdrawn because its time was over, is passed over.
"""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sdk.contract.codec import DecodeError
from sdk.contract.controllers import (
    DESIRED_KEY,
    REASON_MAX,
    REPORTED_KEY,
    Desired,
    Reported,
    check_value,
    decode_desired,
    decode_reported,
    encode_reported,
)
from sdk.contract.devices import Device, device_topic, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("watchkeep.controllers")

_POLL_MS: Final = 100
#: How long a broker without news holds an answer back: a device asks twice a second and hears of a command at once.
_FETCH_WAIT_MS: Final = 500
#: Between two tries while Kafka or the topic is away.
_RETRY_S: Final = 0.5


class Rejected(Exception):  # noqa: N818  # what a handler says, not what went wrong
    """Raised by a handler: the device does not do this, and why."""


class DeviceMemory:
    """What a device must remember of its topic: the last report, and the newest thing desired. Pure."""

    def __init__(self) -> None:
        self.last: Reported | None = None
        self.desired: Desired | None = None
        self._has_acted = False

    def read(self, key: bytes | None, value: bytes | None) -> str:
        """One record of the topic; what is not ours is passed over, and what is wrong with it returned."""
        try:
            if key == REPORTED_KEY:
                self._read_report(decode_reported(value))
            elif key == DESIRED_KEY:
                desired = decode_desired(value)
                if not self._is_old(desired, self.desired):
                    self.desired = desired
        except DecodeError as error:
            return str(error)
        return ""

    def _read_report(self, reported: Reported) -> None:
        """Reports come back late: what was done since by this program counts."""
        if self._has_acted and self.last is not None and reported.log != self.last.log:
            return
        if not self._is_old(reported, self.last):
            self.last = reported

    def acted(self, reported: Reported) -> None:
        """Note what this program has done, before the report of it stands."""
        self.last, self._has_acted = reported, True

    def due(self) -> Desired | None:
        """What is to be done now."""
        desired, last = self.desired, self.last
        if desired is None or desired.withdrawn or self._is_old(desired, last):
            return None
        return None if last is not None and last.command == desired.command else desired

    @staticmethod
    def _is_old(record: Desired | Reported, than: Desired | Reported | None) -> bool:
        """Whether it was written by somebody who had read less of the same log."""
        return than is not None and than.log == record.log and record.as_of < than.as_of


def report_of(desired: Desired, handler: Callable[[Any], Any]) -> Reported:
    """Let the handler act, and say what came of it; whatever it raises is a rejection."""
    try:
        reported = handler(msgspec.json.decode(desired.value))
        text = bytes(desired.value).decode() if reported is None else _text(reported)
    except Rejected as error:
        return _rejection(desired, str(error) or "rejected by the device")
    except Exception as error:  # noqa: BLE001  # a device that ended with its first bad command would do no other
        _log.exception("the handler failed with command %s", desired.command)
        return _rejection(desired, f"the handler failed: {error!r}")
    value = msgspec.Raw(text.encode())
    return Reported(desired.command, "done", value, log=desired.log, as_of=desired.as_of)


def serve(
    controller: str,
    handler: Callable[[Any], Any],
    *,
    topic: str | None = None,
    bootstrap: str | None = None,
    prefix: str | None = None,
    until: threading.Event | None = None,
) -> None:
    """Be the device of a controller: act on each command and report; returns when `until` is set, else never.

    Args:
        controller: Its id or name, as registered.
        handler: Called with each desired value; what it returns is reported, and `Rejected` says no.
        topic: The topic that it was registered with, if that is not its own.
        bootstrap: Kafka; without it `KAFKA_BOOTSTRAP_SERVERS`, else 127.0.0.1:9092.
        prefix: The platform; without it `WATCHKEEP_PREFIX`, else watchkeep.
        until: Set it to end.

    Raises:
        ValueError: no name of a controller.
    """
    import os

    device = controller if controller.startswith("controller-") else f"controller-{controller}"
    kind_of(device)
    where = bootstrap or os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092"
    name = device_topic(
        prefix or os.environ.get("WATCHKEEP_PREFIX") or "watchkeep", Device(device, topic=topic or "")
    )
    _Serving(device, name, where, handler, until or threading.Event()).run()


class _Serving:
    """One device and its connection."""

    def __init__(
        self,
        device: str,
        topic: str,
        bootstrap: str,
        handler: Callable[[Any], Any],
        until: threading.Event,
    ) -> None:
        self._device, self._topic, self._bootstrap = device, topic, bootstrap
        self._handler = handler
        self._until = until
        self._memory = DeviceMemory()
        #: A report that does not stand yet.
        self._unsaid: Reported | None = None

    def run(self) -> None:
        """Serve, whatever Kafka does."""
        from kafka.errors import KafkaError

        from sdk.kafka_post import KafkaPost
        from sdk.reading_kafka import open_consumer

        post = KafkaPost(self._bootstrap, self._device)
        is_away = False
        try:
            while not self._until.is_set():
                try:
                    consumer = open_consumer(
                        self._bootstrap, client_id=self._device, fetch_wait_ms=_FETCH_WAIT_MS
                    )
                    try:
                        self._follow(consumer, post)
                    finally:
                        consumer.close()
                    is_away = False
                except (KafkaError, ValueError, OSError) as error:
                    if not is_away:
                        _log.warning("%s waits for Kafka at %s: %s", self._device, self._bootstrap, error)
                    is_away = True
                    self._until.wait(_RETRY_S)
        finally:
            post.close()

    def _follow(self, consumer: Any, post: Any) -> None:
        from kafka import TopicPartition

        # Asked for by name before it is read: to read a topic that does not exist may create it with wrong settings.
        if self._topic not in consumer.topics():
            raise ConnectionError(f"there is no topic {self._topic} yet")
        place = TopicPartition(self._topic, 0)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end = consumer.end_offsets([place])[place]
        while not self._until.is_set():
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                for record in records:
                    if fault := self._memory.read(record.key, record.value):
                        _log.warning("offset %d of %s is passed over: %s", record.offset, self._topic, fault)
            if consumer.position(place) >= end:
                self._act(post)

    def _act(self, post: Any) -> None:
        """Do what is due, and say so until that stands."""
        if self._unsaid is None and (desired := self._memory.due()) is not None:
            self._unsaid = report_of(desired, self._handler)
            # Before it is sent: it is not to be done again, whatever becomes of the report.
            self._memory.acted(self._unsaid)
        if self._unsaid is not None:
            post.send(self._topic, REPORTED_KEY, encode_reported(self._unsaid), 0)
            self._unsaid = None


def _rejection(desired: Desired, reason: str) -> Reported:
    return Reported(
        desired.command, "rejected", reason=reason[:REASON_MAX], log=desired.log, as_of=desired.as_of
    )


def _text(reported: Any) -> str:
    text = json.dumps(reported, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    check_value(text)
    return text
