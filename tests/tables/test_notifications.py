"""Notifications: what counts, what is shown, who answers, what grows louder, and what is dropped."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sdk.contract import events as e
from sdk.contract.codec import Asked, encode_event
from sdk.contract.ids import derive_id
from sdk.contract.notifications import KEY_LENGTH_MAX, SEVERITIES, Notification, check_key, key_of
from sdk.contract.requests import AcknowledgeNotification, ClearNotification
from sdk.contract.specs import AppSpec
from tables import fold_notifications
from tables.admit import admit
from tables.fold_notifications import repeats_of
from tables.notices import NOTICES_MAX, Met, gather
from tables.notification_rows import NotificationRow
from tables.rows import AppRow
from tables.state import State
from tests.streams.logs import Log

APP, TOPIC = "application-pump", "topic-1"


def said(number: int, **more: Any) -> Notification:
    """A record of the app."""
    plain = Notification(APP, 0, "w1", number, "dry", "Pump is dry", "warning", 5, 5)
    return replace(plain, **more)


class Topic:
    """A topic, the log, and a leader that reads the one into the other."""

    def __init__(self) -> None:
        self.log = Log()
        self.log.add(e.PlannerStarted("writer-1", 1))
        self.records: list[Met] = []
        self.begin = 0
        self._asked = 0

    @property
    def state(self) -> State:
        """The fold."""
        return self.log.state

    def put(self, *records: Notification | None) -> None:
        """Append to the topic."""
        for record in records:
            self.records.append(Met(len(self.records), self.state.now_ms + 10, record))

    def event(self, start: int | None = None) -> e.NotificationsRead | None:
        """What a leader would write that reads from an offset, or from where the fold has read to."""
        at = self.state.inbox.next_offset if start is None else start
        return gather(
            self.state,
            self.records[max(at, self.begin) :],
            term=self.state.term.term,
            topic_id=TOPIC,
            begin=self.begin,
            end=len(self.records),
        )

    def read(self) -> None:
        """Read to the end."""
        while (event := self.event()) is not None:
            assert self.fold(event) == ""

    def fold(self, event: e.Event) -> str:
        """Append to the log; why it was dropped."""
        at_ms = self.log.now_ms
        event_id = derive_id("test", self.log.end)
        self.log.add_raw(encode_event(event, event_id=event_id, cause="", writer="writer-1", at_ms=at_ms))
        return self.log.outcomes[-1].dropped

    def tell(self, *records: Notification) -> NotificationRow:
        """Append and read; the row of the last record."""
        self.put(*records)
        self.read()
        return self.row(records[-1].key, records[-1].app)

    def row(self, key: str = "dry", app: str = APP) -> NotificationRow:
        """What people see."""
        return self.state.notifications[f"{app}/{key}"]

    def ask(self, wish: Any) -> str:
        """Ask for something; why it was refused."""
        self._asked += 1
        event = admit(self.state, Asked(f"request-{self._asked}", wish))
        assert self.fold(event) == ""
        return event.reason if isinstance(event, e.RequestRefused) else ""

    def wait(self, ms: int) -> None:
        """Time passes on the log, and timers that are due fire."""
        until = self.state.now_ms + ms
        while True:
            due = sorted(
                (row.wake.due_at_ms, key)
                for key, row in self.state.notifications.items()
                if row.wake is not None and row.wake.due_at_ms <= until
            )
            if not due:
                break
            at_ms, key = due[0]
            wake = self.state.notifications[key].wake
            assert wake is not None
            fired = e.TimerFired(
                term=self.state.term.term,
                based_on=0,
                policy=-1,
                table="notifications",
                key=key,
                set_at=wake.set_at,
            )
            self.log.now_ms = at_ms
            assert self.fold(fired) == ""
        self.log.now_ms = until
        assert self.fold(e.RequestRefused(f"time-{until}", "time passes")) == ""


@pytest.fixture
def topic() -> Topic:
    """A platform with a leader."""
    return Topic()


def test_a_flood_is_one_row_with_a_count(topic: Topic) -> None:
    """Occurrences under one key count; the newest text and the loudest severity are shown."""
    topic.tell(said(1), said(2, text="Pump is very dry", count=40), said(3, severity="critical", text="Gone"))
    row = topic.row()
    assert (row.count, row.text, row.severity, row.state, row.number) == (42, "Gone", "critical", "open", 1)
    assert topic.tell(said(4, severity="info")).severity == "critical"
    assert topic.row().count == 43


def test_a_record_counts_once_however_often_it_comes(topic: Topic) -> None:
    """By its writer's number; another writer of the app has numbers of its own."""
    topic.tell(said(1), said(1), said(2))
    topic.tell(said(2), said(1), said(1, writer="w2"), said(1, writer="w2"))
    assert topic.row().count == 3
    assert topic.state.inbox.doubled == 4
    assert topic.state.speakers[APP].occurrences == 3


