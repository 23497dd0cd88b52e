"""Dead letters: records that could not be used, each once, with the reason. Shell.

Every worker meets the same garbage; the leader writes a letter, keyed by topic, partition and offset, unless it
was read back already. The others keep theirs until they read the leader's, so a change of leader loses none.
"""

import msgspec

from sdk.contract.letters import DeadLetter, decode_letter, letter_about
from sdk.contract.topics import Topics
from streams.core import monotonic
from streams.core.appender import Appender

__all__ = ["DeadLetter", "Letters", "decode_letter"]

#: Letters kept until written; with more garbage than this at once, the oldest are counted only.
PENDING_MAX = 20_000
#: A letter is written again if it was not read back within this time, ms.
AGAIN_MS = 8_000


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
        letter = letter_about(record, reason, writer=self._appender.writer)
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
