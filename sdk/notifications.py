"""Notifications: what an app tells people. Importing it opens nothing; the first one starts a thread in the background.

    from sdk import notifications

    notifications.send("Temperature exceeded!")
    notifications.send("Pump 3 is dry", key="pump-3", severity="critical", repeat_every_s=300, escalate_after_s=900)

People see them with `python cli.py notifications watch`, one per app and key, with a count instead of a flood. Inside
an app that Watchkeep runs the app is known; anywhere else it is named, `send(..., app="application-1")`, or by
`WATCHKEEP_APP_ID` in the environment. Kafka is found by `KAFKA_BOOTSTRAP_SERVERS`.

Whoever calls is held for microseconds, Kafka there or not. What was sent waits in a bounded buffer of this process and
arrives once, in order, also over an outage of Kafka. A program that ends waits up to 5 s for it; one that is killed
(`kill -9`) loses what still waits.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.notifications import (
    TEXT_LENGTH_MAX,
    Notification,
    Severity,
    check_again,
    check_app,
    check_key,
    check_severity,
    encode_notification,
    key_of,
    louder_of,
)
from sdk.contract.topics import Topics
from sdk.outbox import GOODBYE_WITHIN_S, SIZE, Letter, Outbox

if TYPE_CHECKING:
    from sdk.outbox import Outcome, WhenFull

__all__ = ["Severity", "close", "configure", "dropped", "flush", "send", "waiting"]


class _LatePost:
    """Opens `sdk.kafka_post` with the first record, in the outbox's thread: the client takes 0.1 s to import."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self.goal = f"Kafka at {bootstrap}"
        self._where = (bootstrap, client_id)
        self._post: Any = None

    def send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        if self._post is None:
            from sdk.kafka_post import KafkaPost

            self._post = KafkaPost(*self._where)
        self._post.send(topic, key, value, partition)

    def close(self) -> None:
        if self._post is not None:
            self._post.close()


class _Sender:
    """The buffer of one process, and the numbers of what was put into it."""

    def __init__(self, *, size: int, when_full: WhenFull, bootstrap: str, prefix: str) -> None:
        self.topic = Topics(prefix).notifications
        self.outbox = Outbox(_LatePost(bootstrap, "watchkeep-notifications"), size=size, when_full=when_full)
        #: Numbers are given and letters put in under one lock, so that they arrive in order.
        self._lock = threading.Lock()
        self._writer = os.urandom(8).hex()
        self._number = 0
        #: Occurrences that the full buffer has pushed out.
        self.dropped = 0

    def put(self, said: Notification) -> None:
        with self._lock:
            self._number += 1
            said = replace(said, writer=self._writer, number=self._number)
            letter = Letter(
                self.topic,
                said.app.encode(),
                said,
                encode=self._encode,
                slot=("notification", said.app, said.key),
            )
            letter.ended = lambda outcome: self._ended(letter, outcome)
            self.outbox.put(letter, merge=_merge)

    def _encode(self, said: Notification) -> bytes:
        return encode_notification(replace(said, dropped=self.dropped))

    def _ended(self, letter: Letter, outcome: Outcome) -> None:
        if outcome == "dropped":
            self.dropped += letter.body.count


def _merge(waiting: Notification, new: Notification) -> Notification:
    """One record of two occurrences: the place and number of the one that waits, the words of the new one."""
    return replace(
        waiting,
        text=new.text,
        severity=louder_of(waiting.severity, new.severity),
        last_at_ms=max(waiting.last_at_ms, new.last_at_ms),
        count=waiting.count + new.count,
        repeat_every_ms=new.repeat_every_ms,
        escalate_after_ms=new.escalate_after_ms,
    )


_lock = threading.Lock()
_sender: _Sender | None = None
_wishes: dict[str, Any] = {}


