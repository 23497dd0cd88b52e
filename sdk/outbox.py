"""What an app says on its way to Kafka: a bounded buffer that one thread empties in order. Importing it opens nothing.

    outbox = Outbox(KafkaPost("127.0.0.1:9092", "application-1"), size=1_000, when_full="drop-oldest")
    outbox.put(Letter("watchkeep.requests.v1", key=b"...", body=b"..."))     # returns at once, Kafka there or not
    outbox.close(within_s=5.0)                                              # waits until all is delivered

1. Whoever puts a letter in is held for microseconds; a full buffer drops its oldest letter and counts it, or refuses
   the new one: the author chooses.
2. One letter is under way at a time, and it is tried until Kafka has acknowledged it or its time is over: so letters
   arrive in order, and at least once. Whoever reads them drops what comes twice, by an id or a number in the letter.
3. A letter that still waits can take up another one of the same slot: a flood becomes one letter with a count.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from sdk.outbox_errors import OutboxFullError

#: What happens to the next letter when `size` of them wait.
WhenFull = Literal["drop-oldest", "refuse"]
#: How a letter ended: acknowledged by Kafka, pushed out of a full buffer, or too old to be of use.
Outcome = Literal["sent", "dropped", "expired"]

#: Letters that wait at most: with 1 KiB each a minute of 16 a second fits into 1 MiB.
SIZE = 1_000
#: Between two tries of one letter: doubling from here to there. Source: DESIGN 6, as for beats.
RETRY_PAUSE_S = 0.1
RETRY_PAUSE_MAX_S = 1.0
#: How long a program that ends waits for its last letters.
GOODBYE_WITHIN_S = 5.0

_log = logging.getLogger("watchkeep.outbox")


@dataclass(slots=True)
class Letter:
    """One record to be written."""

    topic: str
    key: bytes
    #: What it says: bytes, or anything that `encode` makes bytes of when its turn has come.
    body: Any
    encode: Callable[[Any], bytes] = bytes
    partition: int = 0
    #: Until when it is of use, s of `time.monotonic()`.
    until_s: float = float("inf")
    #: Letters of one slot that wait become one; None: it stands for itself.
    slot: Hashable = None
    #: Called once with how it ended, from the outbox's thread or from that of whoever pushed it out.
    ended: Callable[[Outcome], None] | None = None


class Post(Protocol):
    """Where letters go."""

    #: For the log.
    goal: str

    def send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        """Deliver a record, acknowledged; any exception means that it may not have arrived."""

    def close(self) -> None:
        """Let go of connections; the next `send` opens them again."""


class Outbox:
    """Letters in order, and the thread that delivers them; belongs to everybody in the process."""

    def __init__(self, post: Post, *, size: int = SIZE, when_full: WhenFull = "drop-oldest") -> None:
        """Prepare; the thread starts with the first letter.

        Raises:
            ValueError: a size below 1, or another word for what happens when it is full.
        """
        if size < 1:
            raise ValueError(f"size: {size} is out of range; allowed: 1 and more")
        if when_full not in ("drop-oldest", "refuse"):
            raise ValueError(f"when_full: {when_full!r} is unknown; allowed: drop-oldest, refuse")
        self._post = post
        self._size = size
        self._when_full = when_full
        self._changed = threading.Condition()
        self._waiting: deque[Letter] = deque()
        self._under_way: Letter | None = None
        self._slots: dict[Hashable, Letter] = {}
        self._thread: threading.Thread | None = None
        self._is_closing = False
        #: The same for the thread between two tries: who puts a letter in must not wake it, or would wait for it.
        self._closing = threading.Event()
        self._is_lost = False
        #: Letters pushed out of the full buffer since the start.
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Letters that are not acknowledged yet, the one under way included."""
        with self._changed:
            return len(self._waiting) + (self._under_way is not None)

    def put(self, letter: Letter, *, merge: Callable[[Any, Any], Any] | None = None) -> None:
        """Take a letter; `merge(waiting body, new body)` joins it to one of its slot that still waits.

        Raises:
            OutboxFullError: it is full and was made to refuse.
            RuntimeError: it is closed.
        """
        pushed_out: Letter | None = None
        with self._changed:
            if self._is_closing:
                raise RuntimeError("The outbox is closed.")
            waiting = self._slots.get(letter.slot) if letter.slot is not None and merge is not None else None
            if waiting is not None and merge is not None:
                waiting.body = merge(waiting.body, letter.body)
                return
            if len(self._waiting) >= self._size:
                if self._when_full == "refuse":
                    raise OutboxFullError(f"{self._size} letters wait for {self._post.goal} already.")
                pushed_out = self._take()
                self.dropped += 1
            self._waiting.append(letter)
            if letter.slot is not None:
                self._slots[letter.slot] = letter
            self._start()
            if self._under_way is None:
                self._changed.notify_all()
        if pushed_out is not None:
            _end(pushed_out, "dropped")

    def flush(self, within_s: float) -> bool:
        """Wait until every letter has ended; False if some have not in that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._under_way is None, within_s)

    def close(self, within_s: float = GOODBYE_WITHIN_S) -> bool:
        """Deliver what waits, at most for that time, and stop; False if letters were left."""
        delivered = self.flush(within_s)
        with self._changed:
            self._is_closing = True
            self._closing.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(1.0)
        atexit.unregister(self.close)
        return delivered

    def __enter__(self) -> Self:
        """The outbox itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _take(self) -> Letter:
        letter = self._waiting.popleft()
        if self._slots.get(letter.slot) is letter:
            del self._slots[letter.slot]
        return letter

    def _run(self) -> None:
        try:
            while (letter := self._next()) is not None:
                outcome = self._deliver(letter)
                with self._changed:
                    self._under_way = None
                    self._changed.notify_all()
                if outcome is not None:
                    _end(letter, outcome)
        finally:
            self._post.close()

    def _next(self) -> Letter | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or self._waiting)
            if self._is_closing:
                return None
            self._under_way = self._take()
            return self._under_way

    def _deliver(self, letter: Letter) -> Outcome | None:
        """Try until it is through or its time is over; None if we are closed before."""
        pause_s = RETRY_PAUSE_S
        while not self._is_closing:
            if time.monotonic() >= letter.until_s:
                return "expired"
            # For each try: some letters say how much of their time is left.
            value = letter.encode(letter.body)
            try:
                self._post.send(letter.topic, letter.key, value, letter.partition)
            except Exception as error:  # noqa: BLE001 - whatever a client library throws: the letter stays ours
                self._note_lost(error)
                self._pause(min(pause_s, max(0.0, letter.until_s - time.monotonic())))
                pause_s = min(2 * pause_s, RETRY_PAUSE_MAX_S)
            else:
                self._note_back()
                return "sent"
        return None

    def _pause(self, for_s: float) -> None:
        self._closing.wait(for_s)

    def _note_lost(self, error: Exception) -> None:
        if not self._is_lost:
            self._is_lost = True
            _log.warning(
                "%s does not take letters (%s); keeping them", self._post.goal, str(error) or repr(error)
            )

    def _note_back(self) -> None:
        if self._is_lost:
            self._is_lost = False
            _log.warning("%s takes letters again", self._post.goal)


def _end(letter: Letter, outcome: Outcome) -> None:
    if letter.ended is not None:
        letter.ended(outcome)
