"""What a stretch of the notifications topic comes to: notices, counted once each. Pure.

1. A record counts once: its number is over what the fold has of its writer, and over those before it in the stretch.
2. A record is stale if a newer generation of its app has spoken before it in the topic. So the last words of a copy
   that died count, however late they are read, and those of one that nobody wants any more do not, once its follower
   has spoken; what is left of the latter the fold drops itself.
3. One event has at most `NOTICES_MAX` notices and about `EVENT_BYTES_MAX`: the rest is for the next.
"""

from collections.abc import Sequence as Many
from typing import NamedTuple

from msgspec.structs import replace

from sdk.contract.events import NotificationsRead
from sdk.contract.notifications import SEVERITIES, Notice, Notification, Sequence
from tables.state import State

#: A hundred notices of some 300 bytes; the bytes bound a hundred of the longest, far below the largest record.
NOTICES_MAX, EVENT_BYTES_MAX = 100, 128 << 10
#: What a notice and a sequence take beside the texts, bytes.
_NOTICE_BYTES = 500
#: A sender's clock is believed this far back, ms: a program may have waited so long for Kafka.
OLDEST_MS = 7 * 86_400_000


class Met(NamedTuple):
    """A record of the topic."""

    offset: int
    append_ms: int
    #: None: it is none of ours.
    said: Notification | None


def gather(
    state: State, records: Many[Met], *, term: int, topic_id: str, begin: int, end: int
) -> NotificationsRead | None:
    """The event about what was read from where the fold has read to; None if there is nothing.

    Args:
        state: Folded to the same place.
        records: From there on, in their order; those before it are passed over.
        term: Of who reads.
        topic_id: Of the topic that was read.
        begin: The first offset that the topic still has.
        end: The offset after its last record.
    """
    inbox = state.inbox
    start = inbox.next_offset if inbox.topic_id == topic_id else 0
    if end < start:
        # The log of the topic was cut (power loss): what is written there now is new.
        return NotificationsRead(term, topic_id, start, end, [], [])
    stretch = _Stretch(state, start, lost=max(0, begin - start))
    for record in records:
        if record.offset >= max(start, begin) and not stretch.take(record):
            break
    if stretch.next_offset == start:
        return None
    return NotificationsRead(
        term,
        topic_id,
        start,
        stretch.next_offset,
        list(stretch.notices.values()),
        list(stretch.sequences.values()),
        stretch.doubled,
        stretch.stale,
        stretch.garbled,
        stretch.lost,
    )


class _Stretch:
    """The records taken so far."""

    def __init__(self, state: State, start: int, *, lost: int) -> None:
        self._state = state
        self.next_offset = start + lost
        self.notices: dict[tuple[str, int, str], Notice] = {}
        self.sequences: dict[tuple[str, int, str], Sequence] = {}
        self.doubled = self.stale = self.garbled = 0
        self.lost = lost
        self._bytes = 0
        self._newest: dict[str, int] = {}

    def take(self, met: Met) -> bool:
        """Take a record; False if it is one too many for this event."""
        said = met.said
        if said is None:
            self.garbled += 1
        elif said.generation < self._generation(said.app):
            self.stale += 1
        elif said.number <= self._number(said):
            self.doubled += 1
        elif not self._count(met, said):
            return False
        # The topic has no holes but those that retention makes while somebody reads.
        self.lost += met.offset - self.next_offset
        self.next_offset = met.offset + 1
        return True

    def _generation(self, app: str) -> int:
        speaker = self._state.speakers.get(app)
        known = speaker.generation if speaker is not None else 0
        return max(known, self._newest.get(app, 0))

    def _number(self, said: Notification) -> int:
        here = self.sequences.get((said.app, said.generation, said.writer))
        if here is not None:
            return here.number
        speaker = self._state.speakers.get(said.app)
        if speaker is None or speaker.generation != said.generation:
            return 0
        writer = speaker.writers.get(said.writer)
        return writer.number if writer is not None else 0

    def _count(self, met: Met, said: Notification) -> bool:
        key = (said.app, said.generation, said.key)
        old = self.notices.get(key)
        size = 0 if old is not None else _NOTICE_BYTES + 4 * (len(said.text) + len(said.key))
        is_full = len(self.notices) >= NOTICES_MAX or self._bytes + size > EVENT_BYTES_MAX
        if old is None and self.notices and is_full:
            return False
        self._bytes += size
        self.notices[key] = _notice(met, said) if old is None else _join(old, _notice(met, said))
        self.sequences[said.app, said.generation, said.writer] = Sequence(
            said.app, said.generation, said.writer, said.number, said.dropped
        )
        self._newest[said.app] = said.generation
        return True


def _notice(met: Met, said: Notification) -> Notice:
    last_ms = max(met.append_ms - OLDEST_MS, min(said.last_at_ms, met.append_ms))
    return Notice(
        app=said.app,
        key=said.key,
        generation=said.generation,
        text=said.text,
        severity=said.severity,
        count=said.count,
        first_at_ms=max(met.append_ms - OLDEST_MS, min(said.first_at_ms, last_ms)),
        last_at_ms=last_ms,
        appended_at_ms=met.append_ms,
        repeat_every_ms=said.repeat_every_ms,
        escalate_after_ms=said.escalate_after_ms,
    )


def _join(old: Notice, new: Notice) -> Notice:
    return replace(
        old,
        text=new.text,
        severity=max(old.severity, new.severity, key=SEVERITIES.index),
        count=old.count + new.count,
        first_at_ms=min(old.first_at_ms, new.first_at_ms),
        last_at_ms=max(old.last_at_ms, new.last_at_ms),
        repeat_every_ms=new.repeat_every_ms,
        escalate_after_ms=new.escalate_after_ms,
    )
