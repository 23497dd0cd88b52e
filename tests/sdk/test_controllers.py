"""Commands of an app: what is sent, how a handle ends, and what a device does with its topic."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from sdk import controllers
from sdk.command_feed import CommandFeed
from sdk.command_handle import ANSWER_GRACE_S, Handle
from sdk.contract.codec import decode_request, encode_event
from sdk.contract.controllers import Desired, Reported, encode_desired, encode_reported
from sdk.contract.events import ControllerSetRequested, Event, RequestRefused
from sdk.contract.requests import SetController
from sdk.contract.topics import Topics
from sdk.controller_device import DeviceMemory, Rejected, report_of
from sdk.controller_errors import CommandExpiredError, CommandRejectedError, ControllerUnreachableError
from sdk.outbox_errors import OutboxFullError
from sdk.sensor_errors import NotBoundError, NotYoursError, UnknownAppError

TOPICS = Topics("watchkeep")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SetController]]:
    """What is sent, in the order of sending; nobody answers."""
    found: list[SetController] = []

    class Box:
        goal = "the box"

        def __init__(self, *_: object) -> None:
            pass

        def send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
            asked = decode_request(value)
            assert (topic, partition, asked.id) == (TOPICS.requests, 0, key.decode())
            assert isinstance(asked.request, SetController)
            if asked.request.value == '"away"':
                raise OSError("away")
            found.append(asked.request)

        def close(self) -> None:
            pass

    class Deaf(CommandFeed):
        def follow(self, handle: Handle) -> None:
            pass

    monkeypatch.setattr(controllers, "RequestPost", Box)
    monkeypatch.setattr(controllers, "CommandFeed", Deaf)
    for name in ("WATCHKEEP_APP_ID", "WATCHKEEP_GENERATION", "WATCHKEEP_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    yield found
    controllers.close(1.0)
    controllers.configure()


def test_a_managed_app_sends_its_generation_and_others_their_name(
    sent: list[SetController], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, with what is left of their time; the request's id is the command's."""
    first = controllers.set(3, {"on": True}, 5.0, app="1")
    monkeypatch.setenv("WATCHKEEP_APP_ID", "application-1")
    monkeypatch.setenv("WATCHKEEP_GENERATION", "42")
    second = controllers.set(0, "é", command="night")
    controllers.close()

    assert [(it.app, it.index, it.value, it.generation) for it in sent] == [
        ("application-1", 3, '{"on":true}', 0),
        ("application-1", 0, '"é"', 42),
    ]
    assert 4_000 < sent[0].for_ms <= 5_000
    assert sent[0].sent_at_ms > 0
    assert first.command != second.command == "application-1/night"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"app": None}, UnknownAppError, "the app must be named"),
        ({"controller_idx": 10_000}, ValueError, "index: 10000"),
        ({"value": float("nan")}, ValueError, "value: nan cannot be said in JSON"),
        ({"value": {1, 2}}, ValueError, "cannot be said in JSON"),
        ({"value": "x" * (64 << 10)}, ValueError, "value: 65538 bytes of JSON; allowed: at most 65536"),
        ({"timeout_s": 0.0}, ValueError, "for_ms: 0 is out of range"),
        ({"command": ""}, ValueError, "command: '' must be 1 to 200 printable letters"),
    ],
)
def test_what_cannot_be_sent_says_why(
    sent: list[SetController], arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    """At once, and nothing is sent."""
    with pytest.raises(error, match=said):
        controllers.set(**{"controller_idx": 0, "value": 1, "app": "a", **arguments})
    assert sent == []


def test_inside_a_managed_app_only_its_own_controllers_can_be_set(
    sent: list[SetController], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's are an error that says whose."""
    monkeypatch.setenv("WATCHKEEP_APP_ID", "application-1")
    with pytest.raises(NotYoursError, match="application-1 cannot set the controllers of application-2"):
        controllers.set(0, 1, app="2")
    assert sent == []


def test_a_full_buffer_drops_the_oldest_or_refuses_as_its_author_chose(sent: list[SetController]) -> None:
    """Whoever waits for a dropped command hears of it."""
    controllers.configure(size=1)
    held = [controllers.set(0, "away", app="a")]
    # The first is under way as soon as it is not counted among those that wait.
    deadline_s = time.monotonic() + 10
    while not controllers.dropped():
        assert time.monotonic() < deadline_s
        held.append(controllers.set(0, "away", app="a"))
    assert "unreachable" in [handle.state for handle in held]
    controllers.close(0.0)

    controllers.configure(size=1, when_full="refuse")

    def fill() -> None:
        for _ in range(1_000):
            controllers.set(0, "away", app="a")

    with pytest.raises(OutboxFullError):
        fill()
    controllers.close(0.0)
    with pytest.raises(ValueError, match="allowed: 1 and more"):
        controllers.configure(size=0)
    assert sent == []


def test_a_command_that_could_not_be_sent_in_its_time_is_unreachable(sent: list[SetController]) -> None:
    """Nobody has to wait for longer than that."""
    handle = controllers.set(0, "away", 0.1, app="a")
    assert handle.wait(10.0) == "unreachable"
    assert "Kafka took no records" in handle.reason
    with pytest.raises(ControllerUnreachableError):
        handle.result()
    assert sent == []


# --- handles ---------------------------------------------------------------------------------------


class _Kafka(NamedTuple):
    """A record as a consumer yields it."""

    key: bytes | None
    value: bytes | None


def _feed(*handles: Handle) -> CommandFeed:
    feed = CommandFeed("nowhere:1", "watchkeep")
    # Without its thread: the test is who reads.
    feed._thread = threading.current_thread()
    for handle in handles:
        feed.follow(handle)
    return feed


def _event(event: Event) -> _Kafka:
    return _Kafka(b"", encode_event(event, event_id="e", cause="", writer="w", at_ms=0))


def _row(command: str, phase: str, **more: str) -> _Kafka:
    row = {"command": command, "phase": phase, **more}
    value = msgspec.json.encode({"as_of": 1, "table": "commands", "row": row})
    return _Kafka(f"commands/{command}".encode(), value)


def test_a_handle_ends_as_the_published_row_says() -> None:
    """Done with what was reported, rejected or expired with the reason; a command that is under way goes on."""
    done, refused, expired = (Handle(name, 30.0) for name in ("c1", "c2", "c3"))
    feed = _feed(done, refused, expired)
    for record in (
        _row("c1", "desired"),
        _row("c1", "done", reported='{"on":true}'),
        _row("c2", "refused", reason="generation 3 is not in force"),
        _row("c3", "expired", reason="late"),
        _Kafka(b"commands/c4", b"garbage"),
        _Kafka(b"devices/c1", b"{}"),
    ):
        feed._take(TOPICS.state("platform"), record)
    assert done.result() == {"on": True}
    with pytest.raises(CommandRejectedError, match="generation 3"):
        refused.result()
    with pytest.raises(CommandExpiredError, match="late"):
        expired.result()


def test_a_refusal_on_the_log_ends_a_handle_unless_the_request_was_admitted_before() -> None:
    """Two workers may answer one request, and the first answer counts."""
    first, second = Handle("c1", 30.0), Handle("c2", 30.0)
    feed = _feed(first, second)
    admitted = ControllerSetRequested("c1", "controller-lamp", "1", 1_000)
    unbound = "not bound: application-1 has no controller at index 0"
    for event in (admitted, RequestRefused("c1", "stale"), RequestRefused("c2", unbound)):
        feed._take(TOPICS.events, _event(event))
    feed._take(TOPICS.events, _Kafka(None, b"request.refused but garbage"))
    assert first.state == "pending"
    with pytest.raises(NotBoundError, match="no controller at index 0"):
        second.result()


def test_a_command_repeated_under_its_id_ends_as_it_ended_before() -> None:
    """Whether its row is read before or after it is asked for again; one that is forgotten says so."""
    feed = _feed()
    feed._take(TOPICS.state("platform"), _row("c1", "done", reported="7"))
    again, forgotten = Handle("c1", 30.0), Handle("c0", 30.0)
    feed.follow(again)
    feed.follow(forgotten)
    assert again.result() == 7
    feed._take(TOPICS.state("platform"), _Kafka(b"commands/c0", None))
    assert (forgotten.state, "keeps it no more" in forgotten.reason) == ("rejected", True)


def test_a_handle_that_nobody_answers_ends_by_itself() -> None:
    """Its own time and a grace after it; until then a wait says that it is pending."""
    assert Handle("c1", 30.0).wait(0.01) == "pending"
    handle = Handle("c1", -ANSWER_GRACE_S)
    assert handle.wait() == "unreachable"
    assert "it may have been done" in handle.reason
    handle.end("done")
    assert handle.state == "unreachable"


def test_who_sets_is_held_for_less_than_a_millisecond(sent: list[SetController]) -> None:
    """The median of many, because other programs run here too."""
    held_s = []
    for number in range(200):
        began_s = time.perf_counter()
        controllers.set(0, {"on": True, "level": number}, app="a")
        held_s.append(time.perf_counter() - began_s)
    controllers.close()
    assert sorted(held_s)[100] < 0.001
    assert len(sent) == 200


# --- devices ---------------------------------------------------------------------------------------


def _desired(command: str, as_of: int, *, log: str = "log-1", withdrawn: bool = False) -> tuple[bytes, bytes]:
    desired = Desired(command, msgspec.Raw(b"1"), log, as_of, withdrawn=withdrawn)
    return b"desired", encode_desired(desired)


def _reported(command: str, as_of: int, *, log: str = "log-1") -> tuple[bytes, bytes]:
    return b"reported", encode_reported(Reported(command, "done", log=log, as_of=as_of))


@pytest.mark.parametrize(
    ("records", "due"),
    [
        ([], ""),
        ([_desired("c1", 5)], "c1"),
        # Done before a restart: never again, also if it is written again.
        ([_desired("c1", 5), _reported("c1", 5)], ""),
        ([_desired("c1", 5), _reported("c1", 5), _desired("c1", 9)], ""),
        # A leader that was paused writes an older one over a newer one.
        ([_desired("c2", 9), _desired("c1", 5)], "c2"),
        ([_reported("c2", 9), _desired("c1", 5)], ""),
        ([_desired("c1", 5), _desired("c1", 9, withdrawn=True), _desired("c1", 6)], ""),
        # The log was made anew: its offsets say nothing about those of the old one.
        ([_reported("c2", 900), _desired("c3", 5, log="log-2")], "c3"),
        # Garbage is passed over.
        ([_desired("c1", 5), (b"desired", b"{"), (b"reported", b""), (b"other", b"1")], "c1"),
    ],
)
def test_what_a_device_has_to_do_follows_from_its_topic(records: list[tuple[bytes, bytes]], due: str) -> None:
    """A device that was started again reads all of it first."""
    memory = DeviceMemory()
    for key, value in records:
        memory.read(key, value)
    desired = memory.due()
    assert (desired.command if desired is not None else "") == due


def test_reports_that_come_back_late_do_not_make_a_device_act_again() -> None:
    """It has done two commands before it reads the report of the first, or reads its whole topic again."""
    memory = DeviceMemory()
    for command, as_of in (("c1", 5), ("c2", 9)):
        memory.read(*_desired(command, as_of))
        memory.acted(Reported(command, "done", log="log-1", as_of=as_of))
    memory.read(*_reported("c1", 5))
    memory.read(*_reported("c0", 900, log="log-0"))
    assert memory.due() is None


def test_whatever_a_handler_does_becomes_a_report() -> None:
    """What it returns, the value itself, its refusal, its failure."""
    desired = Desired("c1", msgspec.Raw(b'{"on":true}'), "log-1", 5)

    def fail(value: Any) -> None:
        raise ZeroDivisionError(value)

    def refuse(_value: Any) -> None:
        raise Rejected("too hot")

    said = [
        report_of(desired, handler) for handler in (lambda _: 7, lambda _: None, refuse, fail, lambda _: {1})
    ]
    assert [(it.outcome, bytes(it.value)) for it in said[:2]] == [("done", b"7"), ("done", b'{"on":true}')]
    assert [(it.outcome, it.reason) for it in said[2:4]] == [
        ("rejected", "too hot"),
        ("rejected", "the handler failed: ZeroDivisionError({'on': True})"),
    ]
    assert said[4].outcome == "rejected"
    assert {(it.command, it.log, it.as_of) for it in said} == {("c1", "log-1", 5)}


def test_programs_with_an_event_loop_wait_without_holding_it(sent: list[SetController]) -> None:
    """The same handle, awaited."""

    async def drive() -> str:
        handle = await controllers.set_async(0, 1, app="a")
        waiting = asyncio.ensure_future(handle.wait_async())
        await asyncio.sleep(0)
        assert not waiting.done()
        handle.end("done")
        return await waiting

    assert asyncio.run(drive()) == "done"
