"""What orders and the view cost when very much changes at once."""

from typing import cast

import pytest

from sdk.contract.devices import Device
from sdk.contract.events import AppStopRequested, DeviceRegistered
from sdk.contract.topics import Topics
from streams.core import publisher as publishing
from streams.core.appender import Appender
from streams.core.handover import Handover
from streams.core.publisher import Publisher
from streams.core.viewing import FLOOD_MAX_MS, FLOOD_MS_PER_ROW, FLOOD_ROWS, Viewing
from tables.orders import orders_for
from tables.views import ViewKey
from tests.streams.fakes import FakeAppender
from tests.streams.logs import Log

TOPICS = Topics("watchkeep")


class _Clock:
    """The shell's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 1_000_000
        monkeypatch.setattr("streams.core.monotonic.now_ms", lambda: self.ms)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """The clock of the part under test."""
    return _Clock(monkeypatch)


@pytest.fixture
def log() -> Log:
    """A log of a planner, a pool and a node with an app."""
    log = Log()
    log.start(nodes=1, slots=FLOOD_ROWS)
    log.add_app("application-0", "node-127.0.0.1_8082")
    return log


def test_orders_on_their_way_are_computed_again_only_for_a_reason(
    monkeypatch: pytest.MonkeyPatch, clock: _Clock, log: Log
) -> None:
    """A row that changes, what is read back, or too long a wait; not every turn."""
    asked: list[str] = []

    def counted(state: object, reporter: str, *, topic_id: str) -> object:
        asked.append(reporter)
        return orders_for(log.state, reporter, topic_id=topic_id)

    monkeypatch.setattr(publishing, "orders_for", counted)
    appender, node = FakeAppender(), "node-127.0.0.1_8082"
    publisher = Publisher(log.state, cast("Appender", appender), TOPICS, "log-1")
    publisher.begin_term()
    publisher.publish()
    assert asked == [node, "pool-local"]

    for _ in range(3):
        publisher.publish()
    assert asked == [node, "pool-local"]

    log.add_app("application-1", node)
    publisher.publish()
    assert asked[2:] == [node]
    clock.ms += publishing.AGAIN_MS
    written = len(appender.take())
    publisher.publish()
    assert (written, asked[3:]) == (3, [node, "pool-local"])
    assert [record.key.decode() for record in appender.take()] == [node, "pool-local"]


def test_after_a_flood_of_rows_the_view_waits_the_longer_the_more_there_were(clock: _Clock, log: Log) -> None:
    """What changes meanwhile waits, and is offered as it is then."""
    handover = Handover()
    viewing = Viewing(log.state, cast("Appender", FakeAppender()), TOPICS, handover)
    for number in range(1, FLOOD_ROWS):
        log.add_app(f"application-{number}", "node-127.0.0.1_8082")
    viewing.owner_changed(owns=True)
    viewing.turn(readers_at_end=True)
    offered = len(handover.take())
    assert FLOOD_ROWS <= offered < FLOOD_MAX_MS / FLOOD_MS_PER_ROW

    log.add(AppStopRequested("request-stop-1", "application-1"))
    viewing.turn(readers_at_end=True)
    assert handover.take() == {}
    clock.ms += offered * FLOOD_MS_PER_ROW - 1
    viewing.turn(readers_at_end=True)
    assert handover.take() == {}
    clock.ms += 1
    viewing.turn(readers_at_end=True)
    assert ViewKey("apps", "application-1") in handover.take()
    log.add(AppStopRequested("request-stop-2", "application-2"))
    viewing.turn(readers_at_end=True)
    assert ViewKey("apps", "application-2") in handover.take()


def test_what_the_sdk_reads_as_it_stands_never_waits_for_a_flood_of_other_rows(
    clock: _Clock, log: Log
) -> None:
    """A device is published at once, and `progress` does not say that what waits were there."""
    handover, appender = Handover(), FakeAppender()
    viewing = Viewing(log.state, cast("Appender", appender), TOPICS, handover)
    for number in range(1, FLOOD_ROWS):
        log.add_app(f"application-{number}", "node-127.0.0.1_8082")
    viewing.owner_changed(owns=True)
    viewing.turn(readers_at_end=True)
    handover.take()
    appender.take()

    clock.ms += 1_000
    log.add(AppStopRequested("request-stop-1", "application-1"))
    log.add(DeviceRegistered("request-device-1", Device("sensor-1", "probe")))
    viewing.turn(readers_at_end=True)

    assert set(handover.take()) == {ViewKey("platform", "devices/sensor-1")}
    assert appender.take() == []
    clock.ms += FLOOD_MAX_MS
    viewing.turn(readers_at_end=True)
    assert ViewKey("apps", "application-1") in handover.take()
