"""What is told of notifications: each thing once, counts instead of floods, nothing that a terminal would obey."""

from __future__ import annotations

from typing import Any

import click
import pytest
from msgspec.structs import replace

from sdk.contract.events import NotificationsRead
from sdk.contract.notifications import Notice
from streams.notice_board import COUNT_EVERY_MS, Board, Told, told_document, told_line
from streams.render_notifications import (
    TIMES,
    losses,
    notices_words,
    notification_lines,
    notification_view,
    notifications_table,
    plain,
    selected,
)
from tables.notification_rows import InboxRow, NotificationRow, SpeakerRow
from tables.rows import ONLY
from tables.state import State

NOW = 1_700_000_000_000
KEY = "application-pump/dry"
ROW = NotificationRow("application-pump", "dry", 7, "Pump is dry", "warning", "open", 1, NOW, NOW, NOW, NOW)


def row(**more: Any) -> NotificationRow:
    """The row with other values."""
    return replace(ROW, **more)


@pytest.fixture
def board() -> Board:
    """A board that wants everything and knows nothing."""
    board = Board(lambda _: True)
    assert board.begin({}, NOW) == []
    return board


def what(told: list[Told]) -> list[str]:
    """The kinds."""
    return [each.what for each in told]


def test_the_same_row_again_says_nothing(board: Board) -> None:
    """New once, then quiet."""
    assert what(board.change(KEY, ROW, NOW)) == ["new"]
    assert board.change(KEY, ROW, NOW) == []
    assert board.tick(NOW + 60_000) == []


def test_a_flood_is_a_line_in_ten_seconds(board: Board) -> None:
    """With the count so far; the last count is told too."""
    board.change(KEY, ROW, NOW)
    told = []
    for step in range(1, 41):
        told += board.change(KEY, row(count=1 + step), NOW + step * 500)
    assert [(each.what, each.row.count) for each in told] == [("more", 21), ("more", 41)]
    assert board.change(KEY, row(count=50), NOW + 21_000) == []
    assert board.tick(NOW + 25_000) == []
    later = board.tick(NOW + 20_000 + COUNT_EVERY_MS)
    assert [(each.what, each.row.count) for each in later] == [("more", 50)]
    assert board.tick(NOW + 60_000) == []


def test_answers_escalations_and_openings_are_told(board: Board) -> None:
    """In their words, and what is acknowledged stays quiet."""
    board.change(KEY, ROW, NOW)
    assert what(board.change(KEY, row(severity="critical", escalations=1), NOW)) == ["louder"]
    acknowledged = row(severity="critical", state="acknowledged", by="anna", answered_at_ms=NOW)
    assert what(board.change(KEY, acknowledged, NOW)) == ["acknowledged"]
    assert board.change(KEY, replace(acknowledged, count=99), NOW + 99_000) == []
    assert board.tick(NOW + 200_000) == []
    assert what(board.change(KEY, row(severity="critical", count=100), NOW)) == ["reopened"]
    assert what(board.change(KEY, row(severity="critical", state="cleared"), NOW)) == ["cleared"]
    assert what(board.change(KEY, row(number=8), NOW)) == ["new"]
    assert board.change(KEY, None, NOW) == []


def test_what_is_repeated_is_told_at_each_multiple_of_its_time() -> None:
    """Since it was opened, and not what was due before somebody looked."""
    board = Board(lambda _: True)
    assert what(board.begin({KEY: row(repeat_every_ms=1_000)}, NOW + 5_500)) == ["open"]
    assert board.tick(NOW + 5_900) == []
    assert what(board.tick(NOW + 6_000)) == ["again"]
    assert board.tick(NOW + 6_400) == []
    assert what(board.tick(NOW + 9_100)) == ["again"]


def test_only_what_is_wanted_is_told() -> None:
    """A filter holds for what is open, what is new and what is repeated."""
    board = Board(lambda row: row.severity == "critical")
    assert board.begin({KEY: row(repeat_every_ms=1_000)}, NOW) == []
    assert board.tick(NOW + 9_000) == []
    assert what(board.change(KEY, row(severity="critical"), NOW)) == ["louder"]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (Told("new", ROW, NOW), "warning   pump  Pump is dry  #7"),
        (Told("more", row(count=1_234), NOW), f"warning   pump  Pump is dry  {TIMES}1,234  #7"),
        (Told("again", row(severity="critical"), NOW), "critical  pump  Pump is dry  still open  #7"),
        (
            Told("louder", row(escalations=1), NOW),
            "warning   pump  Pump is dry  louder: nobody has answered  #7",
        ),
        (
            Told("cleared", row(by="anna", answered_at_ms=NOW), NOW),
            "warning   pump  Pump is dry  cleared by anna  #7",
        ),
        (Told("new", row(text="a\x1b[2J\nb\u202e"), NOW), "warning   pump  a [2J b   #7"),
    ],
)
def test_a_line_for_people(told: Told, line: str) -> None:
    """Time, severity, app, text, count and what is special."""
    assert click.unstyle(told_line(told))[10:] == line
    assert told_document(told)["what"] == told.what


def test_lists_show_what_is_open_and_loud_first() -> None:
    """By state, severity and time; filters leave out the rest."""
    state = State()
    rows = {
        "a": row(app="application-a", number=1, severity="info"),
        "b": row(app="application-b", number=2, severity="critical", state="acknowledged"),
        "c": row(app="application-c", number=3, severity="critical"),
        "d": row(app="application-c", number=4, state="cleared"),
    }
    for key, each in rows.items():
        state.put("notifications", key, each)
    assert [each.number for each in selected(state)] == [3, 1, 2]
    assert [each.number for each in selected(state, severity="warning")] == [3, 2]
    assert [each.number for each in selected(state, app="application-c", states=["cleared"])] == [4]
    text = click.unstyle(notifications_table(selected(state), NOW))
    assert text.splitlines()[1].split()[:5] == ["3", "critical", "open", "c", f"{TIMES}1"]


def test_one_in_full_and_what_did_not_arrive() -> None:
    """Times, repetition and escalation in words; losses in sentences."""
    full = row(repeat_every_ms=60_000, escalate_after_ms=900_000, escalations=1, by="anna", generation=5)
    text = click.unstyle(notification_lines(full, NOW + 125_000))
    assert "every 1 min until acknowledged, 2 times so far" in text
    assert "after 15 min without an answer, 1 times so far" in text
    assert notification_view(full, NOW + 125_000)["repeats"] == 2
    state = State()
    assert losses(state) == []
    state.put("speakers", "application-a", SpeakerRow("application-a", 0, dropped=1_200))
    state.put("inbox", ONLY, InboxRow(lost=3, garbled=2, crowded_out=1))
    assert [sentence.split(" ")[0] for sentence in losses(state)] == ["1,200", "3", "2", "1"]


def test_an_event_in_one_line_is_short() -> None:
    """A few notices, the number of the others, and what did not count."""
    notices = [Notice(f"application-{at}", "k", 0, "x" * 500, "info", 2, NOW, NOW, NOW) for at in range(9)]
    words = notices_words(NotificationsRead(1, "t", 40, 50, notices, [], lost=3))
    assert words.startswith("40..49 0: info 'xxx")
    assert "and 4 more" in words
    assert words.endswith("lost=3")
    assert len(words) < 600
    assert plain("a\x00\x1b\r\nb") == "a b"
