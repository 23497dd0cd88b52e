"""The published view as it stands on the state topics, compared with the fold. Shell.

Rules (DESIGN 4, 5):
1. What stands is what was read back. The owner offers every row that changed to the `views` processor, and again
   whatever stands otherwise: a paused former owner may have written old rows over new ones.
2. `progress` N is written once every row up to N was read back.
3. A row with a higher `as_of` than this fold's is never overwritten; it waits until the fold is there.
"""

from itertools import takewhile
from typing import NamedTuple

import msgspec
from aiokafka.errors import KafkaError

from sdk.contract.topics import VIEW_TABLES, Topics
from streams.core import monotonic
from streams.core.appender import Appender
from streams.core.handover import Handover
from tables.state import State
from tables.views import (
    PROGRESS_KEY,
    ViewKey,
    all_views,
    content_of,
    decode_progress,
    encode_progress,
    render,
    view_keys,
)

#: A row that was not read back within this time is offered again, ms.
AGAIN_MS = 8_000
#: After a turn that offered so many rows the next one that offers any comes later, by this for each of them and at
#: most so long, ms: a row costs Faust half a millisecond of the interpreter that the planner needs just then, and the
#: row of a node, which changes with each of its apps, would be written dozens of times. Readers fold what the view
#: does not cover, 20,000 events in half a second.
FLOOD_ROWS = 64
FLOOD_MS_PER_ROW = 16
FLOOD_MAX_MS = 10_000
#: Rows of the fold that never wait: the SDK reads them as they stand, without a fold of its own.
AT_ONCE = frozenset({"devices", "bindings"})
#: Progress is written at most this often, ms: readers fold what it does not cover.
PROGRESS_EVERY_MS = 200


class Standing(NamedTuple):
    """A row as it was read back; the content only as its hash."""

    as_of: int
    content: int


class _Flight(NamedTuple):
    """A row on its way."""

    as_of: int
    at_ms: int
    #: Offset up to which the row that stands is still right, kept when the row is offered again.
    floor: int
    #: Hash of the content, None of a row that is gone.
    content: int | None


