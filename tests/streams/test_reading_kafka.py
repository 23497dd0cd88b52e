"""Reading, asking and verifying on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from click.testing import CliRunner

from cli import main
from sdk.contract.codec import decode_request, encode_event, encode_heartbeat
from sdk.contract.events import BrakeReleaseRequested, RequestRefused
from sdk.contract.heartbeats import Tick
from sdk.contract.requests import ReleaseBrake, StopApp
from sdk.contract.topics import WIDE_PARTITIONS, Topics
from streams.asking import ask, open_conversation
from streams.commands import FAILED, OK, UNHEALTHY, CommandError
from streams.local.broker import LocalBroker
from streams.log_source import entry_of
from streams.reading import events, fold_log, read_platform
from streams.topics import ensure_topics
from streams.verifying import verify_platform
from tables.state import State
from tables.views import PROGRESS_KEY, all_views, encode_progress
from tests.streams.logs import Log

pytestmark = pytest.mark.kafka

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a test's coroutine, which must end."""
    return asyncio.run(asyncio.wait_for(work, 60))


@pytest.fixture
def prefix(kafka: LocalBroker) -> str:
    """A platform of its own, with its topics."""
    name = f"t{uuid.uuid4().hex[:8]}"
    ensure_topics(kafka.bootstrap, name)
    return name


@pytest.fixture
def log() -> Log:
    """Two nodes, an app and a garbage record."""
    log = Log()
    log.start(nodes=2)
    log.add_app("application-a", "node-127.0.0.1_8082")
    log.add_raw(b"\xffgarbage")
    return log


@asynccontextmanager
async def writing(kafka: LocalBroker) -> AsyncIterator[AIOKafkaProducer]:
    """A producer."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def write_log(kafka: LocalBroker, prefix: str, log: Log, start: int = 0) -> State:
    """Append the log from `start` on and return its fold as it stands on the broker."""
    async with writing(kafka) as producer:
        for entry in log.entries[start:]:
            await producer.send_and_wait(Topics(prefix).events, entry.raw, partition=0)
    return await fold_log(kafka.bootstrap, prefix)


async def publish(kafka: LocalBroker, prefix: str, state: State, *, progress: int | None = None) -> None:
    """Write the view of a state, and `progress` unless it is negative."""
    async with writing(kafka) as producer:
        for view, value in all_views(state).items():
            topic = Topics(prefix).state(view.table)
            await producer.send_and_wait(topic, value, key=view.key.encode(), partition=0)
        at = state.offset if progress is None else progress
        if at >= 0:
            topic = Topics(prefix).state("platform")
            await producer.send_and_wait(topic, encode_progress(at), key=PROGRESS_KEY.encode(), partition=0)


async def tick(kafka: LocalBroker, prefix: str) -> None:
    """One tick on every heartbeat partition."""
    async with writing(kafka) as producer:
        for partition in range(WIDE_PARTITIONS):
            value = encode_heartbeat(Tick("writer-1", 1))
            await producer.send_and_wait(Topics(prefix).heartbeats, value, partition=partition)


def published(state: State) -> dict[str, dict[str, object]]:
    """All rows that the view has."""
    return {
        table: dict(rows) for table, rows in state.tables.items() if table not in {"counters", "requests"}
    }


def test_platform_reads_the_same_with_and_without_a_view(kafka: LocalBroker, prefix: str, log: Log) -> None:
    """No view, a view with a tail, a whole one and one ahead of its progress: all give the fold of the log."""

    async def check() -> None:
        first = await write_log(kafka, prefix, log)
        readings = [await read_platform(kafka.bootstrap, prefix)]
        await publish(kafka, prefix, first)
        readings.append(await read_platform(kafka.bootstrap, prefix))
        half = log.end
        log.add_app("application-b", "node-127.0.0.1_8083")
        whole = await write_log(kafka, prefix, log, half)
        readings.append(await read_platform(kafka.bootstrap, prefix))
        await publish(kafka, prefix, whole, progress=half - 1)
        readings.append(await read_platform(kafka.bootstrap, prefix))

        for reading, state in zip(readings, [first, first, whole, whole], strict=True):
            assert published(reading.state) == published(state)
            assert reading.state.now_ms == state.now_ms
            assert reading.end == state.offset + 1
        assert [reading.progress for reading in readings] == [-1, half - 1, half - 1, half - 1]

    run(check())


def test_last_tick_is_found(kafka: LocalBroker, prefix: str, log: Log) -> None:
    """Without a tick nothing is known; with one its append time is."""

    async def check() -> None:
        await write_log(kafka, prefix, log)
        before = await read_platform(kafka.bootstrap, prefix)
        await tick(kafka, prefix)
        after = await read_platform(kafka.bootstrap, prefix)

        assert before.last_tick_ms is None
        assert after.last_tick_ms is not None

    run(check())


def test_events_follow_what_comes(kafka: LocalBroker, prefix: str, log: Log) -> None:
    """A follower gets what is there and then what is appended; garbage comes as its error."""

    async def check() -> None:
        await write_log(kafka, prefix, log)
        following = events(kafka.bootstrap, prefix, start=log.end - 1, follow=True)
        garbage = await anext(following)
        log.add_lone("service-old")
        waiting = asyncio.ensure_future(anext(following))
        await write_log(kafka, prefix, log, log.end - 1)
        entry = await waiting
        await following.aclose()  # type: ignore[attr-defined]  # declared as an iterator, is a generator

        assert isinstance(garbage.said, ValueError)
        assert entry.raw == log.entries[-1].raw

    run(check())


def test_verify_on_a_broker(
    kafka: LocalBroker, prefix: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A true view is clean, a row written wrong afterwards is found."""
    monkeypatch.setattr("streams.verifying.PAUSE_S", 0.05)

    async def check() -> None:
        state = await write_log(kafka, prefix, log)
        await publish(kafka, prefix, state)
        clean = await verify_platform(kafka.bootstrap, prefix)
        async with writing(kafka) as producer:
            await producer.send_and_wait(
                Topics(prefix).state("apps"), b"garbage", key=b"application-a", partition=0
            )
        broken = await verify_platform(kafka.bootstrap, prefix)

        assert clean == []
        assert len(broken) == 1
        assert broken[0].startswith("apps application-a:")

    run(check())


