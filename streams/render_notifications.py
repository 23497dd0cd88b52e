"""Notifications for people and programs: tables, lines as they come, and which are meant. Pure.

What apps say is shown without control characters: a text must not be able to write into somebody's terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click

from sdk.contract.events import NotificationsRead
from sdk.contract.notifications import SEVERITIES
from streams.render import clock, duration, table
from tables.fold_notifications import repeats_of
from tables.notification_rows import NotificationRow
from tables.state import State

#: The sign before a count.
TIMES = "\u00d7"
_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
_STATES = {"open": "yellow", "acknowledged": "green", "cleared": None}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
#: Notices that one line of `events tail` tells.
_TOLD_MAX = 5


def plain(text: str) -> str:
    """A text in one line, without anything that a terminal would obey."""
    return _CONTROL.sub(" ", text)


def severity_word(severity: str) -> str:
    """A severity in its colour."""
    return click.style(severity, fg=_COLOURS.get(severity), bold=severity == SEVERITIES[-1])


def short_app(app: str) -> str:
    """The name of an app as people say it."""
    return app.removeprefix("application-")


def selected(
    state: State, *, app: str = "", severity: str = "", states: Iterable[str] = ("open", "acknowledged")
) -> list[NotificationRow]:
    """The rows of an app, from a severity on and in some states: what is open first, the loudest, the newest."""
    names = set(states)
    rows = [
        row
        for row in state.notifications.values()
        if row.state in names and (not app or row.app == app) and is_loud_enough(row, severity)
    ]
    order = list(_STATES)
    rows.sort(
        key=lambda row: (order.index(row.state), -SEVERITIES.index(row.severity), -row.last_at_ms, row.number)
    )
    return rows


def is_loud_enough(row: NotificationRow, severity: str) -> bool:
    """Whether a row has this severity at least; any will do if it is empty."""
    order = list(SEVERITIES)
    return not severity or order.index(row.severity) >= [str(each) for each in order].index(severity)


def notification_view(row: NotificationRow, now_ms: int) -> dict[str, Any]:
    """A notification for programs."""
    return {
        "number": row.number,
        "app": row.app,
        "key": row.key,
        "text": row.text,
        "severity": row.severity,
        "state": row.state,
        "count": row.count,
        "first_at_ms": row.first_at_ms,
        "last_at_ms": row.last_at_ms,
        "opened_at_ms": row.opened_at_ms,
        "generation": row.generation,
        "repeat_every_ms": row.repeat_every_ms,
        "repeats": repeats_of(row, now_ms),
        "escalate_after_ms": row.escalate_after_ms,
        "escalations": row.escalations,
        "by": row.by,
        "answered_at_ms": row.answered_at_ms,
    }


def notifications_table(rows: list[NotificationRow], now_ms: int) -> str:
    """Notifications in lines."""
    return table(
        ["no", "severity", "state", "app", "count", "last", "text"],
        [
            [
                str(row.number),
                severity_word(row.severity) + ("" if not row.escalations else click.style(" ↑", fg="red")),
                click.style(row.state, fg=_STATES[row.state]),
                short_app(row.app),
                f"{TIMES}{row.count:,}",
                clock(row.last_at_ms, now_ms=now_ms),
                plain(row.text),
            ]
            for row in rows
        ],
    )


def notification_lines(row: NotificationRow, now_ms: int) -> str:
    """One notification for people."""
    answer = {"acknowledged": "acknowledged", "cleared": "cleared"}.get(row.state, "")
    fields = {
        "app": row.app,
        "key": plain(row.key),
        "state": click.style(row.state, fg=_STATES[row.state]),
        "count": f"{row.count:,}",
        "first": clock(row.first_at_ms, now_ms=now_ms),
        "last": clock(row.last_at_ms, now_ms=now_ms),
        "opened": f"{clock(row.opened_at_ms, now_ms=now_ms)} ({duration(now_ms - row.opened_at_ms)} ago)",
    }
    if row.generation:
        fields["generation"] = str(row.generation)
    if answer:
        fields[answer] = f"{clock(row.answered_at_ms, now_ms=now_ms)}" + (f" by {row.by}" if row.by else "")
    if row.repeat_every_ms:
        again = f"every {duration(row.repeat_every_ms)} until acknowledged"
        fields["repeated"] = f"{again}, {repeats_of(row, now_ms)} times so far"
    if row.escalate_after_ms:
        fields["escalates"] = _escalation(row, now_ms)
    head = f"#{row.number}  {severity_word(row.severity)}  {plain(row.text)}"
    return "\n".join([head, *(f"  {name:<14}{value}" for name, value in fields.items())])


def _escalation(row: NotificationRow, now_ms: int) -> str:
    said = f"after {duration(row.escalate_after_ms)} without an answer"
    if row.escalations:
        said += f", {row.escalations} times so far"
    if row.wake is not None:
        said += f", next in {duration(row.wake.due_at_ms - now_ms)}"
    return said


def losses(state: State) -> list[str]:
    """What did not reach anybody, in sentences; empty if everything did."""
    inbox, said = state.inbox, []
    if dropped := sum(row.dropped for row in state.speakers.values()):
        said.append(f"{dropped:,} occurrences were pushed out of full buffers of apps.")
    if inbox.lost:
        said.append(f"{inbox.lost:,} records were deleted before anybody read them: nobody led for long.")
    if inbox.garbled:
        said.append(f"{inbox.garbled:,} records were no notifications; they are on the dead letters topic.")
    if inbox.crowded_out:
        said.append(f"{inbox.crowded_out:,} notifications were dropped because their app had too many keys.")
    return said


def notices_words(event: NotificationsRead) -> str:
    """What was read of the topic, in one line."""
    told = [
        f"{short_app(notice.app)}: {notice.severity} {plain(notice.text)[:60]!r}"
        + (f" {TIMES}{notice.count:,}" if notice.count > 1 else "")
        for notice in event.notices[:_TOLD_MAX]
    ]
    if len(event.notices) > _TOLD_MAX:
        told.append(f"and {len(event.notices) - _TOLD_MAX} more")
    rest = [
        f"{name}={value:,}"
        for name, value in (
            ("doubled", event.doubled),
            ("stale", event.stale),
            ("garbled", event.garbled),
            ("lost", event.lost),
        )
        if value
    ]
    return " ".join([f"{event.from_offset}..{event.to_offset - 1}", "; ".join(told), *rest]).strip()
