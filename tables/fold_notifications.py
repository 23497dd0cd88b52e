"""Fold of notifications: what was read of their topic, who answered, what grew louder. Pure; part of `tables.fold`.

1. A `NotificationsRead` counts only if it begins where the fold has read to, so each record of the topic counts once,
   whoever read it. It touches a row per notice, a row per app that spoke, and the inbox.
2. A row is `open`, then `acknowledged`, then `cleared`; a person may clear what nobody acknowledged. What happens
   again counts on in the same row; if it is louder than what was acknowledged, the row is open again. After it was
   cleared, it opens anew: count and number begin anew.
3. An open row that nobody answers grows louder (`TimerFired` of its wake). That it is shown again meanwhile is not on
   the log: `repeats_of` says how often, from the row and the time.
4. Rows are bounded: a cleared one goes after a day, any after a week without an occurrence, and what is too many for
   one app or in all goes too, cleared ones first and then the longest unheard.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import Event, NotificationAcknowledged, NotificationCleared, NotificationsRead
from sdk.contract.notifications import SEVERITIES, Notice, Sequence, louder_of
from tables.fold_nodes import term_fault
from tables.fold_requests import remember, request_fault
from tables.notification_rows import NotificationRow, SpeakerRow, Writer
from tables.rows import ONLY, Wake
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta

#: How long rows stay, ms of log time: cleared ones for who asks what it was, the others as long as their records.
CLEARED_MS = 86_400_000
UNHEARD_MS = 7 * 86_400_000
#: Rows of one app, and in all: more than anybody reads, few enough to look through. An app whose texts have figures in
#: them and no key makes a row each.
ROWS_OF_APP_MAX, ROWS_MAX = 200, 5_000
#: Apps whose sequences are remembered, and processes of each: a repeat of a record comes within seconds.
SPEAKERS_MAX, WRITERS_MAX = 5_000, 32
#: Old rows are looked for this often, ms of log time.
SWEEP_MS = 3_600_000
#: A copy may speak on this long after a newer one runs, ms: the longest usual grace of a stop, and its orders' way.
GOODBYE_MS = 10_000


def row_key(app: str, key: str) -> str:
    """The key of a row: ids of apps have no slash in them."""
    return f"{app}/{key}"


# --- what was read -------------------------------------------------------------------------------------


def reading_fault(state: State, event: NotificationsRead) -> str:
    """Why a stretch of the topic does not count, or an empty string."""
    if fault := term_fault(state, event.term):
        return fault
    inbox = state.inbox
    if event.topic_id != inbox.topic_id:
        return "" if event.from_offset == 0 <= event.to_offset else "another topic is read from its start"
    if event.from_offset != inbox.next_offset:
        return f"the topic was read to {inbox.next_offset}"
    return "" if event.to_offset >= 0 else "it ends before the topic begins"


def _read(state: State, event: NotificationsRead, meta: "Meta") -> str:
    if fault := reading_fault(state, event):
        return fault
    for sequence in event.sequences:
        _note_sequence(state, sequence, meta)
    stale = sum(not _note(state, notice, meta) for notice in event.notices)
    inbox = state.inbox
    state.put(
        "inbox",
        ONLY,
        replace(
            inbox,
            topic_id=event.topic_id,
            next_offset=event.to_offset,
            doubled=inbox.doubled + event.doubled,
            stale=inbox.stale + event.stale + stale,
            garbled=inbox.garbled + event.garbled,
            lost=inbox.lost + event.lost,
        ),
    )
    _keep_bounds(state, {notice.app for notice in event.notices}, meta)
    return ""


def _note_sequence(state: State, said: Sequence, meta: "Meta") -> None:
    """A process has spoken; a newer generation makes the ones before it stale."""
    old = state.speakers.get(said.app, SpeakerRow(said.app, said.generation))
    if said.generation < old.generation:
        return
    writers = dict(old.writers) if said.generation == old.generation else {}
    known = writers.pop(said.writer, Writer(0))
    writers[said.writer] = Writer(max(known.number, said.number), max(known.dropped, said.dropped))
    while len(writers) > WRITERS_MAX:
        del writers[next(iter(writers))]
    row = replace(
        old,
        generation=said.generation,
        writers=writers,
        heard_at_ms=meta.append_ms,
        dropped=old.dropped + max(0, said.dropped - known.dropped),
    )
    state.put("speakers", said.app, row)


def _note(state: State, notice: Notice, meta: "Meta") -> bool:
    """Count a notice; False if it is that of a copy that ought not to speak any more."""
    speaker = state.speakers.get(notice.app)
    if speaker is None:
        # Its sequence always comes with it; who wrote this event left it out.
        speaker = SpeakerRow(notice.app, notice.generation)
    if _is_superseded(state, notice):
        state.put("speakers", notice.app, replace(speaker, stale=speaker.stale + 1))
        return False
    state.put("speakers", notice.app, replace(speaker, occurrences=speaker.occurrences + notice.count))
    key = row_key(notice.app, notice.key)
    old = state.notifications.get(key)
    if old is None or old.state == "cleared":
        state.put("notifications", key, _opened(state, notice, meta))
        return True
    severity = louder_of(old.severity, notice.severity)
    is_louder = severity != old.severity
    row = replace(
        old,
        text=notice.text,
        severity=severity,
        count=old.count + notice.count,
        first_at_ms=min(old.first_at_ms, notice.first_at_ms),
        last_at_ms=max(old.last_at_ms, notice.last_at_ms),
        heard_at_ms=meta.append_ms,
        generation=notice.generation,
        repeat_every_ms=notice.repeat_every_ms,
        escalate_after_ms=notice.escalate_after_ms,
    )
    if old.state == "acknowledged" and is_louder:
        row = replace(row, state="open", by="", answered_at_ms=0, opened_at_ms=meta.append_ms)
    if row.state == "open" and (old.state != "open" or row.escalate_after_ms != old.escalate_after_ms):
        row = replace(row, wake=_wake(row, meta))
    if row.severity == SEVERITIES[-1]:
        row = replace(row, wake=None)
    state.put("notifications", key, row)
    return True


def _is_superseded(state: State, notice: Notice) -> bool:
    """Whether a newer copy of the app had run for a while when this was said."""
    app = state.apps.get(notice.app)
    if app is None or not 0 < notice.generation < app.generation or app.phase != "running":
        return False
    return notice.appended_at_ms > app.started_at_ms + GOODBYE_MS


def _opened(state: State, notice: Notice, meta: "Meta") -> NotificationRow:
    inbox = state.inbox
    state.put("inbox", ONLY, replace(inbox, numbers=inbox.numbers + 1))
    row = NotificationRow(
        app=notice.app,
        key=notice.key,
        number=inbox.numbers + 1,
        text=notice.text,
        severity=notice.severity,
        state="open",
        count=notice.count,
        first_at_ms=notice.first_at_ms,
        last_at_ms=notice.last_at_ms,
        opened_at_ms=meta.append_ms,
        heard_at_ms=meta.append_ms,
        generation=notice.generation,
        repeat_every_ms=notice.repeat_every_ms,
        escalate_after_ms=notice.escalate_after_ms,
    )
    return replace(row, wake=_wake(row, meta))


# --- louder and again ----------------------------------------------------------------------------------


def _wake(row: NotificationRow, meta: "Meta") -> Wake | None:
    """When an open row grows louder if nobody answers."""
    if not row.escalate_after_ms or row.severity == SEVERITIES[-1]:
        return None
    return Wake(meta.offset, meta.append_ms + row.escalate_after_ms)


def escalate(row: NotificationRow, meta: "Meta") -> NotificationRow:
    """The row after its wake: nobody has answered, so it is one severity louder."""
    louder = SEVERITIES[min(SEVERITIES.index(row.severity) + 1, len(SEVERITIES) - 1)]
    row = replace(row, severity=louder, escalations=row.escalations + 1)
    return replace(row, wake=_wake(row, meta))


def repeats_of(row: NotificationRow, now_ms: int) -> int:
    """How often a row has been shown again by `now_ms` because nobody acknowledged it."""
    if row.state != "open" or not row.repeat_every_ms:
        return 0
    return max(0, now_ms - row.opened_at_ms) // row.repeat_every_ms


# --- answers -------------------------------------------------------------------------------------------


def answer_fault(state: State, event: NotificationAcknowledged | NotificationCleared) -> str:
    """Why a person's answer does not count, or an empty string."""
    row = state.notifications.get(row_key(event.app, event.key))
    if row is None:
        return f"no notification {event.key!r:.120} of {event.app}"
    if event.number not in (0, row.number):
        return f"number {event.number} is over; {row.number} stands under this key now"
    if row.state == "cleared":
        return f"number {row.number} was cleared already"
    if row.state == "acknowledged" and isinstance(event, NotificationAcknowledged):
        return f"number {row.number} was acknowledged already" + (f" by {row.by}" if row.by else "")
    return ""