class Viewing:
    """What stands on the state topics, what ought to, and what is on its way."""

    def __init__(self, state: State, appender: Appender, topics: Topics, handover: Handover) -> None:
        self._state = state
        self._appender = appender
        self._topics = topics
        self._handover = handover
        self._changed = state.listen()
        self._tables = {topics.state(table): table for table in VIEW_TABLES}
        self._standing: dict[ViewKey, Standing] = {}
        #: Offered rows not read back yet.
        self._flight: dict[ViewKey, _Flight] = {}
        #: Offset folded at the end of the last turn: what changed since changed after it.
        self._turned_at = -1
        #: Rows that stand otherwise than the fold has them.
        self._odd: set[ViewKey] = set()
        self._owns = False
        self._compare_all = False
        #: Before this time, after a flood, only the rows of `AT_ONCE` are offered; what else changed since.
        self._again_at_ms = 0
        self._waiting: set[tuple[str, str]] = set()
        #: What this owner wrote last and when, and what stands: an older record may have come late.
        self._progress = -1
        self._progress_at_ms = 0
        self._progress_standing = -1

    def owner_changed(self, owns: bool) -> None:
        """Faust gave this worker the view, or took it."""
        self._owns = owns
        self._compare_all = owns
        self._flight.clear()
        self._odd.clear()
        self._waiting.clear()
        self._progress = -1
        self._again_at_ms = 0
        # Nothing is known of the rows that a former owner left.
        self._turned_at = -1

    def read_back(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """A record of a state topic.

        Raises:
            ValueError: it is none of ours.
        """
        table = self._tables[topic]
        try:
            view = ViewKey(table, (key or b"").decode())
        except UnicodeDecodeError:
            raise ValueError("state: the key is not UTF-8") from None
        if view == ViewKey("platform", PROGRESS_KEY):
            self._read_progress(value)
            return
        if value is None:
            self._standing.pop(view, None)
            self._judge(view)
            return
        try:
            as_of, content = content_of(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._standing[view] = Standing(-1, 0)
            self._judge(view)
            raise ValueError(f"state: {error}") from None
        self._standing[view] = Standing(as_of, hash(content))
        self._judge(view)

    def _read_progress(self, value: bytes | None) -> None:
        try:
            self._progress_standing = decode_progress(value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._progress = -1
            raise ValueError(f"state: {error}") from None

    def _judge(self, view: ViewKey) -> None:
        if self._owns:
            self._odd.add(view)

    def turn(self, *, readers_at_end: bool) -> None:
        """Offer what changed or stands otherwise, and write progress; only the owner does."""
        changed, keys = self._changed.copy(), set()
        self._changed.clear()
        if not self._owns or not readers_at_end:
            self._compare_all |= self._owns and bool(changed)
            return
        if monotonic.now_ms() < self._again_at_ms:
            at_once = {it for it in changed if it[0] in AT_ONCE}
            self._waiting |= changed - at_once
            self._offer(self._views_of(at_once))
            return
        if self._compare_all:
            self._compare_all = False
            keys = set(all_views(self._state)) | set(self._standing)
        keys |= self._views_of(changed | self._waiting) | self._odd
        self._waiting.clear()
        self._odd.clear()
        offered = self._offer(keys)
        if offered >= FLOOD_ROWS:
            self._again_at_ms = monotonic.now_ms() + min(offered * FLOOD_MS_PER_ROW, FLOOD_MAX_MS)
        self._turned_at = self._state.offset
        self._write_progress()

    def _views_of(self, changed: set[tuple[str, str]]) -> set[ViewKey]:
        return {view for table, key in changed for view in view_keys(self._state, table, key)}

    def _offer(self, keys: set[ViewKey]) -> int:
        """Offer those of the rows that stand otherwise and are not on their way; how many they are."""
        now_ms = monotonic.now_ms()
        # The oldest come first: each is put behind the others when it is offered.
        lost = takewhile(lambda it: now_ms - it[1].at_ms >= AGAIN_MS, self._flight.items())
        keys |= {view for view, _ in lost}
        rows: dict[ViewKey, bytes | None] = {}
        for view in keys:
            value, content = self._render(view)
            standing = self._standing.get(view)
            if (None if standing is None else standing.content) == content:
                self._flight.pop(view, None)
            elif standing is not None and standing.as_of > self._state.offset:
                self._odd.add(view)
            elif self._is_flying(view, now_ms, standing, content):
                continue
            else:
                rows[view] = value
                before = self._flight.pop(view, None)
                floor = before.floor if before is not None else self._turned_at
                self._flight[view] = _Flight(self._state.offset, now_ms, floor, content)
        self._handover.offer(rows, folded=self._state.offset)
        return len(rows)

    def _render(self, view: ViewKey) -> tuple[bytes | None, int | None]:
        """The row as it ought to stand and the hash of its content; nothing of a row that is gone."""
        value = render(self._state, view)
        return value, None if value is None else hash(content_of(value)[1])

    def _is_flying(self, view: ViewKey, now_ms: int, standing: Standing | None, content: int | None) -> bool:
        """Whether the row as it is now was offered and has not been read back yet.

        An older version that is read back meanwhile is no reason to offer the newer one again.
        """
        flight = self._flight.get(view)
        if flight is None or flight.content != content or now_ms - flight.at_ms >= AGAIN_MS:
            return False
        return standing is None or standing.as_of < flight.as_of

    def _write_progress(self) -> None:
        now_ms = monotonic.now_ms()
        waited_ms = now_ms - self._progress_at_ms
        if self._odd or waited_ms < PROGRESS_EVERY_MS:
            return
        done = min((flight.floor for flight in self._flight.values()), default=self._state.offset)
        is_lost = self._progress_standing != self._progress and waited_ms >= AGAIN_MS
        if done <= self._progress and not is_lost:
            return
        self._progress, self._progress_at_ms = done, now_ms
        topic, value = self._topics.state("platform"), encode_progress(done)
        self._appender.later(self._put_progress(topic, value))

    async def _put_progress(self, topic: str, value: bytes) -> None:
        try:
            await self._appender.put(topic, PROGRESS_KEY.encode(), value)
        except KafkaError:
            self._progress = -1
