"""How a provisioner lets go of its provider."""

import asyncio
import logging

import pytest

from agents import provisioner
from tests.agents.fakes import FakeProvider, FakeWorld


class Held(FakeProvider):
    """A provider that takes its time to let go."""

    def __init__(self, takes: asyncio.Event | None, error: Exception | None = None) -> None:
        super().__init__(FakeWorld())
        self.closed: list[str] = []
        self._takes = takes
        self._error = error

    async def close(self) -> None:
        """Say that it began, and that it ended."""
        self.closed.append("begun")
        if self._error is not None:
            raise self._error
        if self._takes is not None:
            await self._takes.wait()
        self.closed.append("over")


def test_letting_go_is_awaited() -> None:
    """A provider that lets go in a coroutine has done so when the provisioner goes on."""

    async def run() -> list[str]:
        held = Held(None)
        await provisioner.let_go(held)
        return held.closed

    assert asyncio.run(run()) == ["begun", "over"]


def test_provider_that_does_not_let_go_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that hangs or fails keeps nobody from ending, and is said."""
    monkeypatch.setattr(provisioner, "CLOSE_WITHIN_S", 0.01)

    async def run() -> list[list[str]]:
        each = [Held(asyncio.Event()), Held(None, OSError("host is away"))]
        for held in each:
            await provisioner.let_go(held)
        return [held.closed for held in each]

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(run()) == [["begun"], ["begun"]]
    assert caplog.text.count("the provider could not be closed") == 2
