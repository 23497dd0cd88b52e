"""`cli.py timeline`: what happened to one node, app, pool or source, and how long each state lasted. Shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands import NOT_FOUND, CommandError
from streams.commands.shared import (
    HelpfulCommand,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, stretch_options, travel
from streams.render import duration, stamp, table, to_json

if TYPE_CHECKING:
    from datetime import datetime

    from streams.settings import Settings
    from streams.travel.timelines import Timeline


@click.command(cls=HelpfulCommand)
@click.argument("name", metavar="NODE|APP|POOL|SOURCE")
@stretch_options
@file_option
@output_option("table", "json")
@platform_options
def timeline(
    name: str,
    start: int | datetime | None,
    end: int | datetime | None,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Print what happened to one thing: each event that changed it, and how long it stayed so.

    \b
    Examples:
      python cli.py timeline application-7
      python cli.py timeline node-127.0.0.1_8085 --from -1h
      python cli.py timeline service-demo-a --file log.jsonl -o json
    """
    found = run(_timeline(settings_of(bootstrap_servers, prefix), path, name, start, end))
    if not found.moments:
        raise CommandError(f"Nothing happened to {name} in this stretch of the log.", NOT_FOUND)
    if output == "json":
        click.echo(to_json(_document(name, found)))
        return
    rows = [
        [
            str(each["offset"]),
            stamp(each["append_ms"]),
            each["event"],
            each["status"],
            duration(each["lasted_ms"]),
        ]
        for each in _document(name, found)["moments"]
    ]
    # The log knows the time of its last record only; what holds now has held at least until then.
    rows[-1][-1] += " and on"
    click.echo(table(["offset", "time", "event", "from then on", "for"], rows))
    for status, lasted_ms in sorted(found.in_all_ms.items(), key=lambda item: -item[1]):
        click.echo(f"  {duration(lasted_ms):>8}  {status}")


async def _timeline(
    settings: Settings,
    path: Path | None,
    name: str,
    start: int | datetime | None,
    end: int | datetime | None,
) -> Timeline:
    from streams.travel.logs import begin_at, end_at
    from streams.travel.timelines import read_timeline

    async with travel(settings, path) as (log, archive):
        first, last = await begin_at(log, start), await end_at(log, end)
        with progress_bar("folding the log") as bar:
            return await read_timeline(log, archive, name, start=first, end=last, progress=bar)


def _document(name: str, found: Timeline) -> dict[str, Any]:
    from streams.travel.timelines import event_name

    moments = [
        {
            "offset": moment.entry.offset,
            "append_ms": moment.entry.append_ms,
            "event": event_name(moment.entry),
            "status": moment.status,
            "lasted_ms": moment.lasted_ms,
        }
        for moment in found.moments
    ]
    return {"name": name, "moments": moments, "in_all_ms": found.in_all_ms}
