"""The replay of a capsule: the live fold and the live watcher, led over its records once more. Pure but for its input.

1. Records of the log and of the heartbeats are taken in the order of their append times, heartbeats first: a fact
   stands on the log after the heartbeat that showed it, and after those that it cites, whatever clocks say. Each
   partition keeps its own order.
2. The watcher begins as that of a worker that has just started, and looks for facts after every record. So it finds
   each at the first moment at which anybody could have, and the log must have none that it did not find by then.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded, decode_event, decode_heartbeat
from sdk.contract.topics import WIDE_PARTITIONS
from streams.log_source import Entry, entry_of, fold_entry
from streams.travel.capsules import Capsule, Course, FoundFact, Kept
from tables.digest import Digest
from tables.facts import find_facts
from tables.rows import Row, decode_row
from tables.silence import PartitionWatch
from tables.state import State
from tables.watcher import Watcher

#: What a watcher writes.
FACTS = (
    e.NodeRegistered,
    e.ProvisionerRegistered,
    e.SourceFellSilent,
    e.SourceReturned,
    e.AppStarted,
    e.AppExited,
    e.NodeExited,
    e.OverdueShareChanged,
)
#: A fact found this close to the end of the stretch may stand on the log after it, ms: the next try of a worker
#: whose first append was lost comes after 8 s.
_LATE_MS = 10_000
_DIGITS = 16


class Told(NamedTuple):
    """A record of the log as the replay tells it."""

    entry: Entry
    #: Why the fold dropped it; empty if it counted.
    dropped: str
    #: How the watcher found it, of a fact that it found.
    found: FoundFact | None


class Replay(NamedTuple):
    """What a replay found, and the story."""

    course: Course
    told: list[Told]


class Difference(NamedTuple):
    """Where a replay parts from what was saved."""

    offset: int
    text: str


class Uncounted(State):
    """A state without counters: a new version of an event is counted under its own name."""

    def put(self, table: str, key: str, row: Row) -> None:
        """Set a row, unless it counts."""
        if table != "counters":
            super().put(table, key, row)


def replay(capsule: Capsule) -> Replay:
    """Lead fold and watcher over the records of a capsule."""
    state = _begin(capsule)
    digest, watcher = Digest(state), Watcher(state)
    changed = state.listen()
    left = _catch_up(capsule, watcher)
    found: dict[str, FoundFact] = {}
    found_ms: dict[str, int] = {}
    hashes, dropped, missed, told = [], [], [], []
    begins_ms = _begins_ms(capsule)

    def look(at_ms: int, place: tuple[int, int]) -> None:
        # Whoever leads looks for the share of the overdue too.
        for fact in find_facts(watcher, topic_id=capsule.heartbeats_id, leads=True):
            if fact.event_id not in found:
                kind = type(fact.event).__name__
                found[fact.event_id] = FoundFact(fact.event_id, kind, state.offset, *place)
                found_ms[fact.event_id] = at_ms

    _set_fresh(watcher, begins_ms)
    look(begins_ms, (-1, -1))
    for at_ms, record, partition in _merge(capsule, left):
        _set_fresh(watcher, at_ms)
        if partition >= 0:
            _hear(watcher, partition, record)
            look(at_ms, (partition, record.offset))
            continue
        entry = entry_of(record.offset, record.append_ms, record.raw)
        outcome = fold_entry(state, entry)
        hashes.append(digest.take()[:_DIGITS])
        if outcome.dropped:
            dropped.append(entry.offset)
        for table, key in changed:
            watcher.row_changed(table, key)
        changed.clear()
        known = found.get(entry.said.id) if isinstance(entry.said, Recorded) else None
        told.append(Told(entry, outcome.dropped, known))
        if known is None and outcome.accepted and _is_ours(capsule, entry):
            missed.append(entry.offset)
        look(at_ms, (-1, -1))
    written = {each.entry.said.id for each in told if isinstance(each.entry.said, Recorded)}
    last_ms = max((each.entry.append_ms for each in told), default=0)
    unwritten = [key for key, ms in found_ms.items() if key not in written and ms < last_ms - _LATE_MS]
    return Replay(Course(hashes, dropped, list(found.values()), missed, unwritten), told)


def compare_courses(capsule: Capsule, course: Course) -> Difference | None:
    """The first difference between what was found when the capsule was saved and what is found now."""
    was, differences = capsule.course, []
    for number, (old, new) in enumerate(zip(was.hashes, course.hashes, strict=True)):
        if old != new:
            text = f"the fold has the hash {new}…, it had {old}…"
            differences.append(Difference(capsule.start + number, text))
            break
    for old_fact, new_fact in zip(was.found, course.found, strict=False):
        if old_fact != new_fact:
            offset = min(old_fact.folded, new_fact.folded)
            text = f"the watcher finds {_fact_words(new_fact)}, it found {_fact_words(old_fact)}"
            differences.append(Difference(offset, text))
            break
    else:
        shorter = min(len(was.found), len(course.found))
        differences += [
            Difference(fact.folded, f"the watcher {verb} {_fact_words(fact)}")
            for facts, verb in ((was.found, "does not find any more"), (course.found, "finds now"))
            for fact in facts[shorter : shorter + 1]
        ]
    differences += [
        Difference(offset, "the watcher does not find this fact of the log any more")
        for offset in course.missed
        if offset not in was.missed
    ]
    differences += [
        Difference(offset, f"the fold {'drops' if offset in course.dropped else 'takes'} this record now")
        for offset in sorted({*was.dropped} ^ {*course.dropped})
    ]
    return min(differences, default=None)


def _fact_words(fact: FoundFact) -> str:
    place = f"heartbeat {fact.partition}/{fact.offset}" if fact.partition >= 0 else f"event {fact.folded}"
    return f"{fact.kind} {fact.event_id} at {place}"


def _begin(capsule: Capsule) -> State:
    """The state before the stretch."""
    state = Uncounted()
    if capsule.rows:
        rows = [(row.table, row.key, decode_row(row.table, row.row.encode())) for row in capsule.rows]
        state.load(rows, offset=capsule.events[0].offset - 1, now_ms=capsule.now_ms)
    for record in capsule.events:
        if record.offset < capsule.start:
            fold_entry(state, entry_of(record.offset, record.append_ms, record.raw))
    return state


def _catch_up(capsule: Capsule, watcher: Watcher) -> dict[int, list[Kept]]:
    """Read what was on the heartbeats before the stretch; what is left of each partition."""
    begins_ms = _begins_ms(capsule)
    left = {}
    for partition, records in sorted(capsule.heartbeats.items()):
        watcher.begin(PartitionWatch(partition, begin=records[0].offset if records else 0))
        before = next(
            (at for at, record in enumerate(records) if record.append_ms >= begins_ms), len(records)
        )
        for record in records[:before]:
            _hear(watcher, partition, record)
        left[partition] = records[before:]
        watcher.fresh_at_ms[partition] = 0
        watcher.caught_up(partition)
    return left


def _begins_ms(capsule: Capsule) -> int:
    return next(record.append_ms for record in capsule.events if record.offset >= capsule.start)


def _set_fresh(watcher: Watcher, at_ms: int) -> None:
    """Everything up to this moment was read."""
    watcher.now_ms = at_ms
    watcher.fresh_at_ms.update(dict.fromkeys(watcher.watches, at_ms))


def _hear(watcher: Watcher, partition: int, record: Kept) -> None:
    try:
        said = decode_heartbeat(record.raw)
    except DecodeError:
        said = None
    watcher.apply(partition, record.offset, record.append_ms, said)


def _merge(capsule: Capsule, heartbeats: dict[int, list[Kept]]) -> Iterator[tuple[int, Kept, int]]:
    """Time, record and partition of all records of the stretch; -1 is the log."""
    heads = {partition: deque(_timed(records)) for partition, records in heartbeats.items()}
    for at_ms, record in _timed(record for record in capsule.events if record.offset >= capsule.start):
        yield from _read_on(heads, at_ms, _cited(record))
        yield at_ms, record, -1
    yield from _read_on(heads, sys.maxsize, {})


def _read_on(
    heads: dict[int, deque[tuple[int, Kept]]], until_ms: int, until: dict[int, int]
) -> Iterator[tuple[int, Kept, int]]:
    """Take the heartbeats up to a time, and those up to an offset of their partition, the oldest first."""
    while True:
        ready = [
            (head[0][0], partition)
            for partition, head in heads.items()
            if head and (head[0][0] <= until_ms or head[0][1].offset <= until.get(partition, -1))
        ]
        if not ready:
            return
        at_ms, partition = min(ready)
        yield at_ms, heads[partition].popleft()[1], partition


def _cited(record: Kept) -> dict[int, int]:
    """The heartbeats that must have been read before a fact was written: partition, last offset."""
    try:
        event: Any = decode_event(record.raw).event
    except DecodeError:
        return {}
    if isinstance(event, e.SourceFellSilent):
        return {event.partition: event.until_offset}
    if isinstance(event, e.SourceReturned):
        return {event.partition: event.offset}
    if isinstance(event, e.OverdueShareChanged):
        return {at.partition: at.offset for at in event.positions}
    at = getattr(event, "position", None)
    return {} if at is None else {at.partition: at.offset}


def _timed(records: Iterable[Kept]) -> Iterator[tuple[int, Kept]]:
    """Records with a time that never steps back."""
    now_ms = 0
    for record in records:
        now_ms = max(now_ms, record.append_ms)
        yield now_ms, record


def _is_ours(capsule: Capsule, entry: Entry) -> bool:
    """Whether a record is a fact that the watcher can find in the heartbeats that are here."""
    if isinstance(entry.said, DecodeError) or not isinstance(entry.said.event, FACTS):
        return False
    is_share = isinstance(entry.said.event, e.OverdueShareChanged)
    return not is_share or len(capsule.heartbeats) == WIDE_PARTITIONS
