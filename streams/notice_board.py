"""What a person who watches notifications is told, and when; each thing once. Pure.

1. Fed with rows of the fold as they change, it says what is new about them; the same row again says nothing.
2. More occurrences of something open are told at once if they are louder, else at most every `COUNT_EVERY_MS` with the
   count so far; of something acknowledged they are not told at all.
3. What is open and is to be repeated is told again at each multiple of its time since it was opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import click

from sdk.contract.notifications import SEVERITIES
from streams.render import clock
from streams.render_notifications import TIMES, notification_view, plain, severity_word, short_app
from tables.fold_notifications import repeats_of
from tables.notification_rows import NotificationRow

What = Literal["open", "new", "more", "again", "louder", "reopened", "acknowledged", "cleared"]

#: Between two counts of one notification, ms: a flood of one key is a line in ten seconds.
COUNT_EVERY_MS = 10_000


class Told(NamedTuple):
    """Something to tell."""

    what: What
    row: NotificationRow
    at_ms: int


class Board:
    """Rows as they were told last."""

    def __init__(self, wanted: Callable[[NotificationRow], bool]) -> None:
        self._wanted = wanted
        self._rows: dict[str, NotificationRow] = {}
        #: Key -> count told last, and when.
        self._counts: dict[str, tuple[int, int]] = {}
        #: Key -> repetitions told.
        self._repeats: dict[str, int] = {}

    def begin(self, rows: dict[str, NotificationRow], now_ms: int) -> list[Told]:
        """Know these rows, and tell those that are open."""
        told = []
        for key, row in sorted(rows.items(), key=lambda item: item[1].number):
            self._note(key, row, now_ms)
            if row.state == "open" and self._wanted(row):
                told.append(Told("open", row, now_ms))
        return told

    def change(self, key: str, row: NotificationRow | None, now_ms: int) -> list[Told]:
        """A row is otherwise, or gone (None)."""
        old = self._rows.get(key)
        if row is None:
            for known in (self._rows, self._counts, self._repeats):
                known.pop(key, None)
            return []
        what = _news(old, row)
        if what is None and row.state == "open" and self._is_count_due(key, row, now_ms):
            what = "more"
        if what is None or not self._wanted(row):
            self._rows[key] = row
            return []
        self._note(key, row, now_ms)
        return [Told(what, row, now_ms)]

    def tick(self, now_ms: int) -> list[Told]:
        """What time has brought: repetitions, and counts that were held back."""
        told = []
        for key, row in self._rows.items():
            if row.state != "open" or not self._wanted(row):
                continue
            repeats = repeats_of(row, now_ms)
            if repeats > self._repeats.get(key, 0):
                self._note(key, row, now_ms)
                told.append(Told("again", row, now_ms))
            elif self._is_count_due(key, row, now_ms):
                self._note(key, row, now_ms)
                told.append(Told("more", row, now_ms))
        return told

    def _note(self, key: str, row: NotificationRow, now_ms: int) -> None:
        self._rows[key] = row
        self._counts[key] = (row.count, now_ms)
        self._repeats[key] = repeats_of(row, now_ms)

    def _is_count_due(self, key: str, row: NotificationRow, now_ms: int) -> bool:
        count, at_ms = self._counts.get(key, (0, 0))
        return row.count > count and now_ms - at_ms >= COUNT_EVERY_MS


def _news(old: NotificationRow | None, row: NotificationRow) -> What | None:
    if old is None or old.number != row.number:
        return "new" if row.state == "open" else None
    if old.state != row.state:
        return "reopened" if row.state == "open" else row.state
    if row.state != "open" or old.severity == row.severity:
        return None
    return "louder" if SEVERITIES.index(row.severity) > SEVERITIES.index(old.severity) else None


_WORDS = {
    "open": "",
    "new": "",
    "more": "",
    "again": "still open",
    "louder": "louder now",
    "reopened": "open again: louder than what was acknowledged",
}


def told_line(told: Told) -> str:
    """One line for people: time, severity, app, text, count, and what is special about it."""
    row = told.row
    at_ms = row.first_at_ms if told.what in ("open", "new") else told.at_ms
    if told.what == "more":
        at_ms = row.last_at_ms
    if told.what in ("acknowledged", "cleared"):
        at_ms = row.answered_at_ms
        words = told.what + (f" by {row.by}" if row.by else "")
        extra = click.style(words, fg="green")
    else:
        words = _WORDS[told.what]
        if told.what == "louder" and row.escalations:
            words = "louder: nobody has answered"
        extra = click.style(words, fg="red" if told.what == "louder" else "yellow") if words else ""
    pad = " " * (len("critical") - len(row.severity))
    head = f"{clock(at_ms, now_ms=told.at_ms)}  {severity_word(row.severity)}{pad}  "
    count = click.style(f"{TIMES}{row.count:,}", bold=True) if row.count > 1 else ""
    text = click.style(plain(row.text), dim=told.what in ("acknowledged", "cleared"))
    number = click.style(f"#{row.number}", dim=True)
    parts = [click.style(short_app(row.app), bold=True), text, count, extra, number]
    return head + "  ".join(part for part in parts if part)


def told_document(told: Told) -> dict[str, Any]:
    """The same for programs."""
    return {"what": told.what, "at_ms": told.at_ms, **notification_view(told.row, told.at_ms)}
