"""Requests are answered once, also those that Faust never delivers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from sdk.contract.codec import encode_request
from sdk.contract.events import AppSubmitted
from sdk.contract.requests import RunApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import Topics
from streams.core import monotonic
from streams.core.admission import RESCUE_MAX, RESCUE_MS, Admission
from streams.core.appender import Appender
from streams.core.letters import Letters
from streams.core.planning import Planning
from tests.streams.fakes import FakeAppender
from tests.streams.logs import Log


def _record(value: bytes, offset: int = 0) -> Any:
    return SimpleNamespace(topic="watchkeep.requests.v1", partition=0, offset=offset, key=b"r", value=value)


def _asked() -> bytes:
    return encode_request(RunApp(AppSpec("application-a", ["true"])), request_id="r-1", asker="test", at_ms=0)


def _admission(log: Log, appender: FakeAppender) -> tuple[Admission, Letters]:
    letters = Letters(cast("Appender", appender), Topics("watchkeep"))
    leading = cast("Planning", SimpleNamespace(leads=True))
    return Admission(log.state, leading, cast("Appender", appender), letters), letters


def test_a_request_that_was_never_delivered_is_admitted_by_the_core() -> None:
    """What Faust lost in a takeover is answered all the same, once."""
    log, appender = Log(), FakeAppender()
    admission, _ = _admission(log, appender)
    admission.note(_record(_asked()))
    now_ms = monotonic.now_ms()

    admission.rescue(now_ms)
    before = len(appender.appended)
    admission.rescue(now_ms + RESCUE_MS)
    admission.rescue(now_ms + RESCUE_MS + 1)

    assert before == 0
    ((_, event, cause),) = appender.appended
    assert isinstance(event, AppSubmitted)
    assert cause == "r-1"


def test_a_request_that_the_log_answers_is_left_alone() -> None:
    """Who was answered is not rescued."""
    log, appender = Log(), FakeAppender()
    admission, _ = _admission(log, appender)
    admission.note(_record(_asked()))
    log.add(AppSubmitted("r-1", AppSpec("application-a", ["true"])))

    admission.rescue(monotonic.now_ms() + 2 * RESCUE_MS)

    assert appender.appended == []


def test_a_garbled_request_becomes_a_dead_letter() -> None:
    """Garbage among the requests is met by the core too, and one letter comes of it."""
    appender = FakeAppender()
    admission, letters = _admission(Log(), appender)

    admission.note(_record(b"garbage"))
    letters.write()

    assert [written.key for written in appender.take()] == [b"watchkeep.requests.v1/0/0"]


def test_a_flood_of_requests_is_admitted_a_few_at_a_time() -> None:
    """However many wait, only so many are on their way at once; none is forgotten."""
    log, appender = Log(), FakeAppender()
    admission, _ = _admission(log, appender)
    held: list[Any] = []
    appender.later = lambda work, _failed=None: held.append(work)  # type: ignore[assignment, method-assign]
    for number in range(3 * RESCUE_MAX):
        spec = AppSpec(f"application-{number}", ["true"])
        asked = encode_request(RunApp(spec), request_id=f"r-{number}", asker="test", at_ms=0)
        admission.note(_record(asked, number))
    now_ms = monotonic.now_ms() + RESCUE_MS

    for _ in range(4):
        admission.rescue(now_ms)
        assert len(held) <= RESCUE_MAX
        while held:
            asyncio.run(held.pop())

    assert sorted(cause for _, _, cause in appender.appended) == sorted(
        f"r-{number}" for number in range(3 * RESCUE_MAX)
    )


def test_a_flood_is_admitted_without_waiting_for_the_next_turn() -> None:
    """Each acknowledged request makes room for the next at once; never are more than the bound under way."""
    log, appender = Log(), FakeAppender()
    admission, _ = _admission(log, appender)
    for number in range(3 * RESCUE_MAX):
        spec = AppSpec(f"application-{number}", ["true"])
        asked = encode_request(RunApp(spec), request_id=f"r-{number}", asker="test", at_ms=0)
        admission.note(_record(asked, number))
        request, _ = admission._unanswered[f"r-{number}"]
        admission._unanswered[f"r-{number}"] = (request, monotonic.now_ms() - RESCUE_MS)
    held: list[Any] = []
    most = 0
    appender.later = lambda work, _failed=None: held.append(work)  # type: ignore[assignment, method-assign]

    admission.rescue(monotonic.now_ms())
    while held:
        most = max(most, len(held))
        asyncio.run(held.pop(0))

    assert most == RESCUE_MAX
    assert [cause for _, _, cause in appender.appended] == [f"r-{number}" for number in range(3 * RESCUE_MAX)]
