"""Asking the platform for something and waiting for its answer on the log. Shell.

1. A request is one record; its answer is the event whose cause is the request's id. The end of the log is read
   before the request is sent, so the answer cannot be missed.
2. A request is sent once. Without an answer in time it still stands and is answered when a worker runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from sdk.contract.codec import Recorded, encode_request
from sdk.contract.events import RequestRefused
from sdk.contract.requests import Request
from streams.commands import CommandError
from streams.log_source import Entry, LogSource, away, fold_entry, open_source
from streams.reading import Reading, read_from
from tables.fold import Outcome
from tables.state import State

#: How long an answer may take: a change of leader on a foreign broker (9 s) and some.
ANSWER_WITHIN_S = 15.0

#: Told of each record that was folded while somebody waits.
NoteCallback = Callable[[Entry, Outcome], None]


class Answer(msgspec.Struct, frozen=True):
    """The event that answered a request."""

    offset: int
    append_ms: int
    recorded: Recorded


def _note_nothing(_entry: Entry, _outcome: Outcome) -> None:
    pass


class Conversation:
    """The state at the end of the log, and questions about what happens next; `open_conversation` makes one."""

    def __init__(self, source: LogSource, reading: Reading) -> None:
        self.reading = reading
        self.state: State = reading.state
        self._source = source
        self._log = source.read_log(reading.end)

    async def ask(
        self, request: Request, *, timeout_s: float = ANSWER_WITHIN_S, asker: str = "cli"
    ) -> Answer:
        """Send a request and return the event that admitted it.

        Raises:
            CommandError: it was refused (the message says why), or nobody answered in time.
        """
        (answer,) = await self.ask_all([request], timeout_s=timeout_s, asker=asker)
        return answer

    async def ask_all(
        self, requests: Sequence[Request], *, timeout_s: float = ANSWER_WITHIN_S, asker: str = "cli"
    ) -> list[Answer]:
        """Send requests in this order, without waiting in between, and return the events that admitted them.

        Raises:
            CommandError: one was refused (the message says why), or not all were answered in time.
        """
        asked = {str(uuid.uuid4()): request for request in requests}
        await self._send(asked, asker)
        answers: dict[str, Answer] = {}

        def note(entry: Entry, _outcome: Outcome) -> None:
            if isinstance(entry.said, Recorded) and entry.said.cause in asked:
                answers.setdefault(entry.said.cause, Answer(entry.offset, entry.append_ms, entry.said))

        if not await self.until(lambda: len(answers) == len(asked), timeout_s=timeout_s, note=note):
            raise CommandError(
                f"Nobody answered within {timeout_s:g} s; the request stands and is answered as soon as a worker "
                "runs. `python cli.py monitor status` says what is wrong."
            )
        for answer in answers.values():
            if isinstance(answer.recorded.event, RequestRefused):
                raise CommandError(f"Refused: {answer.recorded.event.reason}.")
        return [answers[request_id] for request_id in asked]

    async def until(
        self, is_done: Callable[[], bool], *, timeout_s: float, note: NoteCallback = _note_nothing
    ) -> bool:
        """Fold what comes until `is_done`; False if that takes longer than `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not is_done():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            entry = await self._next(left_s)
            if entry is not None:
                note(entry, fold_entry(self.state, entry))
        return True

    async def _next(self, within_s: float) -> Entry | None:
        # A generator that is cancelled is over, so it is asked in a task of its own that outlives the wait.
        if self._asked is None:
            self._asked = asyncio.ensure_future(anext(self._log))
        done, _ = await asyncio.wait([self._asked], timeout=within_s)
        if not done:
            return None
        asked, self._asked = self._asked, None
        return asked.result()

    _asked: asyncio.Future[Entry] | None = None

    async def _send(self, asked: Mapping[str, Request], asker: str) -> None:
        from aiokafka.errors import KafkaError

        from streams.clients import create_writer

        writer: Any = create_writer(self._source.bootstrap)
        topic, at_ms = self._source.topics.requests, time.time_ns() // 1_000_000
        try:
            await writer.start()
            sent = [
                await writer.send(
                    topic,
                    encode_request(request, request_id=request_id, asker=asker, at_ms=at_ms),
                    key=request_id.encode(),
                    partition=0,
                )
                for request_id, request in asked.items()
            ]
            await asyncio.gather(*sent)
        except (KafkaError, OSError):
            raise away(self._source.bootstrap) from None
        finally:
            await writer.stop()

    async def close(self) -> None:
        """Stop reading."""
        if self._asked is not None:
            self._asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asked
        await self._log.aclose()  # type: ignore[attr-defined]  # an async generator is declared as its iterator


@contextlib.asynccontextmanager
async def open_conversation(bootstrap: str, prefix: str) -> AsyncIterator[Conversation]:
    """Read the state and stay at the end of the log.

    Raises:
        CommandError: no Kafka answers, or there is no platform.
    """
    async with open_source(bootstrap, prefix) as source:
        conversation = Conversation(source, await read_from(source))
        try:
            yield conversation
        finally:
            await conversation.close()


async def ask(
    bootstrap: str, prefix: str, request: Request, *, timeout_s: float = ANSWER_WITHIN_S, asker: str = "cli"
) -> Answer:
    """Send one request and return the event that admitted it.

    Raises:
        CommandError: it was refused, nobody answered in time, or no Kafka answers.
    """
    async with open_conversation(bootstrap, prefix) as conversation:
        return await conversation.ask(request, timeout_s=timeout_s, asker=asker)