def test_an_older_generation_is_stale_once_a_newer_one_has_spoken(topic: Topic) -> None:
    """The last words of a copy that died count; what it says after its follower does not."""
    topic.tell(said(1, generation=5), said(2, generation=5, key="last words"))
    topic.tell(said(1, generation=9, writer="w2"), said(3, generation=5))
    assert topic.row().count == 2
    assert topic.row("last words").count == 1
    assert topic.state.inbox.stale == 1


@pytest.mark.parametrize(("later_ms", "counts"), [(2_000, True), (60_000, False)])
def test_a_copy_that_speaks_on_beside_its_follower_is_stale(
    topic: Topic, later_ms: int, counts: bool
) -> None:
    """A copy has its grace to say goodbye; after that only the one in force speaks for the app."""
    now_ms = topic.state.now_ms
    spec = AppSpec(APP, ["x"])
    topic.state.put(
        "apps", APP, AppRow(APP, spec, True, "running", now_ms, generation=9, started_at_ms=now_ms)
    )
    topic.records.append(Met(0, now_ms + later_ms, said(1, generation=5)))
    topic.read()
    assert ("application-pump/dry" in topic.state.notifications) is counts
    assert topic.state.inbox.stale == (not counts)


def test_an_event_counts_only_from_where_the_fold_has_read_to(topic: Topic) -> None:
    """Two leaders that read the same stretch, in one term or in two, count it once."""
    topic.put(said(1), said(2))
    first, second = topic.event(), topic.event()
    assert first is not None
    assert second is not None
    assert topic.fold(first) == ""
    assert "the topic was read to 2" in topic.fold(second)
    topic.put(said(3))
    stale = topic.event()
    assert stale is not None
    assert "term" in topic.fold(replace(stale, term=stale.term - 1))
    assert topic.row().count == 2


def test_what_is_no_record_is_passed_over_and_what_was_cut_off_is_told(topic: Topic) -> None:
    """Garbage and retention are counted."""
    topic.put(said(1), None, said(2))
    topic.read()
    topic.put(said(3), said(4), said(5))
    topic.begin = 5
    topic.read()
    inbox = topic.state.inbox
    assert (inbox.garbled, inbox.lost, inbox.next_offset, topic.row().count) == (1, 2, 6, 3)
    topic.begin = 9
    topic.records.clear()
    event = gather(topic.state, [], term=topic.state.term.term, topic_id=TOPIC, begin=9, end=9)
    assert event is not None
    assert topic.fold(event) == ""
    assert (topic.state.inbox.lost, topic.state.inbox.next_offset) == (5, 9)


def test_another_topic_is_read_from_its_start_and_a_shorter_one_from_its_end(topic: Topic) -> None:
    """A topic that was made anew has another id; one that lost its end counts on, and nothing twice."""
    topic.tell(said(1), said(2))
    term = topic.state.term.term
    shorter = gather(topic.state, [], term=term, topic_id=TOPIC, begin=0, end=1)
    assert shorter is not None
    assert topic.fold(shorter) == ""
    again = gather(topic.state, topic.records[1:], term=term, topic_id=TOPIC, begin=0, end=2)
    assert again is not None
    assert (again.doubled, again.notices) == (1, [])
    new = gather(topic.state, [Met(0, 9, said(3))], term=term, topic_id="topic-2", begin=0, end=1)
    assert new is not None
    assert topic.fold(replace(new, from_offset=1)) == "another topic is read from its start"
    assert topic.fold(new) == ""
    assert topic.row().count == 3