def _answered(state: State, event: NotificationAcknowledged | NotificationCleared, meta: "Meta") -> str:
    if fault := request_fault(state, event.request) or answer_fault(state, event):
        return fault
    key = row_key(event.app, event.key)
    is_over = isinstance(event, NotificationCleared)
    row = replace(
        state.notifications[key],
        state="cleared" if is_over else "acknowledged",
        by=event.by,
        answered_at_ms=meta.append_ms,
        wake=None,
    )
    state.put("notifications", key, row)
    remember(state, event.request, meta)
    return ""


# --- bounds --------------------------------------------------------------------------------------------


def _keep_bounds(state: State, apps: Iterable[str], meta: "Meta") -> None:
    inbox = state.inbox
    if meta.append_ms - inbox.swept_at_ms >= SWEEP_MS:
        _sweep(state, meta.append_ms)
        state.put("inbox", ONLY, replace(state.inbox, swept_at_ms=meta.append_ms))
    rows, crowded = state.notifications, 0
    spoken = set(apps)
    by_app: dict[str, list[NotificationRow]] = {}
    for row in rows.values():
        if row.app in spoken:
            by_app.setdefault(row.app, []).append(row)
    for found in by_app.values():
        crowded += _drop_oldest(state, found, ROWS_OF_APP_MAX)
    if len(rows) > ROWS_MAX:
        crowded += _drop_oldest(state, list(rows.values()), ROWS_MAX)
    if crowded:
        state.put("inbox", ONLY, replace(state.inbox, crowded_out=state.inbox.crowded_out + crowded))
    if len(state.speakers) > SPEAKERS_MAX:
        oldest = sorted(state.speakers.values(), key=lambda row: (row.heard_at_ms, row.app))
        for speaker in oldest[: len(oldest) - SPEAKERS_MAX]:
            state.drop("speakers", speaker.app)


def _sweep(state: State, now_ms: int) -> None:
    for key, row in list(state.notifications.items()):
        is_done = row.state == "cleared" and row.answered_at_ms <= now_ms - CLEARED_MS
        if is_done or row.heard_at_ms <= now_ms - UNHEARD_MS:
            state.drop("notifications", key)
    for app, speaker in list(state.speakers.items()):
        if speaker.heard_at_ms <= now_ms - UNHEARD_MS:
            state.drop("speakers", app)


def _drop_oldest(state: State, rows: list[NotificationRow], most: int) -> int:
    if len(rows) <= most:
        return 0
    rows.sort(key=lambda row: (row.state != "cleared", row.heard_at_ms, row.number))
    for row in rows[: len(rows) - most]:
        state.drop("notifications", row_key(row.app, row.key))
    return len(rows) - most


NOTIFICATION_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    NotificationsRead: _read,
    NotificationAcknowledged: _answered,
    NotificationCleared: _answered,
}