def send(
    text: str,
    *,
    key: str | None = None,
    severity: Severity = "info",
    repeat_every_s: float = 0,
    escalate_after_s: float = 0,
    app: str | None = None,
) -> None:
    """Tell people something; returns at once.

    Args:
        text: What is shown, the newest under its key. Over 2,000 letters it is cut.
        key: What it is about, 1 to 100 letters; the same key again counts instead of showing anew. Without one the text
            itself (or its beginning and a hash), so texts with a figure in them want a key.
        severity: `info`, `warning` or `critical`.
        repeat_every_s: Shown again this often, s, until somebody acknowledges it; 0: once. 1 s to 7 d.
        escalate_after_s: One severity louder each time that nobody has acknowledged it for so long, s; 0: never.
        app: Who says it; inside a managed app its own.

    Raises:
        ValueError: an argument is wrong; says which and what is allowed.
        TypeError: the text is no text.
        OutboxFullError: the buffer is full and was configured to refuse.
    """
    if not isinstance(text, str):
        raise TypeError(f"text: {type(text).__name__} is no text; allowed: str")
    check_severity(severity)
    if key is not None:
        check_key(key)
    # What UTF-8 cannot say would only be met in the background.
    text = text.strip().encode("utf-8", "replace").decode() or "(no text)"
    repeat_ms = _ms(repeat_every_s, what="repeat_every_s")
    escalate_ms = _ms(escalate_after_s, what="escalate_after_s")
    name, generation = _app(app)
    now_ms = time.time_ns() // 1_000_000
    said = Notification(
        app=name,
        generation=generation,
        writer="",
        number=0,
        key=key or key_of(text),
        text=text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…",
        severity=severity,
        first_at_ms=now_ms,
        last_at_ms=now_ms,
        repeat_every_ms=repeat_ms,
        escalate_after_ms=escalate_ms,
    )
    _open().put(said)


def configure(
    *,
    size: int = SIZE,
    when_full: WhenFull = "drop-oldest",
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> None:
    """Set the buffer of this process, before the first notification; later it takes what waits along to Kafka first.

    Args:
        size: Notifications that wait at most; those of one app and key are one.
        when_full: `drop-oldest` pushes out the oldest and counts it (`dropped`, and `notifications list` tells);
            `refuse` makes `send` raise `sdk.outbox_errors.OutboxFullError`.
        bootstrap: Kafka; without it `KAFKA_BOOTSTRAP_SERVERS`, else 127.0.0.1:9092.
        prefix: Of the topics; without it `WATCHKEEP_PREFIX`, else `watchkeep`.

    Raises:
        ValueError: a size below 1, or another word for what happens when it is full.
    """
    wishes = {"size": size, "when_full": when_full, "bootstrap": bootstrap, "prefix": prefix}
    # Checked here, so that the mistake shows where it was made.
    Outbox(_LatePost("nowhere", "check"), size=size, when_full=when_full)
    close()
    with _lock:
        _wishes.clear()
        _wishes.update(wishes)


def flush(within_s: float = GOODBYE_WITHIN_S) -> bool:
    """Wait until everything sent so far is in Kafka; False if some is not in that time, s."""
    sender = _sender
    return sender is None or sender.outbox.flush(within_s)


def waiting() -> int:
    """Notifications that Kafka has not acknowledged yet."""
    sender = _sender
    return 0 if sender is None else sender.outbox.waiting


def dropped() -> int:
    """Occurrences that the full buffer of this process has pushed out."""
    sender = _sender
    return 0 if sender is None else sender.dropped


def close(within_s: float = GOODBYE_WITHIN_S) -> bool:
    """Deliver what waits, at most for that time, s, and stop; the next `send` starts again. False if some was left."""
    global _sender
    with _lock:
        sender, _sender = _sender, None
    return sender is None or sender.outbox.close(within_s)


def _open() -> _Sender:
    global _sender  # noqa: PLW0603  # one buffer per process
    sender = _sender
    if sender is None:
        with _lock:
            sender = _sender
            if sender is None:
                bootstrap = (
                    _wishes.get("bootstrap") or os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092"
                )
                sender = _sender = _Sender(
                    size=_wishes.get("size", SIZE),
                    when_full=_wishes.get("when_full", "drop-oldest"),
                    bootstrap=bootstrap,
                    prefix=_wishes.get("prefix") or os.environ.get("WATCHKEEP_PREFIX") or "watchkeep",
                )
    return sender


def _forget_parent() -> None:
    """In a forked child: the thread stayed behind, and the parent's letters are the parent's."""
    global _sender, _lock
    _sender, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_parent)


def _ms(seconds: float, *, what: str) -> int:
    try:
        again_ms = round(seconds * 1_000)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what}: {seconds!r:.40} is no number of seconds") from None
    check_again(again_ms, what=f"{what} (ms)")
    return again_ms


def _app(app: str | None) -> tuple[str, int]:
    """Who speaks, and in which generation."""
    own = os.environ.get("WATCHKEEP_APP_ID", "")
    name = own if app is None else app
    if app is not None and not app.startswith(("application-", "service-")):
        name = f"application-{app}"
    if not name:
        raise ValueError("app: outside of a managed app it must be named: app='application-...'")
    check_app(name)
    generation = os.environ.get("WATCHKEEP_GENERATION", "")
    if own and generation and name != own:
        raise ValueError(f"app: {own} cannot speak for {name}, only for itself")
    return name, int(generation) if generation.isdecimal() else 0
