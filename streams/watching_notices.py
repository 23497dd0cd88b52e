"""Follows the log and tells what becomes of notifications, over outages of Kafka too. Shell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from streams.commands import CommandError
from streams.log_source import LogSource, fold_entry, open_source
from streams.notice_board import Board, Told
from streams.reading import Reading, read_from

if TYPE_CHECKING:
    from streams.settings import Settings
    from tables.notification_rows import NotificationRow

#: How often it is looked for repetitions, and whether Kafka answers, s.
TICK_EVERY_S = 0.5
PULSE_EVERY_S = 2.0

Tell = Callable[[list[Told]], None]


async def watch_notices(
    settings: Settings,
    *,
    wanted: Callable[[NotificationRow], bool],
    tell: Tell,
    say: Callable[[str], None],
    begun: Callable[[Reading], None],
    now_ms: Callable[[], int],
    with_open: bool = True,
) -> None:
    """Tell what is open, and then what is new, until cancelled.

    Args:
        settings: Which platform.
        wanted: Which rows.
        tell: Called with what there is to tell.
        say: Called with a sentence about Kafka being away or back.
        begun: Called once with what was read first.
        now_ms: The machine's clock.
        with_open: Also what is open already.

    Raises:
        CommandError: no Kafka answers at the start, or the log was made anew.
    """
    board = Board(wanted)
    async with open_source(settings.bootstrap, settings.prefix) as source:
        reading = await read_from(source)
        begun(reading)
        first = board.begin(dict(reading.state.notifications), now_ms())
        tell(first if with_open else [])
        work = [
            asyncio.ensure_future(_follow(source, reading, board, tell, now_ms)),
            asyncio.ensure_future(_tick(board, tell, now_ms)),
            asyncio.ensure_future(_pulse(source, reading, say)),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in work:
                each.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*work, return_exceptions=True)


async def _follow(
    source: LogSource, reading: Reading, board: Board, tell: Tell, now_ms: Callable[[], int]
) -> None:
    state = reading.state
    changed = state.listen()
    entries = source.read_log(state.offset + 1)
    async with _closing(entries):
        async for entry in entries:
            fold_entry(state, entry)
            for table, key in sorted(changed):
                if table == "notifications":
                    tell(board.change(key, state.notifications.get(key), now_ms()))
            changed.clear()


@contextlib.asynccontextmanager
async def _closing(entries: AsyncIterator[object]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await entries.aclose()  # type: ignore[attr-defined]  # an async generator is declared as its iterator


async def _tick(board: Board, tell: Tell, now_ms: Callable[[], int]) -> None:
    while True:
        await asyncio.sleep(TICK_EVERY_S)
        tell(board.tick(now_ms()))


async def _pulse(source: LogSource, reading: Reading, say: Callable[[str], None]) -> None:
    """Say when Kafka is away and when it is back; the reader of the log waits for it by itself."""
    is_away, log = False, (source.topics.events, 0)
    while True:
        await asyncio.sleep(PULSE_EVERY_S)
        try:
            end = (await source.ends([log]))[log]
        except CommandError:
            if not is_away:
                is_away = True
                say(f"Kafka at {source.bootstrap} is away; what is new is shown when it is back.")
            continue
        if is_away:
            is_away = False
            say("Kafka is back.")
        if end <= reading.state.offset:
            raise CommandError("The log was made anew; start again.")
