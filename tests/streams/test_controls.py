"""What the leader writes to controllers' topics, what it leaves alone, and which reports it puts on the log."""

from typing import cast

import msgspec
import pytest

from sdk.contract.codec import DecodeError
from sdk.contract.controllers import Desired, Reported, decode_desired, encode_desired, encode_reported
from sdk.contract.devices import Device
from sdk.contract.events import ControllerReported, ControllerSetRequested, DeviceRegistered, DeviceRetired
from streams.core import monotonic
from streams.core.appender import Appender
from streams.core.controls import AGAIN_MS, FAILED_AGAIN_MS, Controls
from tests.streams.fakes import FakeAppender
from tests.streams.logs import Log

LAMP = "controller-lamp"


class Leader:
    """The part under test, a log, and a topic that has what was written and read back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = Log()
        self.log.start(nodes=1)
        self.log.add(DeviceRegistered("r1", Device(LAMP)))
        self.appender = FakeAppender()
        self.controls = Controls(self.log.state, cast("Appender", self.appender), "watchkeep", "log-1")
        self.controls.begin_term()
        self.now_ms = 0
        self._offset = 0
        monkeypatch.setattr(monotonic, "now_ms", lambda: self.now_ms)

    def set(self, command: str) -> None:
        """A command stands on the log."""
        self.log.add(ControllerSetRequested(command, LAMP, "1", 30_000))

    def published(self) -> list[tuple[str, str, int]]:
        """What is written now: topic, command and position."""
        self.controls.publish()
        said = [(it.topic, decode_desired(it.value)) for it in self.appender.take()]
        return [(topic, desired.command, desired.as_of) for topic, desired in said]

    def read(self, record: Desired | Reported | bytes) -> None:
        """A record of the topic is read."""
        self._offset += 1
        if isinstance(record, Desired):
            self.controls.read_back(LAMP, b"desired", encode_desired(record), self._offset)
        elif isinstance(record, Reported):
            self.controls.read_back(LAMP, b"reported", encode_reported(record), self._offset)
        else:
            with pytest.raises(DecodeError, match="desired"):
                self.controls.read_back(LAMP, b"desired", record, self._offset)


@pytest.fixture
def leader(monkeypatch: pytest.MonkeyPatch) -> Leader:
    """One lamp."""
    return Leader(monkeypatch)


def _desired(command: str, as_of: int, *, log: str = "log-1") -> Desired:
    return Desired(command, msgspec.Raw(b"1"), log, as_of)


def test_nothing_is_written_before_the_topic_was_read(leader: Leader) -> None:
    """What stands there may be newer."""
    leader.set("c1")
    assert leader.published() == []
    leader.controls.caught_up(LAMP)
    assert leader.published() == [("watchkeep.controller-lamp.v1", "c1", leader.log.state.offset)]


def test_what_was_written_is_not_written_again_unless_it_was_not_read_back(leader: Leader) -> None:
    """In time; a failed write is tried again sooner."""
    leader.controls.caught_up(LAMP)
    leader.set("c1")
    assert len(leader.published()) == 1
    leader.now_ms += AGAIN_MS - 1
    assert leader.published() == []
    leader.now_ms += 1
    assert len(leader.published()) == 1
    leader.read(_desired("c1", leader.log.state.offset))
    leader.now_ms += 2 * AGAIN_MS
    assert leader.published() == []
    assert leader.controls.is_settled

    leader.appender.fails = True
    leader.set("c2")
    assert leader.published() == []
    leader.appender.fails = False
    leader.now_ms += FAILED_AGAIN_MS
    assert [command for _, command, _ in leader.published()] == ["c2"]


def test_what_an_old_leader_or_anybody_wrote_is_written_over(leader: Leader) -> None:
    """An older record, garbage, one of a log that was made anew; but never a newer one of the same log."""
    leader.controls.caught_up(LAMP)
    leader.set("c1")
    leader.published()
    for foreign in (_desired("c0", 0), b"garbage", _desired("c0", 9_000, log="log-0")):
        leader.read(_desired("c1", leader.log.state.offset))
        assert leader.published() == []
        leader.read(foreign)
        assert [command for _, command, _ in leader.published()] == ["c1"], foreign
    leader.read(_desired("c9", leader.log.state.offset + 1))
    leader.now_ms += 2 * AGAIN_MS
    assert leader.published() == []


def test_a_report_goes_to_the_log_while_its_command_is_in_force(leader: Leader) -> None:
    """Under one id, until it counts; reports about other commands never do."""
    leader.read(Reported("c1", "done", msgspec.Raw(b"2")))
    assert leader.controls.facts() == []
    # Known only now: the report had come before the worker had folded the command.
    leader.set("c1")
    (fact,) = leader.controls.facts()
    assert fact.event == ControllerReported(LAMP, "c1", "done", "2", 1)
    assert leader.controls.facts() == [fact]
    leader.log.add(fact.event)
    assert leader.controls.facts() == []

    leader.set("c2")
    leader.set("c3")
    leader.read(Reported("c2", "rejected", reason="no"))
    assert leader.controls.facts() == []


def test_a_controller_that_is_retired_or_moves_to_another_topic_is_read_anew(leader: Leader) -> None:
    """What is known of the old topic says nothing about the new one."""
    leader.controls.caught_up(LAMP)
    leader.set("c1")
    leader.published()
    leader.log.add(DeviceRegistered("r2", Device(LAMP, topic="lamp-topic")))
    assert leader.published() == []
    assert leader.controls.topics == {LAMP: "lamp-topic"}
    leader.controls.caught_up(LAMP)
    assert [(topic, command) for topic, command, _ in leader.published()] == [("lamp-topic", "c1")]
    leader.log.add(DeviceRetired("r3", LAMP))
    assert leader.published() == []
    assert leader.controls.topics == {}


def test_who_stops_reading_knows_nothing(leader: Leader) -> None:
    """Who leads again reads first."""
    leader.controls.caught_up(LAMP)
    leader.set("c1")
    leader.controls.follow()
    leader.controls.forget()
    assert leader.published() == []
