"""What the commands that travel in time share: a log, its archive, and where a stretch begins and ends. Shell."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.commands.shared import Position

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.travel.archive import Archive
    from streams.travel.logs import TravelLog

Command = TypeVar("Command", bound=Callable[..., Any])


def file_option(command: Command) -> Command:
    """Add `--file`: a log in a file in the place of the platform's."""
    return click.option(
        "--file",
        "path",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file that `events export` wrote; needs no Kafka.",
    )(command)


def stretch_options(command: Command) -> Command:
    """Add `--from` and `--to`: a stretch of the log, the whole of it if not given."""
    for option in (
        click.option("--to", "end", type=Position(), help="The last event; the end of the log if not given."),
        click.option(
            "--from", "start", type=Position(), help="The first event; that of the log if not given."
        ),
    ):
        command = option(command)
    return command


@contextlib.asynccontextmanager
async def travel(settings: Settings, path: Path | None) -> AsyncIterator[tuple[TravelLog, Archive]]:
    """The log in a file, or that of the platform, with its archive."""
    from streams.travel.archive import Archive
    from streams.travel.logs import open_log

    async with open_log(settings, path) as log:
        yield log, Archive(settings.data_path, log)