def test_an_event_is_bounded_and_the_rest_is_for_the_next(topic: Topic) -> None:
    """So many notices, and so many bytes; what is left is not lost."""
    topic.put(*(said(number, key=f"k{number}") for number in range(1, 2 * NOTICES_MAX)))
    event = topic.event()
    assert event is not None
    assert (len(event.notices), event.to_offset) == (NOTICES_MAX, NOTICES_MAX)
    topic.read()
    assert len(topic.state.notifications) == 2 * NOTICES_MAX - 1

    topic.put(*(said(1_000 + number, key=f"long{number}", text="ü" * 2_000) for number in range(60)))
    event = topic.event()
    assert event is not None
    assert 1 < len(event.notices) < 60


def test_who_acknowledges_ends_repetition_and_escalation(topic: Topic) -> None:
    """It counts on quietly; only something louder opens it again."""
    row = topic.tell(said(1, repeat_every_ms=1_000, escalate_after_ms=60_000))
    assert repeats_of(row, row.opened_at_ms + 3_500) == 3
    assert topic.ask(AcknowledgeNotification(APP, "dry", row.number, "anna")) == ""
    row = topic.row()
    assert (row.state, row.by, row.wake, repeats_of(row, row.opened_at_ms + 9_000)) == (
        "acknowledged",
        "anna",
        None,
        0,
    )
    assert topic.tell(said(2), said(3, severity="info")).state == "acknowledged"
    assert topic.row().count == 3
    louder = topic.tell(said(4, severity="critical"))
    assert (louder.state, louder.number, louder.count, louder.by) == ("open", 1, 4, "")


def test_what_was_cleared_opens_anew(topic: Topic) -> None:
    """With another number and a count of its own; an answer to the old number does not hit it."""
    old = topic.tell(said(1), said(2))
    assert topic.ask(ClearNotification(APP, "dry", old.number, "anna")) == ""
    assert topic.row().state == "cleared"
    new = topic.tell(said(3))
    assert (new.state, new.count, new.number) == ("open", 1, old.number + 1)
    assert "number 1 is over; 2 stands" in topic.ask(AcknowledgeNotification(APP, "dry", old.number))


def test_answers_are_refused_with_a_reason(topic: Topic) -> None:
    """Unknown, acknowledged already, cleared already, nonsense."""
    assert "no notification 'dry' of application-pump" in topic.ask(AcknowledgeNotification(APP, "dry"))
    topic.tell(said(1))
    assert topic.ask(AcknowledgeNotification(APP, "dry", by="anna")) == ""
    assert "acknowledged already by anna" in topic.ask(AcknowledgeNotification(APP, "dry", by="ben"))
    assert topic.ask(ClearNotification(APP, "dry")) == ""
    assert "cleared already" in topic.ask(ClearNotification(APP, "dry"))
    assert "must begin with application-" in topic.ask(ClearNotification("pump", "dry"))
    assert "by:" in topic.ask(ClearNotification(APP, "dry", by="\x1b[2J"))


def test_nobodys_answer_makes_it_louder_step_by_step(topic: Topic) -> None:
    """From info to warning to critical, and then it stays."""
    topic.tell(said(1, severity="info", escalate_after_ms=5_000))
    topic.wait(4_000)
    assert topic.row().severity == "info"
    topic.wait(1_500)
    assert (topic.row().severity, topic.row().escalations) == ("warning", 1)
    topic.wait(60_000)
    row = topic.row()
    assert (row.severity, row.escalations, row.wake) == ("critical", 2, None)


