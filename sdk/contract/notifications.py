"""Notifications: what apps tell people, as the SDK writes it and as the log counts it. Pure.

1. A record of the notifications topic is one `Notification`: several occurrences under one key may be one record.
2. (app, generation, writer, number) names a record. A writer is drawn once per process, so that two processes of one
   app, and a process that is started again, never use each other's numbers; a writer's numbers only grow.
3. `Notice` and `Sequence` are what a `NotificationsRead` says of a stretch of the topic.
"""

import hashlib
from typing import Literal

import msgspec

from sdk.contract.ids import check_name
from sdk.contract.whole import Whole

Severity = Literal["info", "warning", "critical"]
#: From the quietest to the loudest.
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")

#: Longest text, letters: several screens' worth is a log, not a notification. The SDK cuts what is longer.
TEXT_LENGTH_MAX = 2_000
#: Longest key, letters: it stands in lists.
KEY_LENGTH_MAX = 100
#: Bounds of repetition and escalation, ms: a person cannot answer sooner, and after a week the row is dropped.
AGAIN_MIN_MS, AGAIN_MAX_MS = 1_000, 7 * 86_400_000
#: Longest writer.
WRITER_LENGTH_MAX = 40
#: Letters of a long text that its key begins with.
_KEY_BEGIN = 60


class Notification(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record of the notifications topic."""

    #: `application-<instance>` or `service-<name>`.
    app: str
    #: The generation that speaks, 0 of a program that nobody here runs.
    generation: Whole
    #: The process that speaks.
    writer: str
    #: Grows within a writer.
    number: Whole
    key: str
    #: What the newest occurrence said.
    text: str
    severity: Severity
    #: First and last occurrence on the sender's clock, ms UTC; only ever shown.
    first_at_ms: Whole
    last_at_ms: Whole
    count: Whole = 1
    #: Shown again this often until somebody acknowledges it, 0: once.
    repeat_every_ms: Whole = 0
    #: One severity louder each time that nobody has acknowledged it for so long, 0: never.
    escalate_after_ms: Whole = 0
    #: Occurrences that this writer's full buffer has pushed out so far.
    dropped: Whole = 0


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """All occurrences under one key of one generation in a stretch of the topic."""

    app: str
    key: str
    generation: Whole
    text: str
    #: The loudest among them.
    severity: Severity
    count: Whole
    #: First and last occurrence, the sender's clock bounded by the broker's, ms UTC.
    first_at_ms: Whole
    last_at_ms: Whole
    #: When the first of these records was appended.
    appended_at_ms: Whole
    repeat_every_ms: Whole = 0
    escalate_after_ms: Whole = 0


class Sequence(msgspec.Struct, frozen=True, omit_defaults=True):
    """The highest number of one writer in a stretch of the topic."""

    app: str
    generation: Whole
    writer: str
    number: Whole
    dropped: Whole = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Notification).decode
_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)
#: Largest record read: the longest text and key in the widest encoding, and the rest.
RECORD_BYTES_MAX = 6 * (TEXT_LENGTH_MAX + KEY_LENGTH_MAX) + 4_096


def encode_notification(record: Notification) -> bytes:
    """The record as JSON."""
    return _encode(record)


def decode_notification(value: bytes | None) -> Notification:
    """What a record of the notifications topic says.

    Raises:
        ValueError: it is not one of ours, fit for a dead letter.
    """
    if value is None:
        raise ValueError("notification without a value")
    if len(value) > RECORD_BYTES_MAX:
        raise ValueError(f"notification of {len(value)} bytes, at most {RECORD_BYTES_MAX}")
    try:
        record = _decode(value)
    except _FAULTS as error:
        raise ValueError(f"notification: {error}") from None
    check_notification(record)
    return record


def check_notification(record: Notification) -> None:
    """Raise ValueError, naming field and allowed values, unless `record` can be counted."""
    check_app(record.app)
    check_key(record.key)
    if not record.text or len(record.text) > TEXT_LENGTH_MAX:
        raise ValueError(f"text: {len(record.text)} letters; allowed: 1 to {TEXT_LENGTH_MAX}")
    if not 1 <= len(record.writer) <= WRITER_LENGTH_MAX or not record.writer.isalnum():
        raise ValueError(f"writer: {record.writer!r:.60} is not 1 to {WRITER_LENGTH_MAX} letters and digits")
    for field, low in (("generation", 0), ("number", 1), ("count", 1), ("dropped", 0), ("first_at_ms", 0)):
        if getattr(record, field) < low:
            raise ValueError(f"{field}: {getattr(record, field)} is out of range; allowed: {low} and more")
    if record.last_at_ms < record.first_at_ms:
        raise ValueError(f"last_at_ms: {record.last_at_ms} is before first_at_ms, {record.first_at_ms}")
    check_again(record.repeat_every_ms, what="repeat_every_ms")
    check_again(record.escalate_after_ms, what="escalate_after_ms")


def check_app(app: str) -> None:
    """Raise ValueError unless `app` is the id of an app or a service."""
    kind, dash, name = app.partition("-")
    if not dash or kind not in ("application", "service"):
        raise ValueError(f"app: {app!r:.80} must begin with application- or service-")
    check_name(name, what=kind)


def check_key(key: str) -> None:
    """Raise ValueError unless a notification can be known by `key`."""
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isprintable() or key != key.strip():
        raise ValueError(
            f"key: {key!r:.120} is none; allowed: 1 to {KEY_LENGTH_MAX} printable letters, no blanks at its ends"
        )


def check_severity(severity: str) -> None:
    """Raise ValueError unless it is one of ours."""
    if severity not in SEVERITIES:
        raise ValueError(f"severity: {severity!r:.40} is unknown; allowed: {', '.join(SEVERITIES)}")


def check_again(again_ms: int, *, what: str) -> None:
    """Raise ValueError unless `again_ms` is 0 or a time after which something can be said again."""
    if again_ms and not AGAIN_MIN_MS <= again_ms <= AGAIN_MAX_MS:
        raise ValueError(
            f"{what}: {again_ms} is out of range; allowed: 0 (never), {AGAIN_MIN_MS} to {AGAIN_MAX_MS}"
        )


def louder_of(one: Severity, other: Severity) -> Severity:
    """The louder of two severities."""
    return max(one, other, key=SEVERITIES.index)


def key_of(text: str) -> str:
    """The key of a text that was given none: itself, or its beginning and a hash of all of it."""
    key = " ".join(text.split())
    if 1 <= len(key) <= KEY_LENGTH_MAX and key.isprintable():
        return key
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=6).hexdigest()
    begin = "".join(letter for letter in key[:_KEY_BEGIN] if letter.isprintable()).strip()
    return f"{begin}~{digest}"
