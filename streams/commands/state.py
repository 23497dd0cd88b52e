"""`cli.py state`: the tables as they are, or as they were at an offset or a time. Shell."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streams.commands import FAILED, CommandError
from streams.commands.shared import (
    HelpfulCommand,
    Position,
    output_option,
    platform_options,
    progress_bar,
    read,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, travel
from streams.render import app_views, apps_table, clock, node_views, nodes_table, stamp, table, to_json
from tables.rows import TABLES

if TYPE_CHECKING:
    from streams.settings import Settings
    from tables.rows import Row
    from tables.state import State

#: Tables shown if none is named: what people look for first.
_SHOWN = (
    "nodes",
    "apps",
    "orders",
    "pools",
    "sources",
    "devices",
    "bindings",
    "sensor_limits",
    "policy",
    "term",
    "brake",
)


@click.command(cls=HelpfulCommand)
@click.argument("tables", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]...")
@click.option("--at", "at", type=Position(), help="An offset or a time; the end of the log if not given.")
@file_option
@output_option("table", "json")
@platform_options
def state(
    tables: tuple[str, ...],
    at: int | datetime | None,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Print the tables as they were after an offset or at a time, folded from the log.

    Snapshots of what was folded are kept in the data directory, so that the next moment is near.

    Tables: nodes apps orders pools grants sources devices bindings sensor_limits commands notifications speakers inbox
    requests policy term brake pauses counters.

    \b
    Examples:
      python cli.py state --at 1234 nodes apps
      python cli.py state --at 14:03
      python cli.py state --at -5m nodes -o json
      python cli.py state --file log.jsonl --at 1234
    """
    then = run(_state_at(settings_of(bootstrap_servers, prefix), path, at))
    if then.offset < 0:
        raise CommandError("The log has no event that old.", FAILED)
    names = tables or _SHOWN
    if output == "json":
        click.echo(to_json(state_document(then, names)))
        return
    click.echo(f"as of offset {then.offset}, {stamp(then.now_ms)}")
    for name in names:
        rows = then.tables[name]
        if rows or tables:
            click.echo(f"\n{click.style(name, bold=True)}\n{_table_text(then, name)}")


async def _state_at(settings: Settings, path: Path | None, at: int | datetime | None) -> State:
    from streams.travel.logs import end_at

    if at is None and path is None:
        return (await read(settings)).state
    async with travel(settings, path) as (log, archive):
        with progress_bar("folding the log") as bar:
            return await archive.state_at(await end_at(log, at), bar)


def state_document(then: State, names: tuple[str, ...]) -> dict[str, Any]:
    """Tables as one document."""
    return {
        "offset": then.offset,
        "now_ms": then.now_ms,
        "tables": {name: dict(sorted(then.tables[name].items())) for name in names},
    }


def _table_text(then: State, name: str) -> str:
    if name == "nodes":
        return nodes_table(node_views(then, gone=True), then.now_ms)
    if name == "apps":
        return apps_table(app_views(then, stopped=True), then.now_ms)
    rows = then.tables[name]
    if not rows:
        return "(empty)"
    return table(["key", "row"], [[key, _row_words(row)] for key, row in sorted(rows.items(), key=_order)])


def _order(item: tuple[str, Row]) -> tuple[int, str]:
    """Offsets in their order, names by the alphabet."""
    return (int(item[0]), "") if item[0].isdecimal() else (-1, item[0])


def _row_words(row: Row) -> str:
    fields = msgspec.to_builtins(row)
    return " ".join(f"{name}={_word(name, value)}" for name, value in fields.items() if value not in ("", []))


def _word(name: str, value: Any) -> str:
    if name.endswith("_at_ms") and isinstance(value, int) and value:
        return clock(value)
    return value if isinstance(value, str) and value.isprintable() else msgspec.json.encode(value).decode()
