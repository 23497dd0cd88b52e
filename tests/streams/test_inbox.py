"""The leader's inbox: one event under way, at most two a second, garbage only past a dead letter that stands."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sdk.contract.events import NotificationsRead, PlannerStarted
from sdk.contract.notifications import Notification, encode_notification
from sdk.contract.topics import Topics
from streams.core.appender import Appender
from streams.core.inbox import AGAIN_MS, EVERY_MS, FAILED_AGAIN_MS, LETTERS_MS, Inbox
from streams.core.letters import Letters
from streams.core.planning import Planning
from tests.streams.fakes import FakeAppender
from tests.streams.logs import Log

TOPIC = "topic-1"


def _record(offset: int, value: bytes | None = None) -> Any:
    said = Notification("application-a", 0, "w1", offset + 1, "k", "text", "info", 1, 1)
    value = encode_notification(said) if value is None else value
    return SimpleNamespace(
        topic="watchkeep.notifications.v1", partition=0, offset=offset, timestamp=9, key=b"a", value=value
    )


class Desk:
    """A leader's inbox on a log in memory."""

    def __init__(self) -> None:
        self.log, self.appender = Log(), FakeAppender()
        self.log.add(PlannerStarted("writer-1", 1))
        self.letters = Letters(cast("Appender", self.appender), Topics("watchkeep"))
        self.planning = SimpleNamespace(leads=True, last_id="cause")
        self.inbox = Inbox(
            state=self.log.state,
            planning=cast("Planning", self.planning),
            appender=cast("Appender", self.appender),
            letters=self.letters,
            topic_id=TOPIC,
        )

    def take(self, *records: Any, now_ms: int, start: int = 0) -> list[NotificationsRead]:
        """Hand over what was read, and return what was appended."""
        before = len(self.appender.appended)
        end = records[-1].offset + 1 if records else start
        self.inbox.take(records, start=start, begin=start, end=end, now_ms=now_ms)
        return [cast("NotificationsRead", event) for _, event, _ in self.appender.appended[before:]]


@pytest.fixture
def desk() -> Desk:
    """A desk whose worker leads."""
    return Desk()


def test_one_event_is_under_way_and_the_next_keeps_its_distance(desk: Desk) -> None:
    """Until it was read back nothing else is written, and then not before half a second is over."""
    assert desk.inbox.due(0) == 0
    (event,) = desk.take(_record(0), _record(1), now_ms=0)
    assert desk.inbox.due(EVERY_MS) is None
    assert desk.take(_record(0), now_ms=EVERY_MS) == []
    desk.log.add(event)
    assert desk.inbox.due(EVERY_MS - 1) is None
    assert desk.inbox.due(EVERY_MS) == 2
    # What was read from elsewhere is thrown away.
    assert desk.take(_record(0), now_ms=EVERY_MS, start=0) == []


def test_an_event_that_does_not_come_back_is_written_again(desk: Desk) -> None:
    """After 8 s; one that was not acknowledged after a second, with the same id."""
    desk.take(_record(0), now_ms=0)
    assert desk.inbox.due(AGAIN_MS - 1) is None
    assert desk.inbox.due(AGAIN_MS) == 0
    desk.appender.fails = True
    assert desk.take(_record(0), now_ms=AGAIN_MS) == []
    desk.appender.fails = False
    again_ms = AGAIN_MS + FAILED_AGAIN_MS
    assert desk.inbox.due(again_ms - 1) is None
    desk.take(_record(0), now_ms=again_ms)
    first, second = desk.appender.appended
    assert first == second


def test_who_does_not_lead_reads_nothing(desk: Desk) -> None:
    """And who leads again waits for nothing of its former self."""
    desk.take(_record(0), now_ms=0)
    desk.planning.leads = False
    assert desk.inbox.due(EVERY_MS) is None
    assert desk.take(_record(0), now_ms=EVERY_MS) == []
    desk.planning.leads = True
    assert desk.inbox.due(EVERY_MS) == 0


def test_garbage_is_passed_over_once_its_letter_stands(desk: Desk) -> None:
    """What came before it counts at once."""
    (event,) = desk.take(_record(0), _record(1, b"garbage"), _record(2), now_ms=0)
    assert (event.to_offset, event.garbled) == (1, 0)
    desk.log.add(event)
    now_ms = EVERY_MS
    assert desk.take(_record(1, b"garbage"), _record(2), start=1, now_ms=now_ms) == []
    assert desk.inbox.due(now_ms + LETTERS_MS - 1) is None
    (letter,) = desk.letters.pending
    assert letter.reason.startswith("notification: ")
    desk.letters.read_back(letter.letter_key)
    now_ms += LETTERS_MS
    (event,) = desk.take(_record(1, b"garbage"), _record(2), start=1, now_ms=now_ms)
    assert (event.to_offset, event.garbled, event.notices[0].count) == (3, 1, 1)
