"""Topics for beats are made as soon as they are missed, each once, and not again and again if that is refused."""

import asyncio
from types import SimpleNamespace

import pytest

from sdk import topic_counts
from sdk.topic_counts import TopicCounts


def test_a_topic_does_not_wait_for_the_pause_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two services that are expected one after the other is heard as soon as the first."""
    made: list[list[str]] = []
    monkeypatch.setattr(topic_counts, "create_beats_topics", lambda _, topics: made.append(topics))

    async def go() -> None:
        counts = TopicCounts("127.0.0.1:1", client_id="test")
        for missing in ({"first"}, {"first", "second"}, {"first", "second", "foreign"}):
            counts.missing = frozenset(missing)
            counts.create_missing(besides=frozenset({"foreign"}))
            await _made(counts)

    asyncio.run(go())
    assert made == [["first"], ["second"]]


def test_a_topic_that_was_removed_is_made_again_after_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused or gone, it is tried again; one that came to exist meanwhile is forgotten."""
    made: list[list[str]] = []
    monkeypatch.setattr(topic_counts, "create_beats_topics", lambda _, topics: made.append(topics))
    now_s = 100.0
    monkeypatch.setattr(topic_counts, "time", SimpleNamespace(monotonic=lambda: now_s))

    async def go() -> None:
        nonlocal now_s
        counts = TopicCounts("127.0.0.1:1", client_id="test")
        for later_s, missing in ((0.0, {"a"}), (9.9, {"a"}), (0.2, {"a"}), (0.1, set[str]()), (0.1, {"a"})):
            now_s += later_s
            counts.missing = frozenset(missing)
            counts.create_missing()
            await _made(counts)

    asyncio.run(go())
    assert made == [["a"], ["a"], ["a"]]


async def _made(counts: TopicCounts) -> None:
    if counts._creating is not None:
        await counts._creating
