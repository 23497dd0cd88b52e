"""Dead letters: records that could not be used, each once, with the reason. Shell.

Every worker meets the same garbage; the leader writes a letter, keyed by topic, partition and offset, unless it
was read back already. The others keep theirs until they read the leader's, so a change of leader loses none.
"""

import base64

import msgspec

from sdk.contract.topics import Topics
from streams.core import monotonic
from streams.core.appender import Appender

#: Letters kept until written; with more garbage than this at once, the oldest are counted only.
PENDING_MAX = 20_000
#: A letter is written again if it was not read back within this time, ms.
AGAIN_MS = 8_000
#: Bytes of the record quoted.
QUOTED_BYTES = 1_000


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


_decode = msgspec.json.Decoder(DeadLetter).decode


def decode_letter(value: bytes | None) -> DeadLetter:
    """The letter in a record; raises msgspec.MsgspecError if it is none."""
    return _decode(value or b"")


class Letters:
    """Letters to write and letters read back."""

    def __init__(self, appender: Appender, topics: Topics) -> None:
        self._appender = appender
        self._topic = topics.dead_letters
        self._pending: dict[bytes, DeadLetter] = {}
        self._sent_ms: dict[bytes, int] = {}
        self._written: set[bytes] = set()
        self.overflow = 0

    def meet(self, record: object, reason: str) -> bytes:
        """A record (aiokafka's) that could not be used, and why; the key of its letter."""
        letter = DeadLetter(
            topic=record.topic,  # type: ignore[attr-defined]
            partition=record.partition,  # type: ignore[attr-defined]
            offset=record.offset,  # type: ignore[attr-defined]
            reason=reason[:500],
            key=_quote(record.key),  # type: ignore[attr-defined]
            value=_quote(record.value),  # type: ignore[attr-defined]
            size=len(record.value or b""),  # type: ignore[attr-defined]
            writer=self._appender.writer,
        )
        if letter.letter_key in self._written:
            return letter.letter_key
        if len(self._pending) >= PENDING_MAX:
            self._pending.pop(next(iter(self._pending)))
            self.overflow += 1
        self._pending[letter.letter_key] = letter
        return letter.letter_key

    @property
    def pending(self) -> list[DeadLetter]:
        """Letters that nobody has read back yet; saved, because what they are about will not be read again."""
        return list(self._pending.values())

    def restore(self, letters: list[DeadLetter]) -> None:
        """Take up letters saved before a restart."""
        self._pending.update((letter.letter_key, letter) for letter in letters)

    def is_written(self, key: bytes) -> bool:
        """Whether a letter stands on its topic."""
        return key in self._written

    def read_back(self, key: bytes) -> None:
        """A letter stands on its topic."""
        self._written.add(key)
        self._pending.pop(key, None)
        self._sent_ms.pop(key, None)

    def write(self) -> None:
        """Write what is pending; only the leader does, and only when it has read the letters to their end."""
        now_ms = monotonic.now_ms()
        for key, letter in list(self._pending.items()):
            if now_ms - self._sent_ms.get(key, -AGAIN_MS) >= AGAIN_MS:
                self._sent_ms[key] = now_ms
                self._appender.later(self._appender.put(self._topic, key, msgspec.json.encode(letter)))


def _quote(value: bytes | None) -> str:
    return base64.b64encode((value or b"")[:QUOTED_BYTES]).decode()
