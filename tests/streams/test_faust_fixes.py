"""The private methods of Faust that are overridden must stay what they were, and the fixes must fix."""

import asyncio
import inspect
import time
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.topics import Topic
from faust.transport import consumer as faust_consumer
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types.tuples import TP

from streams import faust_fixes
from streams.faust_fixes import LoopGuard, SafeConsumer, SafeTopic


@pytest.mark.parametrize(
    ("owner", "method", "parameters"),
    [
        (Topic, "_on_published", ["self", "fut", "message", "producer", "state"]),
        (Consumer, "_new_offset", ["self", "tp"]),
        (
            Topic,
            "send_soon",
            [
                "self",
                "key",
                "value",
                "partition",
                "timestamp",
                "headers",
                "schema",
                "key_serializer",
                "value_serializer",
                "callback",
                "force",
                "eager_partitioning",
            ],
        ),
        (Consumer, "_commit_offsets", ["self", "offsets", "start_new_transaction"]),
        (faust.App, "_on_partitions_revoked", ["self", "revoked"]),
        (AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
    ],
)
def test_overridden_methods_are_still_there(owner: type, method: str, parameters: list[str]) -> None:
    """An upgrade of Faust that renames what we override fails here, not in a bad night."""
    assert list(inspect.signature(getattr(owner, method)).parameters) == parameters


def test_version_is_the_one_that_was_read() -> None:
    """The fixes were written against one version of Faust."""
    assert faust.__version__ == "0.15.3"


class _Message:
    def __init__(self, tp: TP, offset: int, *, acked: bool) -> None:
        self.tp, self.offset, self.acked = tp, offset, acked


def _consumer(in_flight: list[int], acked: list[int], committed: int) -> Any:
    """A consumer with just the state that choosing an offset reads."""
    tp = TP("requests", 0)
    consumer: Any = SafeConsumer.__new__(SafeConsumer)
    consumer._unacked_messages = {_Message(tp, offset, acked=False) for offset in in_flight}
    consumer._acked = {tp: list(acked)}
    consumer._acked_index = {tp: set(acked)}
    consumer._gap = {tp: vars(faust_consumer)["IntervalTree"]()}
    consumer._committed_offset = {tp: committed}
    consumer._read_offset = {tp: committed}
    return consumer


@pytest.mark.parametrize(
    ("in_flight", "acked", "expected"),
    [([], [3, 4, 5], 6), ([4], [3, 5, 6], 4), ([3], [4, 5], None), ([7], [3, 4], 5)],
)
def test_nothing_is_committed_past_a_message_in_flight(
    in_flight: list[int], acked: list[int], expected: int | None
) -> None:
    """The committed offset never passes a message that is still being handled."""
    consumer = _consumer(in_flight, acked, committed=3)

    offset = consumer._new_offset(TP("requests", 0))

    assert offset == expected


def test_a_commit_waits_for_what_was_put_before_it_and_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """While rows are written as fast as they are sent the buffer is never empty: offsets are committed all the same."""
    committed: list[Any] = []

    async def commit(_: Any, offsets: Any, **__: Any) -> bool:
        committed.append(offsets)
        return True

    monkeypatch.setattr(Consumer, "_commit_offsets", commit)

    async def go() -> None:
        flushed: list[bool] = []

        async def flush() -> None:
            flushed.append(True)

        consumer = _consumer([], [], 0)
        put = asyncio.get_running_loop().create_future()
        sender = SimpleNamespace(_producer=SimpleNamespace(flush=flush), buffer=SimpleNamespace(size=1_000))
        consumer.app = SimpleNamespace(newest_put=put, producer=sender)
        commits = asyncio.ensure_future(consumer._commit_offsets({"tp": 3}))
        await asyncio.sleep(0)
        assert not commits.done()
        # Another row is put, and not acknowledged yet.
        consumer.app.newest_put = asyncio.get_running_loop().create_future()
        put.set_result(None)
        assert await commits
        assert (committed, flushed) == ([{"tp": 3}], [True])

    asyncio.run(go())


def test_a_commit_is_put_off_while_nothing_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed then, and the next try may be luckier."""
    monkeypatch.setattr(faust_fixes, "_FLUSH_WITHIN_S", 0.01)

    async def go() -> None:
        consumer = _consumer([], [], 0)
        consumer.app = SimpleNamespace(newest_put=asyncio.get_running_loop().create_future(), producer=None)
        assert not await consumer._commit_offsets({"tp": 3})

    asyncio.run(go())


class _ExitedError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reasons for which the process would have ended."""
    reasons: list[str] = []

    def end(why: str) -> None:
        reasons.append(why)
        raise _ExitedError

    monkeypatch.setattr(faust_fixes, "exit_at_once", end)
    return reasons


def test_a_failed_produce_ends_the_process(exits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A changelog record that was not acknowledged must not be followed by a commit."""
    monkeypatch.setattr(Topic, "_on_published", lambda *_: None)

    async def fail() -> None:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(OSError("disk full"))
        topic = SafeTopic.__new__(SafeTopic)
        topic.topics = ["nodes"]
        with pytest.raises(_ExitedError):
            topic._on_published(failed, None, None, None)

    asyncio.run(fail())

    assert "disk full" in exits[0]


@pytest.mark.parametrize(("owns", "ends"), [(True, True), (False, False)])
def test_an_owner_whose_loop_stood_still_ends(exits: list[str], owns: bool, ends: bool) -> None:
    """Who may write tables and was paused past half its session ends before it writes; a follower goes on."""
    guard = LoopGuard(stand_still_max_s=1.5, armed=lambda: owns)
    guard._turned_s = time.monotonic() - 2

    try:
        guard.check()
    except _ExitedError:
        assert ends

    assert bool(exits) == ends
