"""Fakes of what the core's parts write to: they keep what was written and acknowledge when told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiokafka.errors import KafkaError

from sdk.contract.events import Event


class Written(NamedTuple):
    """One record that was written."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int


class FakeAppender:
    """An appender whose writes happen at once, or fail if told."""

    def __init__(self) -> None:
        self.writer = "worker/test/1"
        self.written: list[Written] = []
        self.appended: list[tuple[str, Event, str]] = []
        self.fails = False

    async def append(self, events: list[tuple[str, Event, str]]) -> list[int]:
        """Keep the events."""
        if self.fails:
            raise KafkaError
        self.appended += events
        return list(range(len(self.appended) - len(events), len(self.appended)))

    async def put(self, topic: str, key: bytes, value: bytes | None, *, partition: int = 0) -> None:
        """Keep the record."""
        if self.fails:
            raise KafkaError
        self.written.append(Written(topic, key, value, partition))

    def later(self, work: Awaitable[object], failed: Callable[[], None] | None = None) -> None:
        """Do the work now."""

        async def run() -> None:
            try:
                await work
            except KafkaError:
                if failed is not None:
                    failed()

        asyncio.run(run())

    def take(self) -> list[Written]:
        """What was written since the last call."""
        written, self.written = self.written, []
        return written
