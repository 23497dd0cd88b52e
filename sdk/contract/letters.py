"""Dead letters: what is written about a record that could not be used. Pure.

Whoever meets the record writes one, keyed by where it stands, so that several who met it wrote the same.
"""

import base64

import msgspec

#: Bytes of the record quoted, and letters of the reason.
QUOTED_BYTES = 1_000
REASON_LENGTH_MAX = 500


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be used."""

    topic: str
    partition: int
    offset: int
    reason: str
    #: Begin of key and value, base64.
    key: str
    value: str
    size: int
    writer: str

    @property
    def letter_key(self) -> bytes:
        """The key of the letter: where the record stands."""
        return f"{self.topic}/{self.partition}/{self.offset}".encode()


def letter_about(record: object, reason: str, *, writer: str) -> DeadLetter:
    """The letter about a record (aiokafka's or kafka-python's) and why it could not be used."""
    return DeadLetter(
        topic=record.topic,  # type: ignore[attr-defined]
        partition=record.partition,  # type: ignore[attr-defined]
        offset=record.offset,  # type: ignore[attr-defined]
        reason=reason[:REASON_LENGTH_MAX],
        key=_quote(record.key),  # type: ignore[attr-defined]
        value=_quote(record.value),  # type: ignore[attr-defined]
        size=len(record.value or b""),  # type: ignore[attr-defined]
        writer=writer,
    )


def _quote(value: bytes | None) -> str:
    return base64.b64encode((value or b"")[:QUOTED_BYTES]).decode()


_decode = msgspec.json.Decoder(DeadLetter).decode


def decode_letter(value: bytes | None) -> DeadLetter:
    """The letter in a record; raises msgspec.MsgspecError if it is none."""
    return _decode(value or b"")