def test_a_new_occurrence_does_not_put_off_the_escalation(topic: Topic) -> None:
    """The time since it was opened counts, whatever comes in between."""
    topic.tell(said(1, escalate_after_ms=5_000))
    topic.wait(3_000)
    topic.tell(said(2, escalate_after_ms=5_000))
    topic.wait(2_500)
    assert topic.row().severity == "critical"


def test_old_rows_go(topic: Topic) -> None:
    """Cleared ones after a day, others after a week unheard, with their app's numbers."""
    topic.tell(said(1), said(2, key="done"))
    topic.ask(ClearNotification(APP, "done"))
    topic.wait(fold_notifications.CLEARED_MS + 1_000)
    topic.tell(said(1, app="application-other"))
    assert set(topic.state.notifications) == {f"{APP}/dry", "application-other/dry"}
    topic.wait(fold_notifications.UNHEARD_MS)
    topic.tell(said(2, app="application-other"))
    assert set(topic.state.notifications) == {"application-other/dry"}
    assert set(topic.state.speakers) == {"application-other"}


def test_an_app_has_so_many_rows_at_the_most(topic: Topic) -> None:
    """Cleared ones go first, then the longest unheard; how many is told."""
    most = fold_notifications.ROWS_OF_APP_MAX
    topic.tell(said(1, key="first"), said(2, key="cleared"))
    topic.ask(ClearNotification(APP, "cleared"))
    topic.tell(*(said(3 + number, key=f"k{number}") for number in range(most - 1)))
    assert len(topic.state.notifications) == most
    assert f"{APP}/cleared" not in topic.state.notifications
    assert f"{APP}/first" in topic.state.notifications
    topic.tell(said(9_999, key="one more"))
    assert f"{APP}/first" not in topic.state.notifications
    assert topic.state.inbox.crowded_out == 2


def test_writers_of_an_app_are_bounded_and_drops_are_told(topic: Topic) -> None:
    """The latest are remembered; what buffers have pushed out adds up."""
    topic.tell(*(said(1, writer=f"w{number}", dropped=2) for number in range(50)))
    speaker = topic.state.speakers[APP]
    assert len(speaker.writers) == fold_notifications.WRITERS_MAX
    assert "w49" in speaker.writers
    assert topic.tell(said(2, writer="w49", dropped=5)).count == 51
    assert topic.state.speakers[APP].dropped == 103


@given(seed=st.integers(0, 1 << 30))
def test_any_order_of_repeats_and_crashes_counts_each_once(seed: int) -> None:
    """Whatever comes twice, whoever reads how far and is forgotten before its event stands: the counts are the same."""
    chance = random.Random(seed)
    topic, once = Topic(), 0
    numbers = {"w1": 0, "w2": 0}
    recent: list[Notification] = []
    pending: list[e.NotificationsRead] = []
    for _ in range(chance.randint(1, 40)):
        match chance.choice(["new", "new", "again", "read", "late", "crash"]):
            case "new":
                writer = chance.choice(["w1", "w2"])
                numbers[writer] += chance.randint(1, 3)
                count = chance.randint(1, 4)
                record = said(
                    numbers[writer],
                    writer=writer,
                    key=chance.choice("ab"),
                    severity=chance.choice(SEVERITIES),
                    count=count,
                )
                once += count
                recent.append(record)
                topic.put(record)
            case "again" if recent:
                topic.put(chance.choice(recent))
            case "read" if (event := topic.event()) is not None:
                pending.append(event)
                topic.fold(event)
            case "late" if pending:
                topic.fold(chance.choice(pending))
            case "crash":
                # It read, and died before its event was written.
                topic.event()
    topic.read()
    assert sum(row.count for row in topic.state.notifications.values()) == once
    assert sum(row.occurrences for row in topic.state.speakers.values()) == once


@given(text=st.text(max_size=300))
def test_every_text_has_a_key(text: str) -> None:
    """The text itself if it can be one; the same for the same text."""
    check_key(key_of(text))
    assert key_of(text) == key_of(text)
    assert len(key_of(text)) <= KEY_LENGTH_MAX
