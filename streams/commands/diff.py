"""`cli.py diff`: two moments compared, with the events that made the difference. Shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streams.commands.shared import (
    HelpfulCommand,
    Position,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, travel
from streams.render import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from streams.settings import Settings
    from streams.travel.comparing import FieldDifference, RowDifference

#: Longest value of a field shown, and most events named for one; `-o json` has all of it.
_VALUE_LENGTH_MAX = 60
_EVENTS_MAX = 6


@click.command(cls=HelpfulCommand)
@click.option(
    "--from", "start", type=Position(), required=True, help="The earlier moment: an offset or a time."
)
@click.option("--to", "end", type=Position(), help="The later one; the end of the log if not given.")
@click.option("--counters", is_flag=True, help="Also the counters and remembered requests.")
@file_option
@output_option("table", "json")
@platform_options
def diff(
    start: int | datetime,
    end: int | datetime | None,
    counters: bool,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Print the rows and fields that differ between two moments, and the events that made them differ.

    A moment is the state after an offset, or after the last event by a time.

    \b
    Examples:
      python cli.py diff --from 1200 --to 1300
      python cli.py diff --from 14:03 --to 14:10
      python cli.py diff --from -5m -o json
    """
    settings = settings_of(bootstrap_servers, prefix)
    first, last, found = run(_diff(settings, path, start, end, counters=counters))
    if output == "json":
        rows = [difference._asdict() for difference in found]
        for row in rows:
            row["fields"] = {
                each.field: {"old": each.old, "new": each.new, "offsets": each.offsets}
                for each in row["fields"]
            }
        click.echo(to_json({"from": first - 1, "to": last - 1, "rows": rows}))
        return
    for difference in found:
        click.echo("\n".join(_lines(difference)))
    click.echo(f"{len(found)} rows differ between offset {first - 1} and offset {last - 1}")


async def _diff(
    settings: Settings,
    path: Path | None,
    start: int | datetime,
    end: int | datetime | None,
    *,
    counters: bool,
) -> tuple[int, int, list[RowDifference]]:
    from streams.travel.comparing import compare
    from streams.travel.logs import end_at

    async with travel(settings, path) as (log, archive):
        first, last = await end_at(log, start), await end_at(log, end)
        if first > last:
            raise click.BadParameter("lies before --from", param_hint="--to")
        with progress_bar("folding the log") as bar:
            return first, last, await compare(archive, start=first, end=last, counters=counters, progress=bar)


def _lines(difference: RowDifference) -> list[str]:
    sign = "~" if difference.was and difference.is_now else "+" if difference.is_now else "-"
    colour = {"~": "yellow", "+": "green", "-": "red"}[sign]
    head = click.style(f"{sign} {difference.table} {difference.key}", fg=colour, bold=True)
    return [head, *(_field_line(each) for each in difference.fields if sign == "~" or not _is_empty(each))]


def _is_empty(each: FieldDifference) -> bool:
    """Whether the value says nothing: a field that has its default in a row that came or went."""
    values = (each.old, each.new)
    return all(value is None or value in ("", [], {}, 0, -1) for value in values)


def _field_line(each: FieldDifference) -> str:
    offsets = [str(offset) for offset in each.offsets[-_EVENTS_MAX:]]
    more = "… " if len(each.offsets) > _EVENTS_MAX else ""
    return f"    {each.field}: {_value(each.old)} -> {_value(each.new)}  (events {more}{' '.join(offsets)})"


def _value(value: Any) -> str:
    text = "-" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_LENGTH_MAX else text[: _VALUE_LENGTH_MAX - 1] + "…"