async def answer(kafka: LocalBroker, prefix: str, *, refuse: bool) -> None:
    """A worker in miniature: answer the first request on the log."""
    reader = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await reader.start()
    try:
        place = TopicPartition(Topics(prefix).requests, 0)
        reader.assign([place])
        reader.seek(place, 0)
        asked = decode_request((await reader.getone()).value)
    finally:
        await reader.stop()
    event = RequestRefused(asked.id, "no app 'x'") if refuse else BrakeReleaseRequested(asked.id)
    value = encode_event(event, event_id="answer", cause=asked.id, writer="writer-1", at_ms=0)
    async with writing(kafka) as producer:
        await producer.send_and_wait(Topics(prefix).events, value, partition=0)


def test_asking_returns_the_event_that_answers(kafka: LocalBroker, prefix: str, log: Log) -> None:
    """The answer is the event whose cause is the request, and the conversation has folded it."""

    async def check() -> None:
        await write_log(kafka, prefix, log)
        worker = asyncio.ensure_future(answer(kafka, prefix, refuse=False))
        async with open_conversation(kafka.bootstrap, prefix) as talk:
            found = await talk.ask(ReleaseBrake())
            await worker

            assert found.offset == log.end == talk.state.offset
            assert isinstance(found.recorded.event, BrakeReleaseRequested)
            assert entry_of(0, 0, None).raw is None

    run(check())


def test_asking_for_what_is_refused_says_why(kafka: LocalBroker, prefix: str, log: Log) -> None:
    """A refusal is an error with the reason that the platform gave."""

    async def check() -> None:
        await write_log(kafka, prefix, log)
        worker = asyncio.ensure_future(answer(kafka, prefix, refuse=True))
        with pytest.raises(CommandError, match="no app 'x'"):
            await ask(kafka.bootstrap, prefix, StopApp("x"))
        await worker

    run(check())


def test_asking_without_a_worker_ends_in_time(kafka: LocalBroker, prefix: str, log: Log) -> None:
    """Nobody answers: an error that says so, not a wait for ever."""

    async def check() -> None:
        await write_log(kafka, prefix, log)
        with pytest.raises(CommandError, match=r"Nobody answered within 0\.5 s"):
            await ask(kafka.bootstrap, prefix, ReleaseBrake(), timeout_s=0.5)

    run(check())


def test_commands_work_while_every_worker_is_down(
    kafka: LocalBroker, prefix: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists, time travel and topics work from the log alone; `monitor status` says that nobody watches."""
    monkeypatch.setattr("streams.verifying.PAUSE_S", 0.05)
    run(write_log(kafka, prefix, log))
    place = ["--bootstrap-servers", kafka.bootstrap, "--prefix", prefix]

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*arguments, *place], prog_name="cli.py")
        return result.exit_code, result.stdout

    nodes = call("nodes", "list", "-o", "name")
    then = call("state", "--at", "4", "nodes", "apps")
    status = call("monitor", "status")
    topics = call("topics", "check")
    verified = call("verify")

    assert nodes == (OK, "node-127.0.0.1_8082\nnode-127.0.0.1_8083\n")
    assert then[0] == OK
    assert "node-127.0.0.1_8082" in then[1]
    assert "application-a" not in then[1]
    assert status[0] == UNHEALTHY
    assert "not watched" in status[1]
    assert topics[0] == OK
    assert verified[0] == FAILED
    assert "no progress row" in verified[1]
